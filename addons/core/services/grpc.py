"""What a gRPC call does: the method of a service, by the path of its request (`/package.Service/Method`).

The messages are not read (no descriptor is at hand), so a call is decided by service and method. It stands inside the POST
that carries it: a deny or hold on either matches, an allow needs both. Whoever says `application/grpc` for something else gains nothing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from addons.core.exchange import Access, Operation
from addons.core.services.target import malformed

PROTOCOL = "grpc"
MEDIA = "application/grpc"
ATTRIBUTES = frozenset({"grpc_service", "grpc_method"})
_PATH = re.compile(r"/([A-Za-z_][\w.]*)/([A-Za-z_]\w*)", re.ASCII)


def is_grpc(content_type: str | None) -> bool:
    """True for gRPC, whatever its encoding of messages (`application/grpc+proto`). gRPC-Web is plain HTTP."""
    return content_type is not None and (content_type == MEDIA or content_type.startswith(MEDIA + "+"))


def names(content_type: str | None, method: str, path: str, query: str, codings: Sequence[bytes]) -> dict[str, str | None]:
    """The attributes of a call; null for a request that is none. A call that is no proper one is refused, and one whose messages cannot be
    searched for masks."""
    if not is_grpc(content_type):
        return {"grpc_service": None, "grpc_method": None}
    found = _PATH.fullmatch(path)
    if method != "POST" or found is None or query:
        raise malformed("grpc", "A gRPC call is a POST to /package.Service/Method, without a query.")
    if any(coding.strip().lower() != b"identity" for coding in codings):
        raise malformed("grpc", "Send gRPC messages without compression (`grpc-encoding: identity`).")
    return {"grpc_service": found[1], "grpc_method": found[2]}


def call(attributes: Mapping[str, Any]) -> Operation | None:
    """The call itself, None when there is none."""
    service, method = attributes["grpc_service"], attributes["grpc_method"]
    if service is None:
        return None
    path = f"/{service}/{method}"
    return Operation(PROTOCOL, method, f"{service}/{method}", frozenset({Access.EXECUTE}), (path, service), attributes)
