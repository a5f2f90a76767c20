"""Patches of mitmproxy's HTTP/1: trailers, and interim responses."""

import re
from typing import Any

import h11
from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import _http1 as http1_layer
from mitmproxy.proxy.layers.http._events import ErrorCode, RequestTrailers, ResponseTrailers

from addons.host.patch import Patch, replace, stock
from addons.host.runtime import Runtime

_http1: Any = http1_layer  # its names are not exported

INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[ \r\n]")


class Trailers(Patch):
    reason = "trailers on HTTP/1 crash the connection: the client hangs, or the request has run and nobody learns it"
    targets = ((_http1.Http1Connection, "read_body"), (_http1.Http1Server, "send"), (_http1.Http1Client, "send"))
    fingerprint = "df11eb0166075b78fc4931d7180920261a19cf6095f91cab0bbde5e7c1f33f8d"

    def install(self, runtime: Runtime) -> None:
        replace(_http1.Http1Connection, "read_body", read_body)
        for side in (_http1.Http1Server, _http1.Http1Client):
            replace(side, "send", _without_trailers(stock(side, "send")))


class InterimResponses(Patch):
    reason = "an interim response of the upstream is taken for the final one, and the real one is lost"
    targets = ((_http1.Http1Client, "read_headers"),)
    fingerprint = "415454c5fa8b598177bdf456581a30f54c4af591bc3c3dd68ea774b5cd178977"

    def install(self, runtime: Runtime) -> None:
        stock_read = stock(_http1.Http1Client, "read_headers")

        def read_headers(self: Any, event: Any) -> Any:
            most = runtime.snapshot.gateway.limits.interim_responses if runtime.snapshot else 0
            if isinstance(event, events.DataReceived) and self.request is not None:
                while INTERIM.match(self.buf._data):
                    if self.buf.maybe_extract_lines() is None:
                        return  # its header block is not complete
                    self.guardhouse_interim = getattr(self, "guardhouse_interim", 0) + 1
                    if self.guardhouse_interim > most:
                        yield from _too_many(self)
                        return
            yield from stock_read(self, event)
            if self.state != self.read_headers:
                self.guardhouse_interim = 0

        replace(_http1.Http1Client, "read_headers", read_headers)


def read_body(self: Any, event: Any) -> Any:
    """As mitmproxy's, but trailers are handed over as HTTP/2 does: an event of their own, before the end of the message."""
    while True:
        try:
            if isinstance(event, events.DataReceived):
                h11_event = self.body_reader(self.buf)
            elif isinstance(event, events.ConnectionClosed):
                h11_event = self.body_reader.read_eof()
            else:
                raise AssertionError(f"Unexpected event: {event}")
        except h11.ProtocolError:
            yield commands.CloseConnection(self.conn)
            error = self.ReceiveProtocolError(self.stream_id, "HTTP/1 protocol error in the body", code=self.ReceiveProtocolError.code)
            yield _http1.ReceiveHttp(error)
            return
        if h11_event is None:
            return
        if isinstance(h11_event, h11.Data):
            if data := bytes(h11_event.data):
                yield _http1.ReceiveHttp(self.ReceiveData(self.stream_id, data))
        elif isinstance(h11_event, h11.EndOfMessage):
            is_request = isinstance(self, _http1.Http1Server)
            if h11_event.headers:
                kind = RequestTrailers if is_request else ResponseTrailers
                yield _http1.ReceiveHttp(kind(self.stream_id, http.Headers([(bytes(n), bytes(v)) for n, v in h11_event.headers])))
            if self.request.data.method.upper() != b"CONNECT":
                yield _http1.ReceiveHttp(self.ReceiveEndOfMessage(self.stream_id))
            yield from self.mark_done(request=is_request, response=not is_request)
            return


def _without_trailers(stock_send: Any) -> Any:
    def send(self: Any, event: Any) -> Any:
        if not isinstance(event, RequestTrailers | ResponseTrailers):
            yield from stock_send(self, event)

    return send


def _too_many(self: Any) -> Any:
    yield commands.CloseConnection(self.conn)
    self.state = self.done
    yield _http1.ReceiveHttp(self.ReceiveProtocolError(self.stream_id, "too many interim responses", ErrorCode.GENERIC_SERVER_ERROR))
