"""Clocks of client connections: nobody is waited for longer than gateway.yaml says, and a held request has no clock at all.

mitmproxy has one clock, `tcp_timeout`, and holds force it to hours. Twice a second each connection is asked what it is
doing; that costs a request nothing. A connection that has been doing the same thing for longer than its limit is cut:
a handshake, an unfinished head, silence between two requests, an answer that is not fetched, an upload that was refused.
The body of a request has clocks of its own (`addons.host.patches_limits`), and so have streams and WebSockets.
"""

import asyncio
import enum
import time
from collections.abc import Hashable
from typing import Any

from mitmproxy import ctx
from mitmproxy.proxy.layers.http import _http1, _http2

from addons.core.config.model import Limits, Snapshot
from addons.host import connections, listeners
from addons.host.refusals import abort_client
from addons.host.runtime import Runtime

TICK = 0.5
LINGER = 5.0  # seconds in which a client may notice that its upload was refused (nginx: lingering_timeout 5s)


class Doing(enum.Enum):
    """What a client connection is doing."""

    HANDSHAKE = "handshake"
    HEAD = "head"  # the first one is awaited, or a later one has begun
    IDLE = "idle"  # between two requests
    FETCHING = "fetching"  # an answer is whole and the client takes its time
    REFUSED = "refused"  # it was answered, and is still uploading
    WORKING = "working"  # a request is under way: held, sent, streamed


def limit_of(doing: Doing, limits: Limits) -> float | None:
    """Seconds for which a connection may be doing this without progress; None for what has no clock here."""
    return {
        Doing.HANDSHAKE: limits.handshake,
        Doing.HEAD: limits.headers_time,
        Doing.IDLE: limits.keep_alive,
        Doing.FETCHING: limits.keep_alive,
        Doing.REFUSED: min(LINGER, limits.body_idle),
        Doing.WORKING: None,
    }[doing]


def is_late(facts: connections.ConnFacts, now: tuple[Doing, Hashable], at: float, limits: Limits) -> bool:
    """Note what a connection is doing now; true when it has been doing just this for too long."""
    if facts.doing != now:
        facts.doing, facts.since = now, at
        return False
    limit = limit_of(now[0], limits)
    return limit is not None and at - facts.since >= limit


def doing(handler: Any, snapshot: Snapshot) -> tuple[Doing, Hashable]:
    """What this connection is doing, and how far it got: as long as that changes, it is not late."""
    client, waiting = handler.client, unsent(handler)
    listener = listeners.listener_of(client, snapshot)
    if listener is not None and listener.tls is not None and not client.tls_established:
        return Doing.HANDSHAKE, 0
    http = http_of(client)
    peer = http.connections.get(client) if http is not None else None
    if http is not None and any(is_live(stream) for stream in http.streams.values()):
        return Doing.WORKING, 0
    if waiting:
        return Doing.FETCHING, waiting
    if isinstance(peer, _http1.Http1Server):
        return _doing_http1(peer)
    if isinstance(peer, _http2.Http2Server):
        return _doing_http2(peer)
    return Doing.HEAD, 0  # nothing came yet


def _doing_http1(peer: Any) -> tuple[Doing, Hashable]:
    if peer.state != peer.read_headers:
        return Doing.REFUSED, 0
    if peer.buf or peer.stream_id == 1:
        return Doing.HEAD, peer.stream_id
    return Doing.IDLE, peer.stream_id


def _doing_http2(peer: Any) -> tuple[Doing, Hashable]:
    requests = peer.h2_conn.highest_inbound_stream_id
    if not requests or peer.h2_conn.incoming_buffer._headers_buffer:
        return Doing.HEAD, requests
    return Doing.IDLE, requests


def is_live(stream: Any) -> bool:
    """Whether a request of this connection is still under way."""
    flow = getattr(stream, "flow", None)
    return flow is not None and bool(flow.live)


def unsent(handler: Any) -> int:
    """Bytes for the client that wait in our own memory."""
    io = handler.transports.get(handler.client)
    writer = getattr(io, "writer", None)
    return writer.transport.get_write_buffer_size() if writer is not None else 0


class Clocks:
    """Looks at every client connection, again and again."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.timer = asyncio.get_running_loop().call_later(TICK, self.look)

    async def close(self) -> None:
        """Stop looking."""
        self.timer.cancel()

    def look(self) -> None:
        """Cut who is late."""
        self.timer = asyncio.get_running_loop().call_later(TICK, self.look)
        proxyserver, snapshot = ctx.master.addons.get("proxyserver"), self.runtime.snapshot
        if proxyserver is None or snapshot is None:
            return
        at = time.monotonic()
        for handler in list(proxyserver.connections.values()):
            facts = connections.facts_of(handler.client)
            if is_late(facts, doing(handler, snapshot), at, snapshot.gateway.limits):
                abort_client(handler.client)


def http_of(client: Any) -> Any:
    """The HTTP layer of a client's connection, None while it is not known what the client speaks."""
    layer = connections.facts_of(client).http
    return layer() if layer is not None else None


def start(runtime: Runtime) -> Clocks:
    """Look until the gateway closes."""
    clocks = Clocks(runtime)
    runtime.on_close("clocks", clocks.close)
    return clocks
