"""A clock for upstreams: mitmproxy waits for an answer as long as the upstream likes.

Departure starts it with the service's `timeouts.response`; when it strikes and the answer is not whole, the caller gets
504 and the upstream connection is given up. `timeouts.connect` ends a dial, or a TLS handshake, that nobody answers.
"""

import asyncio
import weakref
from dataclasses import dataclass
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.proxy import server_hooks
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http._base import HttpEvent

from addons.core.config.model import Service
from addons.core.errors import UpstreamError
from addons.host.patch import Patch, replace, stock
from addons.host.patches_stream import answer_instead_of_upstream
from addons.host.refusals import abort_server, refuse, settled
from addons.host.runtime import Runtime

layer: Any = http_layer  # its names are not exported

TOO_SLOW = "The upstream did not answer in time. Whether it did what you asked is not known."


@dataclass
class TimedOut(HttpEvent):
    """The clock of a flow struck. `stream_id` is not known to who starts it: the stream is found by its flow."""

    flow: http.HTTPFlow

    def strike(self, stream: Any) -> Any:
        """What becomes of the stream."""
        yield from _time_out(stream)


@dataclass
class Cut(TimedOut):
    """A streamed answer must not go on: both sides learn that it is broken, whatever they got."""

    def strike(self, stream: Any) -> Any:
        yield from _cut(stream)


class UpstreamClock(Patch):
    reason = "an upstream that never answers holds its caller for hours"
    targets = ((layer.HttpLayer, "_handle_event"), (layer.HttpStream, "_handle_event"))
    fingerprint = "08456399656a56c2f36f5dc98a44c2ca830b693f0aeee2e10ba6ff7e85dadc1c"

    def install(self, runtime: Runtime) -> None:
        stock_layer, stock_stream = stock(layer.HttpLayer, "_handle_event"), stock(layer.HttpStream, "_handle_event")

        def layer_event(self: Any, event: Any) -> Any:
            return _to_stream(self, event) if isinstance(event, TimedOut) else stock_layer(self, event)

        def stream_event(self: Any, event: Any) -> Any:
            return event.strike(self) if isinstance(event, TimedOut) else stock_stream(self, event)

        replace(layer.HttpLayer, "_handle_event", layer_event)
        replace(layer.HttpStream, "_handle_event", stream_event)


def _to_stream(self: Any, event: TimedOut) -> Any:
    for stream in list(self.streams.values()):
        if getattr(stream, "flow", None) is event.flow:
            yield from self.event_to_child(stream, event)


def _time_out(self: Any) -> Any:
    waiting = self.server_state in (self.state_wait_for_response_headers, self.state_consume_response_body)
    if not waiting or self.client_state != self.state_done or settled(self.flow) or not self.flow.live:
        return
    refuse(self.flow, UpstreamError(TOO_SLOW, code="upstream-timeout"))
    yield from answer_instead_of_upstream(self)


def _cut(self: Any) -> Any:
    if not self.flow.live:
        return
    self.client_state = self.server_state = self.state_errored
    yield layer.HttpErrorHook(self.flow)
    self.flow.live = False
    yield layer.SendHttp(layer.RequestProtocolError(self.stream_id, "cut", layer.ErrorCode.CANCEL), self.context.server)
    yield layer.SendHttp(layer.ResponseProtocolError(self.stream_id, "cut", layer.ErrorCode.KILL), self.context.client)
    yield layer.DropStream(self.stream_id)


def start(flow: http.HTTPFlow, service: Service) -> None:
    """Start the clock of a flow that was let out. It does not keep the flow: most have ended, body and all, long before it strikes."""
    asyncio.get_running_loop().call_later(service.response_timeout, _strike, weakref.ref(flow))


def _strike(flow_of: weakref.ref[http.HTTPFlow]) -> None:
    flow = flow_of()
    if flow is None or not flow.live or settled(flow):
        return
    inject(TimedOut(0, flow))


def inject(event: TimedOut) -> bool:
    """Hand an event of ours to the connection of its flow. False when there is none any more."""
    proxyserver = ctx.master.addons.get("proxyserver") if hasattr(ctx, "master") else None
    handler = proxyserver.connections.get(event.flow.client_conn.id) if proxyserver is not None else None
    if handler is None:
        return False
    _TASKS.add(task := asyncio.ensure_future(handler.server_event(event)))
    task.add_done_callback(_TASKS.discard)
    return True


def watch_dial(data: server_hooks.ServerConnectionHookData, service: Service) -> None:
    """End a dial that takes longer than the service's `timeouts.connect`, its TLS handshake included."""
    asyncio.get_running_loop().call_later(service.connect_timeout, _give_up, data)


def _give_up(data: server_hooks.ServerConnectionHookData) -> None:
    handler = ctx.master.addons.get("proxyserver").connections.get(data.client.id)
    io = handler.transports.get(data.server) if handler is not None else None
    if io is not None and io.writer is None and io.handler is not None and data.server.timestamp_tcp_setup is None:
        io.handler.cancel("the upstream did not accept the connection in time")
    elif data.server.tls and not data.server.tls_established:
        abort_server(data.client, data.server)  # the stream waits for this handshake, and no clock of a stream is looked at meanwhile


_TASKS: set[asyncio.Future[None]] = set()
