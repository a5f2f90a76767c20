"""What a plain HTTP request does: the Operation of the protocol `http`.

The path is the canonical one (decoded once, see `target`), the access follows from the method, and a method override
that the service accepts, or the call that a gRPC request makes (see `grpc`), is a nested operation: a deny or hold on either method matches, an allow needs both. The
attributes are declared in `ATTRIBUTES` and always set, null when they have no value, so that a condition can be checked
when the rules are loaded.
"""

from collections.abc import Sequence
from typing import Any

from addons.core.config.model import Service
from addons.core.exchange import Access, Operation
from addons.core.services import filters, grpc, target, websocket
from addons.core.services.canonical import Head
from addons.core.services.terms import check_terms

PROTOCOL = "http"
ATTRIBUTES = frozenset(
    {"scheme", "host", "path", "filters", "content_type", "has_body", "method_override", "path_parameters", "subprotocols"}
    | grpc.ATTRIBUTES
)
ACCESS = {
    "GET": Access.READ, "HEAD": Access.READ, "OPTIONS": Access.READ,
    "POST": Access.WRITE, "PUT": Access.WRITE, "PATCH": Access.WRITE,
    "DELETE": Access.DELETE,
}  # fmt: skip


def operation(
    method: str, scheme: str, host: str, path: str, query: str, headers: Sequence[tuple[str, str]], body: bytes, service: Service
) -> Operation:
    """Return the operation of a request that `canonical` let through. `path` is as on the wire, `host` is where it goes."""
    head = Head(
        method=method.encode(),
        target=f"{path}?{query}".encode() if query else path.encode(),
        version=b"",
        headers=[(name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")) for name, value in headers],
    )
    offered = websocket.check(head, service).offered if websocket.asks(head) else None
    overriding = check_terms(head, service.accept, body)
    pairs = target.pairs(query.encode())
    filters.single(pairs)
    literal = target.canonical_path(path.encode())
    bare, parameters = without_parameters(literal)
    content_type = _content_type(head)
    _check_coding(head, content_type, bare, body)
    called = grpc.names(content_type, method, literal, query, head.values(b"grpc-encoding"))
    query_body = b"" if grpc.is_grpc(content_type) else body
    attributes: dict[str, Any] = {
        **called,
        "scheme": scheme,
        "host": host,
        "path": bare,
        "filters": filters.names(pairs, bare, content_type, query_body, reads=ACCESS.get(method) is Access.READ),
        "content_type": content_type,
        "has_body": bool(body),
        "method_override": overriding,
        "path_parameters": parameters,
        "subprotocols": None if offered is None else list(offered),
    }
    if offered is not None:
        return _upgrade(head, bare, attributes, websocket.access_of(offered, service.websocket or {}), overriding)
    resources = (bare,) if bare == literal else (bare, literal)
    text = head.target.decode()
    nested = [_one(overriding, text, resources, attributes)] if overriding is not None else []
    if (call := grpc.call(attributes)) is not None:
        nested.append(call)
    return _one(method, text, resources, attributes, tuple(nested))


def _upgrade(head: Head, path: str, attributes: dict[str, Any], access: frozenset[Access], overriding: str | None) -> Operation:
    """The opening of a WebSocket: it connects, and reads or writes nothing by itself."""
    if overriding is not None:
        raise target.malformed("method-override", "A WebSocket handshake does not override its method.")
    return Operation(PROTOCOL, "GET", f"GET {head.target.decode()} (WebSocket)", access, (path,), attributes)


def without_parameters(path: str) -> tuple[str, list[str]]:
    """Return the path as a server reads it that knows path parameters, and the parameters it cuts off."""
    if ";" not in path:
        return path, []
    cut = [segment.partition(";") for segment in path.split("/")]
    return "/".join(name for name, _, _ in cut), [parameter for _, mark, parameter in cut if mark]


def _one(method: str, text: str, resources: tuple[str, ...], attributes: dict[str, Any], children: tuple[Operation, ...] = ()) -> Operation:
    return Operation(
        protocol=PROTOCOL,
        verb=method,
        text=f"{method} {text}",
        access=frozenset({ACCESS.get(method, Access.UNKNOWN)}),
        resources=resources,
        attributes=attributes,
        children=children,
    )


def _check_coding(head: Head, content_type: str | None, path: str, body: bytes) -> None:
    """A body that policy reads must be readable: a form (it may override the method) and a query."""
    coded = any(value.strip().lower() not in (b"", b"identity") for value in head.values(b"content-encoding"))
    form = content_type == "application/x-www-form-urlencoded" or (content_type or "").startswith("multipart/")
    if body and coded and (form or filters.in_body(head.method in (b"GET", b"HEAD"), path)):
        raise target.malformed("body-coding", "A form or a query in a body must come without Content-Encoding. Send it plain.")


def _content_type(head: Head) -> str | None:
    values = head.values(b"content-type")
    return values[0].partition(b";")[0].strip().lower().decode("latin-1") if values else None
