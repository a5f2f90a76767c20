"""What the audit is told of a WebSocket's beginning and end, taken from mitmproxy's objects as plain data."""

import asyncio

from mitmproxy import http

from addons.core import exchange
from addons.core.audit import messages
from addons.core.audit.log import AuditLog
from addons.core.audit.traffic import Ending
from addons.core.errors import MaskingError
from addons.core.exchange import Redactor
from addons.host import gate, sockets

PROPER = frozenset({1000, 1001, 1005})  # closed on purpose, or without a code


def is_open(flow: http.HTTPFlow) -> bool:
    """True for an upgrade that was answered as one: its terminal event is written at its end, not at the 101."""
    door = gate.of(flow)
    return flow.websocket is not None and sockets.find(flow) is not None and door.refusal is None and door.departed and flow.live


def is_closing(flow: http.HTTPFlow) -> bool:
    """True when the layer has begun to close it, and `websocket_end` will say how it ended."""
    return flow.websocket is not None and flow.websocket.timestamp_end is not None


async def opened(flow: http.HTTPFlow, log: AuditLog, redactor: Redactor) -> None:
    """Durable before the client learns that the session is open."""
    assert flow.response is not None
    headers = [(name.decode("latin-1"), value.decode("utf-8", "backslashreplace")) for name, value in flow.response.headers.fields]
    record, subprotocol = exchange.read(flow.metadata), sockets.of(flow).subprotocol
    await log.append(await asyncio.to_thread(messages.opened, record, subprotocol, headers, redactor))


def ending(flow: http.HTTPFlow) -> Ending:
    """How the session ended: by us, by a close of either side, or because somebody was simply gone."""
    socket, data = sockets.find(flow), flow.websocket
    if socket is None or data is None:
        return Ending("Interrupted", 101, reason="no session")
    note_end(flow, socket)
    if socket.end is not None:
        return Ending("Interrupted", 101, refusal=socket.end.error, size=socket.size)
    if data.close_code in PROPER or (data.close_code is not None and data.close_code != 1006):
        return Ending("ResponseComplete", 101, reason=f"closed {data.close_code}", size=socket.size)
    if data.closed_by_client:
        return Ending("Interrupted", 101, reason="the client left", size=socket.size)
    return Ending("Failed", 101, reason="upstream-failed", size=socket.size)


def note_end(flow: http.HTTPFlow, socket: sockets.Socket) -> None:
    """Counts, close code and masked reason go into the notes of the terminal event."""
    record, data = exchange.read(flow.metadata), flow.websocket
    if data is None or any(note.startswith("messages:") for note in record.notes):
        return
    side = "client" if data.closed_by_client else "upstream" if socket.end is None else "gateway"
    record.notes += [f"messages:{socket.number}", f"closed-by:{side}:{data.close_code}"]
    if socket.reason:
        record.notes.append(f"close-reason:{socket.reason}")
    if socket.end is not None and isinstance(socket.end.error, MaskingError):
        record.masking_complete = False
    exchange.write(flow.metadata, record)
