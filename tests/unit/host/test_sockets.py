"""The Socket and the patched layer, with mitmproxy's own layer and wsproto on both sides: nothing passes that was not seen by all."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wsproto
from mitmproxy import connection, http
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers import websocket as ws
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketMessage

from addons.core.errors import AuditError, GuardhouseError, PolicyDeniedError, TokenExpired, Unmaskable, WriteBackError
from addons.core.exchange import Access, Operation, Redacted
from addons.host import patch, patches_websocket, sockets
from addons.host.patches_websocket import Ending
from addons.host.refusals import refuse_at
from addons.host.sockets import Socket
from tests import harness

Hook = Callable[[http.HTTPFlow], None]


class Stars:
    """A redactor whose mask is easy to see."""

    def redact_text(self, text: str, service: str | None) -> str:
        return text.replace("SECRET", "***")

    def redact(self, data: bytes, media_type: str | None, service: str | None) -> Redacted:
        return Redacted(data)

    def is_quick(self, data: bytes, media_type: str | None, service: str | None) -> bool:
        return True


@pytest.fixture(params=["patched"])
def patched() -> Iterator[None]:
    runtime = harness.runtime()
    runtime.redactor = Stars()
    patches_websocket.WebSocketControl().install(runtime)
    yield
    patch.restore()


class Session:
    """One open WebSocket through the layer; `hook` stands for all steps of ours."""

    def __init__(self, hook: Hook | None = None, reading: str = "opaque", socket: bool = True) -> None:
        self.flow = tflow.twebsocketflow()
        assert self.flow.websocket is not None and self.flow.response is not None
        self.flow.websocket.messages.clear()
        self.flow.response.headers.pop("sec-websocket-extensions", None)
        self.flow.live = True
        if socket:
            sockets.put(self.flow, Socket("", reading))
        options: Any = type("Options", (), {"proxy_debug": False})()
        self.context = context.Context(self.flow.client_conn, options)
        self.context.server = self.flow.server_conn
        self.flow.client_conn.state = self.flow.server_conn.state = connection.ConnectionState.OPEN
        self.layer = ws.WebsocketLayer(self.context, self.flow)
        self.client, self.server = wsproto.Connection(wsproto.ConnectionType.CLIENT), wsproto.Connection(wsproto.ConnectionType.SERVER)
        self.hook, self.hooks, self.log = hook or see_all, [], []
        self.to_client: list[Any] = []
        self.to_server: list[Any] = []
        self.run(events.Start())

    def run(self, event: events.Event) -> None:
        waiting = [event]
        while waiting:
            for command in list(self.layer.handle_event(waiting.pop(0))):
                if isinstance(command, commands.StartHook):
                    self.hooks.append(command.name)
                    if command.name == "websocket_message":
                        self.hook(self.flow)
                    waiting.append(events.HookCompleted(command, None))
                elif isinstance(command, commands.SendData):
                    side, seen = (
                        (self.client, self.to_client) if command.connection is self.context.client else (self.server, self.to_server)
                    )
                    side.receive_data(command.data)
                    seen += list(side.events())
                elif isinstance(command, commands.Log):
                    self.log.append(command.message)

    def say(self, what: Any, from_client: bool = True) -> None:
        side, peer = (self.client, self.context.client) if from_client else (self.server, self.context.server)
        self.run(events.DataReceived(peer, side.send(what)))


def see_all(flow: http.HTTPFlow) -> None:
    socket = sockets.of(flow)
    socket.judged = socket.masked = socket.recorded = socket.message


def refusing(error: GuardhouseError) -> Hook:
    def hook(flow: http.HTTPFlow) -> None:
        message = sockets.under_way(flow)
        if message is not None and not message.injected:
            socket = sockets.of(flow)
            socket.operation = Operation("graphql", "query", "{ a }", frozenset({Access.READ}), ("a",), {})
            refuse_at("websocket_message", flow, error)
        else:
            see_all(flow)

    return hook


def text(content: str) -> Any:
    return wsproto.events.TextMessage(content)


def heard(found: list[Any]) -> list[Any]:
    return [event.data for event in found if isinstance(event, wsproto.events.Message)]


def closes(found: list[Any]) -> list[tuple[int, str | None]]:
    return [(event.code, event.reason) for event in found if isinstance(event, wsproto.events.CloseConnection)]


def test_stock_passes_a_message_whose_hook_failed_and_logs_a_pings_payload():
    patch.restore()
    session = Session(hook=lambda flow: None)
    session.say(text("SECRET"))
    session.say(wsproto.events.Ping(payload=b"SECRET"))
    session.say(wsproto.events.CloseConnection(code=1000, reason="SECRET"), from_client=False)
    assert heard(session.to_server) == ["SECRET"]
    assert any(isinstance(event, wsproto.events.Ping) and event.payload == b"SECRET" for event in session.to_server)
    assert any("SECRET" in str(line) for line in session.log)
    assert closes(session.to_client) == [(1000, "SECRET")]


async def test_what_all_have_seen_passes_both_ways(patched):
    session = Session()
    session.say(text("héllo"))
    session.say(wsproto.events.BytesMessage(b"\x00"), from_client=False)
    assert (heard(session.to_server), heard(session.to_client)) == (["héllo"], [b"\x00"])
    assert session.flow.websocket is not None and session.flow.websocket.messages == []
    assert session.log == []


@pytest.mark.parametrize("missing", ["judged", "masked", "recorded"])
async def test_what_one_step_has_not_seen_does_not_pass(patched, missing):
    def hook(flow: http.HTTPFlow) -> None:
        see_all(flow)
        setattr(sockets.of(flow), missing, None)

    session = Session(hook)
    session.say(text("SECRET"))
    assert heard(session.to_server) == []
    assert closes(session.to_client) == closes(session.to_server) == [(1011, "")]
    assert session.hooks == ["websocket_start", "websocket_message", "websocket_end"]


async def test_what_another_message_has_is_not_enough(patched):
    seen: list[WebSocketMessage] = []

    def hook(flow: http.HTTPFlow) -> None:
        socket = sockets.of(flow)
        assert socket.message is not None
        seen.append(socket.message)
        socket.judged = socket.masked = socket.recorded = seen[0]

    session = Session(hook)
    session.say(text("one"))
    session.say(text("two"))
    assert heard(session.to_server) == ["one"]


@pytest.mark.parametrize(
    ("error", "reading", "code"),
    [
        pytest.param(Unmaskable("media"), "graphql", 1011, id="unmaskable"),
        pytest.param(AuditError(), "graphql", 1011, id="not-recordable"),
        pytest.param(GuardhouseError(), "graphql", 1011, id="a-fault-of-ours"),
        pytest.param(TokenExpired(), "graphql", 1008, id="expired"),
        pytest.param(PolicyDeniedError(), "opaque", 1008, id="denied-without-words"),
        pytest.param(WriteBackError(), "opaque", 1008, id="write-back-without-words"),
    ],
)
async def test_these_refusals_end_the_session(patched, error, reading, code):
    session = Session(refusing(error), reading)
    session.say(text('{"id":"1","type":"subscribe","payload":{"query":"{a}"}}'))
    assert heard(session.to_server) == heard(session.to_client) == []
    assert closes(session.to_client) == [(code, "")]
    assert sockets.of(session.flow).end is not None


async def test_a_message_that_is_denied_is_answered_and_the_session_goes_on(patched):
    session = Session(refusing(PolicyDeniedError("No.")), "graphql")
    session.say(text('{"id":"1","type":"subscribe","payload":{"query":"{a}"}}'))
    assert heard(session.to_server) == []
    assert '"id": "1", "type": "error"' in heard(session.to_client)[0]
    assert closes(session.to_client) == []
    session.hook = see_all
    session.say(text("next"))
    assert heard(session.to_server) == ["next"]


async def test_an_answer_of_ours_that_cannot_be_recorded_ends_the_session(patched):
    def hook(flow: http.HTTPFlow) -> None:
        refusing(PolicyDeniedError("No."))(flow)
        if sockets.of(flow).message.injected:  # type: ignore[union-attr]
            refuse_at("websocket_message", flow, AuditError())

    session = Session(hook, "graphql")
    session.say(text('{"id":"1","type":"subscribe","payload":{"query":"{a}"}}'))
    assert (heard(session.to_client), closes(session.to_client)) == ([], [(1011, "")])


async def test_pings_go_on_empty_and_their_sender_gets_its_own_payload_back(patched):
    session = Session()
    session.say(wsproto.events.Ping(payload=b"SECRET"))
    session.say(wsproto.events.Pong(payload=b""), from_client=False)
    session.say(wsproto.events.Pong(payload=b"SECRET"), from_client=False)  # nobody asked
    assert [event.payload for event in session.to_server if isinstance(event, wsproto.events.Ping)] == [b""]
    assert [event.payload for event in session.to_client if isinstance(event, wsproto.events.Pong)] == [b"SECRET", b""]
    assert [(one["frame"], one["from"]) for one in sockets.of(session.flow).control] == [("ping", "client"), ("pong", "upstream")]
    assert session.log == []


async def test_a_flood_of_pings_is_counted_and_not_kept(patched):
    session = Session()
    for _ in range(200):
        session.say(wsproto.events.Ping(payload=b"x"))
    socket = sockets.of(session.flow)
    assert (len(socket.control), socket.control_lost, len(socket.pings[True])) == (
        sockets.CONTROL_KEPT,
        200 - sockets.CONTROL_KEPT,
        sockets.PINGS_KEPT,
    )


@pytest.mark.parametrize("from_client", [True, False])
async def test_a_close_reason_is_masked(patched, from_client):
    session = Session()
    session.say(wsproto.events.CloseConnection(code=4001, reason="ask SECRET"), from_client)
    assert closes(session.to_server if from_client else session.to_client) == [(4001, "ask ***")]
    assert session.flow.websocket is not None and session.flow.websocket.close_reason == "ask ***"
    assert session.hooks[-1] == "websocket_end" and session.hooks.count("websocket_end") == 1


async def test_a_message_that_grows_without_end_is_not_kept(patched):
    session = Session()
    for _ in range(20):
        session.say(wsproto.events.TextMessage("x" * 60_000, message_finished=False))
        if sockets.of(session.flow).end:
            break
    assert heard(session.to_server) == []
    assert closes(session.to_client) == [(1009, "")]


async def test_masked_text_is_not_cut_inside_a_character(patched):
    def hook(flow: http.HTTPFlow) -> None:
        see_all(flow)
        sockets.of(flow).message.content = ("x" + "é" * 5000).encode()  # type: ignore[union-attr]

    session = Session(hook)
    session.say(text("short"), from_client=False)
    assert heard(session.to_client) == ["x" + "é" * 5000]


async def test_a_session_is_ended_from_outside_and_only_once(patched):
    session = Session()
    sockets.end(session.flow, sockets.POLICY, TokenExpired())
    session.run(Ending(0, session.flow))
    session.run(Ending(0, session.flow))
    session.run(events.DataReceived(session.context.client, wsproto.Connection(wsproto.ConnectionType.CLIENT).send(text("late"))))
    assert closes(session.to_client) == closes(session.to_server) == [(1008, "")]
    assert session.hooks.count("websocket_end") == 1
    assert heard(session.to_server) == []


async def test_a_socket_that_nobody_opened_is_closed_at_once(patched):
    session = Session(socket=False)
    assert session.hooks == ["websocket_start", "websocket_end"]
    assert closes(session.to_client) == [(1011, "")]


async def test_a_message_that_somebody_injects_is_ignored(patched):
    session = Session()
    session.run(ws.WebSocketMessageInjected(session.flow, WebSocketMessage(1, False, b"SECRET")))
    assert (session.hooks, heard(session.to_client)) == (["websocket_start"], [])
