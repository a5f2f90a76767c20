"""Patches of mitmproxy's memory and patience: what a peer may make us keep, and for how long, before anybody knows who it is.

mitmproxy keeps an unfinished head for as long as it grows, and everything that a client sends behind a request that is
still waiting; a body that stops in the middle keeps its connection for hours.
"""

import asyncio
import weakref
from typing import Any

from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import _http1 as http1_layer
from mitmproxy.proxy.layers.http._events import ErrorCode

from addons.core.config.model import Limits
from addons.host.connections import ConnFacts, facts_of
from addons.host.patch import Patch, replace, stock
from addons.host.refusals import abort_client
from addons.host.runtime import Runtime

_http1: Any = http1_layer  # its names are not exported

UNKNOWN = 64 << 10  # of bodies, per connection, before it is known whose they are
LOOK_AGAIN = 0.02  # seconds
PIECE = 64 << 10  # what is read from a socket at once: a head may come with so much of its body


class Unread(Patch):
    reason = "the head of a message, and what a client sends while its request waits, is kept without a limit"
    targets = ((_http1.Http1Connection, "_handle_event"), (_http1.Http1Server, "read_headers"), (_http1.Http1Server, "wait"))
    fingerprint = "442165cab30b8b3f9a8f56be95e685ec33dc0f51a52282203fca2e4b49b05822"

    def install(self, runtime: Runtime) -> None:
        stock_event = stock(_http1.Http1Connection, "_handle_event")

        def _handle_event(self: Any, event: Any) -> Any:
            yield from stock_event(self, event)
            if not isinstance(event, events.DataReceived) or runtime.snapshot is None:
                return
            if len(self.buf) > runtime.snapshot.gateway.limits.headers + PIECE:
                yield from _refuse(self)

        replace(_http1.Http1Connection, "_handle_event", _handle_event)


def _refuse(self: Any) -> Any:
    """Give the connection up, and what was kept for it. Of a body nothing is left over but a chunk's own head, or trailers."""
    if self.state in (self.passthrough, self.done):
        return
    self.buf._data.clear()
    if isinstance(self, _http1.Http1Client) and self.request is not None:
        error = self.ReceiveProtocolError(self.stream_id, "the head of the answer is too large", ErrorCode.GENERIC_SERVER_ERROR)
        yield commands.CloseConnection(self.conn)
        self.state = self.done
        yield _http1.ReceiveHttp(error)
        return
    if self.state == self.read_headers:
        yield commands.SendData(self.conn, _http1.make_error_response(400, ""))
        yield commands.CloseConnection(self.conn)
        self.state = self.done
        return
    abort_client(self.conn)


def watch_body(stream: Any, limits: Limits) -> None:
    """Cut a client whose request body stops coming, or takes too long in all. The clock does not keep the stream."""
    loop = asyncio.get_running_loop()
    end, stream_of = loop.time() + limits.body_time, weakref.ref(stream)

    def look(before: int) -> None:
        stream = stream_of()
        if stream is None:
            return
        flow = stream.flow
        if not flow.live or flow.response is not None or flow.error is not None or stream.client_state != stream.state_consume_request_body:
            return
        now = len(stream.request_body_buf)
        if now == before or loop.time() >= end:
            abort_client(flow.client_conn)
            return
        wait(now)

    def wait(before: int) -> None:
        loop.call_later(max(0.0, min(limits.body_idle, end - loop.time())), look, before)

    wait(0)


def hold_back(stream: Any, size: int) -> None:
    """Read nothing more from a client while the heads of its requests are judged: mitmproxy keeps whatever comes meanwhile."""
    if stream.client_state != stream.state_wait_for_request_headers:
        return
    client = stream.context.client
    facts = facts_of(client)
    facts.unread += size
    if facts.unread <= UNKNOWN:
        return
    facts.unread = waiting(facts)
    transport = facts.transport() if facts.transport is not None else None
    if facts.unread <= UNKNOWN or transport is None:
        return
    transport.pause_reading()
    if not facts.held_back:
        facts.held_back = True
        asyncio.get_running_loop().call_later(LOOK_AGAIN, _read_again, facts)


def waiting(facts: ConnFacts) -> int:
    """Bytes of bodies that came before their requests were judged."""
    layer = facts.http() if facts.http is not None else None
    streams = layer.streams.values() if layer is not None else ()
    return sum(len(event.data) for stream in streams for event in stream._paused_event_queue if isinstance(event, _http1.RequestData))


def _read_again(facts: ConnFacts) -> None:
    facts.unread = waiting(facts)
    transport: Any = facts.transport() if facts.transport is not None else None
    gone = transport is None or transport.is_closing()
    if not gone and facts.unread > UNKNOWN:
        asyncio.get_running_loop().call_later(LOOK_AGAIN, _read_again, facts)
        return
    facts.held_back = False
    if not gone:
        transport.resume_reading()
