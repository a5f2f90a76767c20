"""The patch of mitmproxy's WebSocket layer: what passes without a hook there, and what a hook cannot stop.

Stock passes ping and pong payloads and the close reason past every hook and logs the pings, forwards a message whose hook
raised, cannot end a session, keeps a message however long it grows, reads on while a hook waits, and cuts changed text
in the middle of a character. Here the layer asks the Socket of the flow before it passes anything on.
"""

import time
from dataclasses import dataclass
from typing import Any

import wsproto
from mitmproxy import ctx, http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import websocket as ws
from mitmproxy.websocket import WebSocketMessage
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import Opcode

from addons.core.errors import GuardhouseError, ValidationError
from addons.host import gate, patches_clock, sockets
from addons.host.patch import Patch, replace, stock
from addons.host.patches_clock import TimedOut
from addons.host.runtime import Runtime
from addons.host.sockets import Socket

layer: Any = ws  # its names are not exported

MAX_REASON = 123  # bytes: RFC 6455 section 5.5, less the code
NOT_PASSED = "A step did not look at the message."
TOO_LONG = "The message is longer than this gateway carries."


@dataclass
class Ending(TimedOut):
    """The session of a flow is to end, whatever it does just now."""

    def strike(self, stream: Any) -> Any:
        """It is not open yet, or not any more: the upgrade's own rules say what becomes of it."""
        yield from ()


class WebSocketControl(Patch):
    reason = "ping payloads and close reasons pass unmasked; a message whose hook fails is passed on; no session can be ended"
    targets = (
        (layer.WebsocketLayer, "start"), (layer.WebsocketLayer, "relay_messages"), (layer.WebsocketLayer, "done"),
        (layer.WebsocketConnection, "send2"),
    )  # fmt: skip
    fingerprint = "47ab7ecbd1d431eb96c8d103114c7aa47b7834ca1c58be19bdc08692449a8d5b"

    def install(self, runtime: Runtime) -> None:
        stock_start = stock(layer.WebsocketLayer, "start")

        def start(self: Any, event: Any) -> Any:
            yield from stock_start(self, event)
            socket = sockets.find(self.flow)
            if socket is None:
                socket = Socket("", "unknown")
                sockets.put(self.flow, socket)
                sockets.end(self.flow, sockets.INTERNAL, GuardhouseError(detail="a WebSocket that nobody opened"))
            self._handle_event = lambda event: relay(self, event, runtime)
            if socket.end is not None:
                yield from finish(self)

        replace(layer.WebsocketLayer, "start", start)
        replace(layer.WebsocketLayer, "_handle_event", start)
        replace(layer.WebsocketLayer, "relay_messages", lambda self, event: relay(self, event, runtime))


def relay(self: Any, event: Any, runtime: Runtime) -> Any:
    """One event of either connection, or of ours."""
    if isinstance(event, Ending):
        yield from finish(self)
        return
    if not isinstance(event, events.DataReceived | events.ConnectionClosed):
        return  # a clock of the upgrade, or an injected message: nobody injects but this layer
    from_client = event.connection == self.context.client
    source, target = (self.client_ws, self.server_ws) if from_client else (self.server_ws, self.client_ws)
    source.receive_data(event.data if isinstance(event, events.DataReceived) else None)
    for found in source.events():
        if isinstance(found, wsproto.events.Message):
            yield from on_part(self, found, source, target, from_client, runtime)
        elif isinstance(found, wsproto.events.Ping | wsproto.events.Pong):
            yield from on_control(self, found, target, from_client)
        elif isinstance(found, wsproto.events.CloseConnection):
            yield from on_close(self, found, from_client, runtime)
        if self._handle_event is ignore:
            return


def on_part(self: Any, part: Any, source: Any, target: Any, from_client: bool, runtime: Runtime) -> Any:
    """A piece of a message; a whole one is handed to the hooks."""
    is_text = isinstance(part.data, str)
    kept = source.__dict__.setdefault("guardhouse_kept", bytearray())
    kept += part.data.encode() if is_text else part.data
    if runtime.snapshot is None or len(kept) > runtime.snapshot.masking.limits.whole:
        sockets.end(self.flow, sockets.TOO_BIG, ValidationError(TOO_LONG, code="request-too-large", detail="message-size"))
        yield from finish(self)
        return
    if not part.message_finished:
        return
    content = bytes(kept)
    kept.clear()
    yield from on_message(self, WebSocketMessage(Opcode.TEXT if is_text else Opcode.BINARY, from_client, content), target)


def on_message(self: Any, message: WebSocketMessage, target: Any) -> Any:
    """Ask every step; pass it on when all have seen it, else drop it and do what was decided."""
    socket = sockets.of(self.flow)
    socket.begin(message)
    self.flow.websocket.messages[:] = [message]
    keep_reading(self.flow, False)
    yield layer.WebsocketMessageHook(self.flow)
    keep_reading(self.flow, True)
    self.flow.websocket.messages.clear()
    if socket.passes(message):
        if target.state is ConnectionState.OPEN:
            socket.size += len(message.content)
            yield target.send2(whole(message))
    elif not message.dropped:
        sockets.end(self.flow, sockets.INTERNAL, GuardhouseError(detail=NOT_PASSED))
    replies, socket.replies = socket.replies, []
    for reply in replies if socket.end is None else ():
        yield from on_message(self, WebSocketMessage(Opcode.TEXT, False, reply, injected=True), self.client_ws)
    if socket.end is not None and self._handle_event is not ignore:
        yield from finish(self)


def whole(message: WebSocketMessage) -> Any:
    """The message as one frame: pieces of changed text could be cut inside a character."""
    if message.is_text:
        return wsproto.events.TextMessage(message.content.decode("utf-8", "replace"), message_finished=True)
    return wsproto.events.BytesMessage(message.content, message_finished=True)


def on_control(self: Any, found: Any, target: Any, from_client: bool) -> Any:
    """A ping goes on empty. Its sender gets its own payload back with the answer: many clients wait for exactly that."""
    socket = sockets.of(self.flow)
    payload, name = bytes(found.payload), type(found).__name__.lower()
    if payload and name == "ping":
        socket.note_control({"frame": name, "from": "client" if from_client else "upstream", "payload": payload})
    if target.state is not ConnectionState.OPEN:
        return
    if name == "ping":
        socket.pings[from_client].append(payload)
        yield target.send2(wsproto.events.Ping(payload=b""))
        return
    if payload:
        socket.note_control({"frame": name, "from": "client" if from_client else "upstream", "payload": payload})
    waiting = socket.pings[not from_client]
    yield target.send2(wsproto.events.Pong(payload=waiting.popleft() if waiting else b""))


def on_close(self: Any, found: Any, from_client: bool, runtime: Runtime) -> Any:
    """One side closes: the other learns the code, and the reason as far as it can be masked."""
    socket = sockets.of(self.flow)
    socket.reason = masked_reason(self.flow, found.reason or "", runtime)
    data = self.flow.websocket
    data.timestamp_end, data.closed_by_client = time.time(), from_client
    data.close_code, data.close_reason = found.code, socket.reason
    yield from close_both(self, found.code, socket.reason)


def finish(self: Any) -> Any:
    """We end it."""
    socket = sockets.of(self.flow)
    data = self.flow.websocket
    data.timestamp_end, data.closed_by_client = time.time(), False
    data.close_code, data.close_reason = (socket.end.code if socket.end else sockets.INTERNAL), ""
    yield from close_both(self, data.close_code, "")


def close_both(self: Any, code: int, reason: str) -> Any:
    """Close frames to both, then the end: exactly one hook."""
    self._handle_event = ignore
    for one in (self.server_ws, self.client_ws):
        if one.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            yield one.send2(wsproto.events.CloseConnection(code=code, reason=reason or None))
        yield commands.CloseConnection(one.conn)
    self.flow.websocket.messages.clear()
    yield layer.WebsocketEndHook(self.flow)
    self.flow.live = False


def ignore(event: Any) -> Any:
    """The session is over."""
    yield from ()


def masked_reason(flow: http.HTTPFlow, reason: str, runtime: Runtime) -> str:
    """The close reason as it may be shown to anybody; empty when it cannot be masked, or grew too long."""
    if not reason or runtime.redactor is None:
        return ""
    from_record = flow.metadata.get("guardhouse")
    shown = runtime.redactor.redact_text(reason, from_record.get("service") if isinstance(from_record, dict) else None)
    held = gate.find(flow)
    scrub = held.scrub if held is not None else ()
    if any(value in shown.encode() for value in scrub) or len(shown.encode()) > MAX_REASON:
        return ""
    return shown


def keep_reading(flow: http.HTTPFlow, on: bool) -> None:
    """While a message is looked at, nothing further is read from either side: a fast sender waits, and memory stays flat."""
    proxyserver = ctx.master.addons.get("proxyserver") if hasattr(ctx, "master") else None
    handler = proxyserver.connections.get(flow.client_conn.id) if proxyserver is not None else None
    if handler is None:
        return
    for peer in (flow.client_conn, flow.server_conn):
        io = handler.transports.get(peer)
        transport = getattr(getattr(io, "writer", None), "transport", None)
        if transport is None or transport.is_closing():
            continue
        try:
            (transport.resume_reading if on else transport.pause_reading)()
        except (RuntimeError, NotImplementedError):
            continue  # it closes just now


def end_now(flow: http.HTTPFlow, code: int, error: GuardhouseError) -> None:
    """End a session from outside of its hooks."""
    sockets.end(flow, code, error)
    patches_clock.inject(Ending(0, flow))
