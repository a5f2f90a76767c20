"""The handshake of RFC 6455: one reading, only named subprotocols, and only the answer that fits it."""

import pytest

from addons.core.config import model, upstreams
from addons.core.errors import GuardhouseError, UpstreamError, ValidationError
from addons.core.exchange import Access
from addons.core.services import messages, websocket
from addons.core.services.canonical import Head

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
NAMED = {"": "opaque", "graphql-transport-ws": "graphql", "rpc": "jsonrpc"}
GOOD = [(b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket"), (b"Sec-WebSocket-Key", KEY), (b"Sec-WebSocket-Version", b"13")]


def service(named: dict[str, str] | None = NAMED, kind: str = "http") -> model.Service:
    return model.Service("chat", kind, "http", model.Address("127.0.0.1", 9), websocket=named)


def head(*more: tuple[bytes, bytes], without: bytes = b"", method: bytes = b"GET", http2: bool = False) -> Head:
    fields = [pair for pair in GOOD if pair[0].lower() != without] + list(more)
    return Head(method, b"/ws", b"HTTP/1.1", fields, http2=http2)


def test_the_example_of_the_specification():
    assert websocket.check(head(), service()) == websocket.Handshake(KEY, ("",))
    assert websocket.accept_of(KEY) == ACCEPT


@pytest.mark.parametrize(
    ("sent", "offered"),
    [
        pytest.param([], ("",), id="none"),
        pytest.param([b"rpc"], ("rpc",), id="one"),
        pytest.param([b"rpc , graphql-transport-ws"], ("rpc", "graphql-transport-ws"), id="a-list"),
        pytest.param([b"rpc", b"graphql-transport-ws"], ("rpc", "graphql-transport-ws"), id="two-fields"),
    ],
)
def test_what_is_offered(sent, offered):
    fields = [(b"Sec-WebSocket-Protocol", value) for value in sent]
    assert websocket.check(head(*fields), service()).offered == offered


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(head(method=b"POST"), id="post"),
        pytest.param(head(without=b"upgrade"), id="no-upgrade"),
        pytest.param(head((b"Upgrade", b"h2c")), id="two-upgrades"),
        pytest.param(head(without=b"connection"), id="no-connection"),
        pytest.param(head(without=b"sec-websocket-key"), id="no-key"),
        pytest.param(head((b"Sec-WebSocket-Key", KEY)), id="two-keys"),
        pytest.param(head((b"Sec-WebSocket-Key", b"c2hvcnQ="), without=b"sec-websocket-key"), id="short-key"),
        pytest.param(head((b"Sec-WebSocket-Key", b"!" * 24), without=b"sec-websocket-key"), id="no-base64"),
        pytest.param(head(without=b"sec-websocket-version"), id="no-version"),
        pytest.param(head((b"Sec-WebSocket-Version", b"8"), without=b"sec-websocket-version"), id="old-version"),
        pytest.param(head((b"Content-Length", b"5")), id="a-body"),
        pytest.param(head((b"Transfer-Encoding", b"chunked")), id="a-chunked-body"),
        pytest.param(head((b"Sec-WebSocket-Protocol", b"other")), id="not-named"),
        pytest.param(head((b"Sec-WebSocket-Protocol", b"rpc, other")), id="one-of-two-not-named"),
        pytest.param(head((b"Sec-WebSocket-Protocol", b"rpc, rpc")), id="twice"),
        pytest.param(head((b"Sec-WebSocket-Protocol", b"rpc,")), id="empty-name"),
        pytest.param(head((b"Sec-WebSocket-Protocol", b"r p c")), id="no-token"),
        pytest.param(head(http2=True), id="http2"),
    ],
)
def test_what_is_no_handshake_is_refused(bad):
    with pytest.raises(ValidationError):
        websocket.check(bad, service())


def test_no_subprotocol_must_be_named_too():
    with pytest.raises(ValidationError):
        websocket.check(head(), service({"rpc": "jsonrpc"}))


@pytest.mark.parametrize("of", [service(None), service(kind="mcp")], ids=["none", "mcp"])
def test_a_service_without_websocket_carries_none(of):
    with pytest.raises(GuardhouseError) as refused:
        websocket.check(head(), of)
    assert refused.value.status == 501


@pytest.mark.parametrize(
    ("fields", "speaks"),
    [
        ([(b"Upgrade", b"foo, WebSocket")], True),
        ([(b"sec-websocket-key", b"x")], True),
        ([(b"Sec-WebSocket-Protocol", b"x")], True),
        ([(b"Upgrade", b"foo")], False),
        ([], False),
    ],
)
def test_whoever_speaks_of_it_is_held_to_it(fields, speaks):
    assert websocket.asks(Head(b"GET", b"/", b"HTTP/1.1", fields)) is speaks


def answer(*more: tuple[bytes, bytes], without: bytes = b"") -> list[tuple[bytes, bytes]]:
    fields = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Accept", ACCEPT)]
    return [pair for pair in fields if pair[0].lower() != without] + list(more)


def test_the_answer_chooses_what_was_offered():
    asked = websocket.Handshake(KEY, ("rpc", ""))
    assert websocket.check_answer(asked, answer((b"Sec-WebSocket-Protocol", b"rpc")), NAMED) == "rpc"
    assert websocket.check_answer(asked, answer(), NAMED) == ""


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(answer(without=b"upgrade"), id="no-upgrade"),
        pytest.param(answer((b"Upgrade", b"raw"), without=b"upgrade"), id="another-upgrade"),
        pytest.param(answer(without=b"connection"), id="no-connection"),
        pytest.param(answer(without=b"sec-websocket-accept"), id="no-accept"),
        pytest.param(answer((b"Sec-WebSocket-Accept", ACCEPT)), id="two-accepts"),
        pytest.param(answer((b"Sec-WebSocket-Extensions", b"permessage-deflate")), id="an-extension"),
        pytest.param(answer((b"Sec-WebSocket-Protocol", b"graphql-transport-ws")), id="not-offered"),
        pytest.param(answer((b"Sec-WebSocket-Protocol", b"rpc"), (b"Sec-WebSocket-Protocol", b"rpc")), id="two-chosen"),
    ],
)
def test_any_other_101_is_refused(fields):
    with pytest.raises(UpstreamError):
        websocket.check_answer(websocket.Handshake(KEY, ("rpc",)), fields, NAMED)


def test_no_subprotocol_is_no_way_around_those_that_are_named():
    with pytest.raises(UpstreamError):
        websocket.check_answer(websocket.Handshake(KEY, ("rpc",)), answer(), {"rpc": "jsonrpc"})


@pytest.mark.parametrize(
    ("offered", "access"),
    [
        (("",), {Access.CONNECT, Access.UNKNOWN}),
        (("rpc",), {Access.CONNECT}),
        (("rpc", ""), {Access.CONNECT, Access.UNKNOWN}),
        (("nobody",), {Access.CONNECT, Access.UNKNOWN}),
    ],
)
def test_what_is_not_read_is_unknown(offered, access):
    assert websocket.access_of(offered, NAMED) == access


def test_configuration_knows_the_extractors_there_are():
    assert set(upstreams.EXTRACTORS) == set(messages.EXTRACTORS)
