"""Patches of mitmproxy's HttpStream: our answers are sent at once, and what we do not want is not waited for."""

import time
from typing import Any

from mitmproxy.proxy import commands
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http import _http2

from addons.core.errors import UpstreamError
from addons.host.patch import Patch, replace, stock
from addons.host.patches_limits import watch_body
from addons.host.refusals import refuse
from addons.host.runtime import Runtime

layer: Any = http_layer  # its names are not exported


class EarlyAnswers(Patch):
    """Also the patch of `body_size_limit`: a declared length is judged after `responseheaders`, and only if not streamed."""

    reason = (
        "an answer withheld in responseheaders would still be read to its end, which it may not have; declared lengths are judged too early"
    )
    targets = ((layer.HttpStream, "state_wait_for_response_headers"), (layer.HttpStream, "send_response"), (layer.HttpStream, "flow_done"))
    fingerprint = "6d23be6b7952dac9da511d41ce5d99f570e4ad674ea1b4304a4e80083dcadb46"

    def install(self, runtime: Runtime) -> None:
        def state_wait_for_response_headers(self: Any, event: Any) -> Any:
            self.flow.response = event.response
            if (yield from self.check_invalid(False)):
                return
            yield layer.HttpResponseHeadersHook(self.flow)
            if (yield from self.check_killed(True)):
                return
            if self.flow.response is event.response and not event.end_stream and _declared_too_long(self, runtime):
                refuse(self.flow, UpstreamError("The upstream's answer is larger than this gateway carries.", code="response-too-large"))
            if self.flow.response is not event.response:
                yield from answer_instead_of_upstream(self)
            elif self.flow.response.stream and not event.end_stream:
                self.flow.response.stream.unsent = lambda: unsent(self)
                yield from self.start_response_stream()
            else:
                self.server_state = self.state_consume_response_body

        replace(layer.HttpStream, "state_wait_for_response_headers", state_wait_for_response_headers)


class RefusedBodies(Patch):
    reason = "a refused request goes on uploading into memory, and its refusal comes last"
    targets = ((layer.HttpStream, "state_wait_for_request_headers"), (layer.HttpStream, "state_consume_request_body"))
    fingerprint = "70ed8b17f706306ac2b817e80a757e28d396d48867855933aaa942ce4e45ba3a"

    def install(self, runtime: Runtime) -> None:
        stock_state = stock(layer.HttpStream, "state_wait_for_request_headers")

        def state_wait_for_request_headers(self: Any, event: Any) -> Any:
            yield from _without_continue(self, stock_state(self, event))
            if self.client_state == self.state_consume_request_body and self.flow.response is not None and not event.end_stream:
                yield from _answer_during_upload(self)
            elif self.client_state == self.state_consume_request_body and runtime.snapshot is not None:
                watch_body(self, runtime.snapshot.gateway.limits)

        replace(layer.HttpStream, "state_wait_for_request_headers", state_wait_for_request_headers)


def unsent(self: Any) -> int:
    """How many bytes of this answer wait for an HTTP/2 client that does not read; of HTTP/1 the transport itself tells."""
    connection = self.context.layers[self.context.layers.index(self) - 1].connections.get(self.context.client)
    if not isinstance(connection, _http2.Http2Server):
        return 0
    return sum(len(piece.data) for piece in connection.h2_conn.stream_buffers.get(self.stream_id, ()))


def _declared_too_long(self: Any, runtime: Runtime) -> bool:
    if self.flow.response.stream or runtime.snapshot is None or self.flow.request.method == "HEAD":
        return False
    try:
        size = layer.expected_http_body_size(self.flow.request, self.flow.response)
    except ValueError:
        return False
    return size is not None and size > runtime.snapshot.gateway.limits.body


def answer_instead_of_upstream(self: Any) -> Any:
    """Cut the upstream off and send what stands in the flow. Whatever else the upstream says is consumed silently."""
    yield layer.SendHttp(layer.RequestProtocolError(self.stream_id, "withheld", layer.ErrorCode.CANCEL), self.context.server)
    yield from self.send_response()
    self.flow.live = False
    self.client_state = self.server_state = self.state_errored


def _without_continue(self: Any, stock_state: Any) -> Any:
    """Run the stock state, but send no `100 Continue` for a request that is already answered."""
    reply = None
    while True:
        try:
            command = stock_state.send(reply)
        except StopIteration:
            return
        if self.flow.response is not None and isinstance(command, layer.SendHttp) and _is_continue(command.event):
            reply = None
            continue
        reply = yield command


def _is_continue(event: Any) -> bool:
    return isinstance(event, layer.ResponseHeaders) and event.response.status_code == 100


def _answer_during_upload(self: Any) -> Any:
    """Fire the hooks that an answer of ours fires, send it, and drop what is still uploaded."""
    self.client_state = self.state_errored
    self.flow.request.data.content = b""
    yield layer.HttpRequestHook(self.flow)
    if (yield from self.check_killed(True)):
        return
    self.flow.response.timestamp_start = time.time()
    yield layer.HttpResponseHeadersHook(self.flow)
    if (yield from self.check_killed(True)):
        return
    if self.context.client.alpn != b"h2":
        self.flow.response.headers["Connection"] = "close"
    yield from self.send_response()
    self.flow.live = False
    yield layer.SendHttp(layer.ResponseEndOfMessage(self.stream_id), self.context.client)
    yield from _stop_stream(self)
    self.client_state = self.server_state = self.state_errored
    yield layer.DropStream(self.stream_id)


def _stop_stream(self: Any) -> Any:
    """On HTTP/2 tell the client to stop: RST_STREAM with NO_ERROR after the whole answer (RFC 9113 section 8.1)."""
    parent = self.context.layers[self.context.layers.index(self) - 1]
    connection = parent.connections.get(self.context.client)
    if isinstance(connection, _http2.Http2Server) and not connection.is_closed(self.stream_id):
        connection.h2_conn.reset_stream(self.stream_id, 0)
        connection.streams.pop(self.stream_id, None)
        yield commands.SendData(self.context.client, connection.h2_conn.data_to_send())
