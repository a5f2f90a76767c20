"""What a request to an MCP server does: the Operation of the protocol `mcp` (Model Context Protocol, streamable HTTP).

A POST carries one JSON-RPC message: `tools/call` is an operation on that tool, `resources/read` on that URI, and so on. A
GET opens the stream of what the server says by itself, a DELETE ends the session. Everything is at one path; other
paths of the server are not served here. Headers in which newer clients repeat the method, the name and arguments for
readers on the way must say what the body says.

What a tool does is known to its operator alone, so a call is `execute` unless `mcp.tools` in gateway.yaml says more.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from addons.core.config.model import Service
from addons.core.errors import GuardhouseError, RouteError, ValidationError
from addons.core.exchange import Access, Operation
from addons.core.services import http, jsonrpc
from addons.core.services.jsonrpc import Message
from addons.core.services.target import malformed
from addons.core.wire.jcs import MAX_INT

PROTOCOL = "mcp"
ARGUMENT = "argument."  # argument.NAME: an argument of a tool or prompt that is a text, a whole number, true or false, or a list of these
ATTRIBUTES = frozenset({"scheme", "host", "method", "path", "filters", "id", "tool", "prompt", "uri", "arguments", "has_session"})
LISTEN, END, RESPONSE, UNKNOWN = "session/listen", "session/end", "response", "unknown"
ACCESS = {
    "initialize": Access.CONNECT, "ping": Access.CONNECT, "server/discover": Access.CONNECT, LISTEN: Access.CONNECT, END: Access.CONNECT,
    "notifications/initialized": Access.CONNECT, "notifications/cancelled": Access.CONNECT, "notifications/progress": Access.CONNECT,
    "notifications/roots/list_changed": Access.CONNECT,
    "tools/list": Access.READ, "prompts/list": Access.READ, "prompts/get": Access.READ, "resources/list": Access.READ,
    "resources/templates/list": Access.READ, "resources/read": Access.READ, "resources/subscribe": Access.READ,
    "resources/unsubscribe": Access.READ, "subscriptions/listen": Access.READ, "completion/complete": Access.READ,
    "tasks/get": Access.READ, "tasks/list": Access.READ, "tasks/result": Access.READ, "tasks/cancel": Access.WRITE,
    "logging/setLevel": Access.WRITE, RESPONSE: Access.WRITE,
    "tools/call": Access.EXECUTE,
}  # fmt: skip
METHODS = frozenset({"POST", "GET", "DELETE"})
VERBS = frozenset({*ACCESS, UNKNOWN})
NAMED = {  # by which member of params each method says what it is about, and the attribute that holds it
    "tools/call": ("name", "tool"), "prompts/get": ("name", "prompt"), "resources/read": ("uri", "uri"),
    "resources/subscribe": ("uri", "uri"), "resources/unsubscribe": ("uri", "uri"),
}  # fmt: skip
_PARAMS = ("name", "uri", "arguments", "ref", "argument", "_meta", "taskId")
_TASKS = ("tasks/get", "tasks/result", "tasks/cancel")
_ONCE = ("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id")
_MAX_BODY = 4 << 20  # bytes of a message; the official server's own limit
_MAX_ARGUMENTS = 1000  # Django's DATA_UPLOAD_MAX_NUMBER_FIELDS
_MAX_EXACT = 1024  # characters of a text, or items of a list, that a rule would write out
_MAX_NAME = 2048  # characters of a tool's name or a URI
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_LOOSE = re.compile(  # what makes two spellings of one resource, or two resources of one spelling
    r"\\|%(?![0-9A-Fa-f]{2})|%25[0-9A-Fa-f]{2}|%(?:2[fF]|5[cC]|3[fF]|23|[01][0-9A-Fa-f]|7[fF])"  # \, broken, double, separators, control
    r"|%(?:2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])|/\.{1,2}(?:[/?#]|\Z)|[^:/]//|//[^/]*//"  # needless, dots, doubled slashes
)
_MAX_TEXT = 4000  # characters of arguments in the text that people read; the body itself is shown beside it


def operation(
    method: str, scheme: str, host: str, path: str, query: str, headers: Sequence[tuple[str, str]], body: bytes, service: Service
) -> Operation:
    """Return the operation of a request that `canonical` let through; the arguments are those of `http.operation`."""
    plain = http.operation(method, scheme, host, path, query, headers, b"", service)
    _check_place(plain, service)
    fields = _fields(headers)
    attributes = dict.fromkeys(ATTRIBUTES) | {
        "scheme": scheme, "host": host, "method": method, "path": plain.attributes["path"], "filters": plain.attributes["filters"],
        "has_session": "mcp-session-id" in fields,
    }  # fmt: skip
    if method != "POST":
        return _bare(method, body, attributes, plain.text)
    if len(body) > _MAX_BODY:
        raise ValidationError(f"An MCP message may be at most {_MAX_BODY} bytes.", code="request-too-large", detail="mcp-size")
    _check_coding(fields, plain)
    return _of(jsonrpc.read(body), fields, attributes, service)


def _check_place(plain: Operation, service: Service) -> None:
    if plain.children or plain.attributes["path_parameters"]:
        raise malformed("mcp-accept", "An MCP request has no method override and no path parameters. Send it plainly.")
    if service.mcp is None or plain.attributes["path"] != service.mcp.path:
        raise RouteError("This MCP server is at another path. Ask its operator for the whole address.", detail="not the path of mcp.path")


def _fields(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in found and (lower in _ONCE or lower.startswith("mcp-")):
            raise malformed("header-duplicate", f"The header `{lower}` came more than once. Send it once.")
        found[lower] = value
    return found


def _bare(method: str, body: bytes, attributes: Mapping[str, Any], text: str) -> Operation:
    """GET and DELETE: they have no message."""
    verb = {"GET": LISTEN, "DELETE": END}.get(method)
    if verb is None:
        raise GuardhouseError(
            "An MCP server takes POST, GET and DELETE.", code="method-not-allowed", headers={"Allow": "POST, GET, DELETE"}, detail=method
        )
    if body:
        raise malformed("mcp-body", f"{method} has no body here. Send the message by POST.")
    return Operation(PROTOCOL, verb, f"{verb} {text.partition(' ')[2]}", frozenset({ACCESS[verb]}), (), attributes)


def _check_coding(fields: Mapping[str, str], plain: Operation) -> None:
    if plain.attributes["content_type"] != "application/json" or not _is_utf8(fields.get("content-type", "")):
        raise malformed("mcp-media", "An MCP message comes as `Content-Type: application/json`, in UTF-8.")
    if fields.get("content-encoding", "identity").strip().lower() != "identity":
        raise malformed("body-coding", "An MCP message must come without Content-Encoding. Send it plain.")


def _is_utf8(content_type: str) -> bool:
    parameters = [part.strip().lower() for part in content_type.split(";")[1:]]
    return all(part.removeprefix("charset=").strip('"') in ("utf-8", "") for part in parameters if part.startswith("charset"))


def _of(message: Message, fields: Mapping[str, str], attributes: dict[str, Any], service: Service) -> Operation:
    method = RESPONSE if message.method is None else message.method
    verb = _verb(message)
    jsonrpc.check_keys(message.params, _PARAMS)
    resource, arguments = _resource(method, message.params), _arguments(message.params)
    _check_headers(method, resource, arguments, fields)
    if method in NAMED:
        attributes[NAMED[method][1]] = resource
    attributes |= {"id": message.id, "arguments": sorted(arguments), **_flat(arguments)}
    text = " ".join(part for part in (method, resource, _shown(message.params, arguments)) if part)
    resources = (method,) if verb == UNKNOWN else (resource,) if resource is not None else ()
    return Operation(PROTOCOL, verb, text, _access(verb, resource, service), resources, attributes)


def _verb(message: Message) -> str:
    """A word of our own list: the verb stands in the log where nothing can be erased, so it is never the caller's text."""
    if message.method is None:
        return RESPONSE
    return message.method if message.method in ACCESS.keys() - {LISTEN, END, RESPONSE} else UNKNOWN


def _access(verb: str, resource: str | None, service: Service) -> frozenset[Access]:
    if verb == "tools/call" and service.mcp is not None and resource is not None and resource in service.mcp.tools:
        return frozenset(Access(name) for name in service.mcp.tools[resource])
    return frozenset({ACCESS.get(verb, Access.UNKNOWN)})


def _resource(method: str, params: Mapping[str, Any]) -> str | None:
    """What the message is about; None when it is about nothing in particular."""
    if method in NAMED:
        return _name(params, NAMED[method][0], method)
    if method in _TASKS:
        return _name(params, "taskId", method)
    if method == "completion/complete":
        ref = params.get("ref")
        if not isinstance(ref, dict):
            raise malformed("mcp-params", "The `ref` of completion/complete must be an object.")
        jsonrpc.check_keys(ref, ("type", "name", "uri"))
        return _name(ref, "uri" if "uri" in ref else "name", method)
    return None


def _name(members: Mapping[str, Any], key: str, method: str) -> str:
    value = members.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise malformed("mcp-params", f"The `{key}` of {method} must be a printable text of at most {_MAX_NAME} characters.")
    if key == "uri" and (not _SCHEME.match(value) or _LOOSE.search(value)):
        raise malformed("mcp-uri", f"The `uri` of {method} has another spelling. Send its plainest: no dot segments, no needless escapes.")
    return value


def _arguments(params: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = params.get("arguments")
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise malformed("mcp-params", "The `arguments` must be an object.")
    if len(arguments) > _MAX_ARGUMENTS:
        raise malformed("mcp-params", f"A call has at most {_MAX_ARGUMENTS} arguments.")
    jsonrpc.check_keys(arguments, ())
    return arguments


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a rule can compare exactly. What nests is left out, so that an allow which names it does not match."""
    found = {}
    for name, value in arguments.items():
        if _is_exact(value) or (isinstance(value, list) and 0 < len(value) <= _MAX_EXACT and all(map(_is_exact, value))):
            found[ARGUMENT + name] = value
    return found


def _is_exact(value: Any) -> bool:
    """Whole numbers beyond 2^53 and fractions are read differently by different readers; long texts stand in no rule."""
    if isinstance(value, str):
        return len(value) <= _MAX_EXACT
    return isinstance(value, int) and abs(value) <= MAX_INT


def _shown(params: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    if not arguments:
        return ""
    text = json.dumps(arguments, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}... ({len(text)} characters)"


def _check_headers(method: str, resource: str | None, arguments: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    """Who routes by the header and who runs the body must see the same call."""
    said = fields.get("mcp-method")
    if said is not None and _opened(said) != method:
        raise malformed("mcp-header", "`Mcp-Method` is not the method of the message. Send the same in both.")
    named = fields.get("mcp-name")
    if named is not None and _opened(named) != resource:
        raise malformed("mcp-header", "`Mcp-Name` is not what the message is about. Send the same in both.")
    copied = [value for name, value in fields.items() if name.startswith("mcp-param-")]
    if copied and not {_opened(value) for value in copied} <= set(_scalars(arguments)):
        raise malformed("mcp-header", "An `Mcp-Param-` header holds no value of the arguments. Send the same in both.")


def _opened(value: str) -> str | None:
    """The text of such a header: plain, or `=?base64?...?=`. None when it is neither."""
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None


def _scalars(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _scalars(item)]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [str(value)] if isinstance(value, str | int) else []
