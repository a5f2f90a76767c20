"""The `services` part of gateway.yaml: the things behind us, and how each is reached."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime

from addons.core.config import units
from addons.core.config.model import Accept, Address, Credential, Development, Mcp, Observe, Service
from addons.core.config.reading import NAME, Place
from addons.core.config.rules import ACCESS, BUILT_IN_SERVICE, LEVELS
from addons.core.config.section import Section
from addons.core.config.stripped import is_stripped

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # a token of RFC 9110 section 5.6.2
_HOST = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f]*:[0-9a-f.]*:[0-9a-f:.]*")  # a name, or an IP address without brackets
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,255}")
KINDS = ("http", "mcp")
_SUBPROTOCOL = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")  # a token again: it stands in a header
EXTRACTORS = ("jsonrpc", "graphql")  # those of addons.core.services.messages; a test holds the two together
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "keep-alive", "expect"})


def read(gateway: Section, development: Development | None) -> Mapping[str, Service]:
    found: dict[str, Service] = {}
    for item in gateway.items("services", "services"):
        service = _service(item, development)
        if service.name in found and service.name:
            item.wrong("name", f"a second service has the name `{service.name}`, first at {found[service.name].where}")
        found.setdefault(service.name, service)
    if not found:
        gateway.wrong("services", "`services` is empty, expected at least one service")
    return found


def _service(at: Section, development: Development | None) -> Service:
    name = at.text("name", pattern=NAME, expected="a name of lower-case letters, digits and `-`")
    if name == BUILT_IN_SERVICE:
        at.wrong("name", "the name `guardhouse` is that of the gateway's own operations", "choose another")
    kind = _kind(at)
    scheme, address = _url(at, name, development)
    timeouts = at.section("timeouts", "services.timeouts")
    return Service(
        name=name,
        kind=kind,
        scheme=scheme,
        address=address,
        hosts=at.texts("hosts", pattern=_HOST, expected="a list of host names in lower case, without a port"),
        ca=at.maybe_reference("ca", f"ca-{name}", ("file", "state")),
        host_header=at.choice("host_header", ("upstream", "as-received"), "upstream"),
        credential=_credential(at.maybe_section("credential", "services.credential", quiet=True), name),
        websocket=_websocket(at.maybe_section("websocket", "services.websocket")),
        request_trailers=_trailers(at),
        observe=_observe(at.maybe_section("observe", "services.observe"), name),
        accept=_accept(at.section("accept", "services.accept")),
        ignore_headers=at.section("digest", "services.digest").texts("ignore_headers", pattern=_HEADER, expected="a list of header names"),
        audit_level=at.section("audit", "services.audit").choice("level", LEVELS, "RequestResponse"),
        connect_timeout=timeouts.duration("connect", 5.0),
        response_timeout=timeouts.duration("response", 60.0),
        idle_timeout=timeouts.duration("idle", 4 * 3600.0),
        outlive_token=at.duration("outlive_token", 0.0, 0.0),
        mcp=_mcp(at, kind),
        where=at.where,
    )


def _kind(at: Section) -> str:
    kind = at.text("kind", expected="http or mcp")
    if kind == "kubernetes":
        at.wrong("kind", "services of the kind `kubernetes` are not built yet", "an API server is not a plain http service: leave it out")
    elif kind not in (*KINDS, ""):
        at.wrong("kind", f"`kind` is {at.quote(kind)}, expected {' or '.join(KINDS)}")
    at.unbuilt("kubernetes")
    return kind if kind in KINDS else "http"


def _mcp(at: Section, kind: str) -> Mcp | None:
    """The terms of an MCP server; another kind has none."""
    if kind != "mcp":
        if at.has("mcp"):
            at.wrong("mcp", "`mcp` belongs to `kind: mcp`", "leave it out, or write `kind: mcp`")
        return None
    if at.has("websocket"):
        at.wrong("websocket", "an MCP server has no WebSocket", "leave it out")
    terms = at.section("mcp", "services.mcp")
    return Mcp(terms.text("path", "/mcp", _PATH, "a path such as /mcp, without a query"), _tools(terms))


def _tools(at: Section) -> Mapping[str, tuple[str, ...]]:
    """What each tool does; one that is not named is `execute`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, node in at.entries("tools").items():
        items = [item.value for item in node.value] if isinstance(node.value, list) else [node.value]
        found[name] = tuple(item for item in items if isinstance(item, str) and item in ACCESS)
        if not items or len(found[name]) != len(items):
            at.reading.tell(node.line, f"the tool {at.quote(name)} has no list of accesses, expected some of {' '.join(ACCESS)}")
    return found


def _url(at: Section, name: str, development: Development | None) -> tuple[str, Address]:
    text = at.text("url", expected="a url such as https://crm.example:8080")
    if text.startswith("example:"):
        if development is None:
            at.wrong("url", "an `example:` url is only for unsafe_development", "write the service's own url")
            return "http", Address("", 0)
        return "http", development.example_service
    try:
        scheme, address = units.safe_url(text)
    except units.Wrong as error:
        if text:
            at.wrong("url", f"`url` of the service {at.quote(name)}: {error}")
        return "https", Address("", 0)
    at.reading.places.append(Place(f"service {name}", address, False, at.reading.where(at.line_of("url"))))
    return scheme, address


def _credential(at: Section | None, name: str) -> Credential | None:
    if at is None:
        return None
    kind = at.choice("type", ("bearer", "basic", "header"))
    header = "Authorization"
    if kind == "header":
        header = at.text("name", pattern=_HEADER, expected="the header's name")
        if header.lower() in _FRAMING:
            at.wrong("name", f"the credential's header cannot be `{header}`, which frames the request")
    elif at.has("name"):
        at.wrong("name", "`name` belongs to `type: header`")
    return Credential(kind, at.reference("value", f"service-{name}"), header)


def _websocket(at: Section | None) -> Mapping[str, str] | None:
    """Each subprotocol says in one of two ways how its messages are read: by an extractor, or not at all."""
    if at is None:
        return None
    found = {}
    for name, entry in at.named("subprotocols", "services.websocket.subprotocols"):
        if name and not _SUBPROTOCOL.fullmatch(name):
            at.wrong("subprotocols", f"{at.quote(name)} is not the name of a subprotocol")
        if entry.has("extractor") == entry.has("messages"):
            at.wrong("subprotocols", f"the subprotocol {at.quote(name)} needs either `extractor` or `messages: opaque`")
        found[name] = entry.choice("extractor", EXTRACTORS) if entry.has("extractor") else entry.choice("messages", ("opaque",), "opaque")
    if not found:
        at.wrong("subprotocols", "`websocket` names no subprotocol", 'name one, "" for none, or leave `websocket` out')
    return found


def _trailers(at: Section) -> tuple[str, ...]:
    names = at.texts("request_trailers", pattern=_HEADER, expected="a list of header names")
    for name in names:
        if is_stripped(name) or name.lower() in _FRAMING:
            at.wrong("request_trailers", f"`{name}` cannot come as a trailer: it names an identity or frames the request")
    return tuple(name.lower() for name in names)


def _observe(at: Section | None, name: str) -> Observe | None:
    if at is None:
        return None
    observe = Observe(_moment(at), at.text("reason", expected="why nothing is enforced"))
    if observe.until > at.reading.now:
        until = datetime.fromtimestamp(observe.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
        at.reading.warnings.append(f"service {name}: observe mode until {until}: deny and hold are recorded, not enforced ({at.where})")
    return observe


def _moment(at: Section) -> float:
    """Unix seconds of a day (its first moment, UTC) or of a time with a zone. Exclusive: that moment is enforced again."""
    text = at.text("until", expected="a day such as 2026-03-31")
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    if text:
        at.wrong("until", f"`until` is {at.quote(text)}, expected a day such as 2026-03-31, or a time with a zone")
    return 0.0


def _accept(at: Section) -> Accept:
    return Accept(
        get_body=at.flag("get_body"),
        method_override=at.flag("method_override"),
        path_parameters=at.flag("path_parameters"),
        cookies=at.texts("cookies", pattern=_HEADER, expected="a list of cookie names"),
    )
