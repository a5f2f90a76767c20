"""Connections that end: an answer that was written but is not fetched keeps its memory, for as long as its client likes.

mitmproxy forgets a connection when it closes it; the socket then keeps what was not sent. It is given up when nothing of
it was fetched for as long as an idle connection may last, and until then it counts among its peer's connections.
"""

import asyncio
import socket
from typing import Any
from weakref import WeakSet

LEAVING: WeakSet[Any] = WeakSet()  # transports that are closed and not yet empty
DEAD = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
)  # a peer that has vanished is noticed after a minute


def watch(transport: Any, seconds: float) -> None:
    """Give a closed transport up when its client does not fetch the rest."""
    if not transport.get_write_buffer_size():
        return
    LEAVING.add(transport)
    asyncio.get_running_loop().call_later(seconds, _look, transport, transport.get_write_buffer_size(), seconds)


def _look(transport: Any, before: int, seconds: float) -> None:
    now = transport.get_write_buffer_size()
    if now and now < before:
        asyncio.get_running_loop().call_later(seconds, _look, transport, now, seconds)
        return
    LEAVING.discard(transport)
    if now:
        transport.abort()


def keep_alive(transport: Any) -> None:
    """Have the kernel ask whether the peer is still there: a request may be held for long, and a peer that vanished says nothing."""
    plain = transport.get_extra_info("socket")
    if plain is None:
        return
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in DEAD:
        plain.setsockopt(socket.IPPROTO_TCP, option, value)
