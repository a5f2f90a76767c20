"""The patches, all of them, and their check. What each is for stands in it; the HTTP ones are in the files beside this.

Order matters where two replace the same function: the later wraps the earlier.
"""

import asyncio
import json
from typing import Any

from mitmproxy.proxy import mode_servers, server
from mitmproxy.proxy.layers import http as stream_module
from mitmproxy.proxy.layers.http import _http1 as http1_module
from mitmproxy.proxy.layers.http import _http2 as http2_module

from addons.core.errors import CODES, GuardhouseError, problem_of
from addons.host import gate
from addons.host.patch import Patch, replace, stock
from addons.host.patches_clock import UpstreamClock
from addons.host.patches_http1 import InterimResponses, Trailers
from addons.host.patches_http2 import Floods
from addons.host.patches_limits import Unread, hold_back
from addons.host.patches_stream import EarlyAnswers, RefusedBodies
from addons.host.patches_websocket import WebSocketControl
from addons.host.runtime import Runtime

http_layer: Any = stream_module  # their names are not exported
_http1: Any = http1_module
_http2: Any = http2_module

CODE_OF_STATUS = {400: "request-malformed", 413: "request-too-large", 502: "upstream-failed", 504: "upstream-timeout"}


class MaxConnections(Patch):
    """Installed per connection, in `connections.raise_upstream_cap`; here for its fingerprint."""

    reason = "five upstream connections per client connection: an HTTP/2 client before an HTTP/1 upstream queues behind them"
    targets = ((server.ConnectionHandler, "__init__"), (server.ConnectionHandler, "open_connection"))
    fingerprint = "68772be0ba194d780ddcf9007913a9217a97da036f6dd94f4947438b4087afe3"

    def install(self, runtime: Runtime) -> None:
        """Nothing here: `hardening.client_connected` sets it on each handler."""


class Backlog(Patch):
    reason = "a backlog of 100 resets clients at 500 simultaneous connects"
    targets = ((mode_servers.AsyncioServerInstance, "listen"),)
    fingerprint = "7670a9038b44170dfa2c831bb3d8d4e0a91add8e54e31f3365bfa16b0cf80527"

    def install(self, runtime: Runtime) -> None:
        assert runtime.snapshot is not None
        backlog = runtime.snapshot.gateway.limits.backlog

        async def listen(self: Any, host: str, port: int) -> list[asyncio.Server]:
            """Only TCP: no mode of ours is anything else."""
            return [await asyncio.start_server(self.handle_stream, host, port, backlog=backlog)]

        replace(mode_servers.AsyncioServerInstance, "listen", listen)


class ErrorPages(Patch):
    reason = "mitmproxy's own error pages quote the upstream's bytes and name its version"
    targets = ((_http1, "make_error_response"), (_http2.Http2Connection, "_handle_event"))
    fingerprint = "f18fdaf9454d0510f65b8a6a00868944f7a6e959e6b08ca47249b9ca9f1a7a62"

    def install(self, runtime: Runtime) -> None:
        replace(_http1, "make_error_response", error_page)
        stock_event = stock(_http2.Http2Connection, "_handle_event")

        def _handle_event(self: Any, event: Any) -> Any:
            if isinstance(event, _http2.ResponseProtocolError) and may_answer(self, event):
                yield from _send_page(self, event)
            else:
                yield from stock_event(self, event)

        replace(_http2.Http2Connection, "_handle_event", _handle_event)


class Gone(Patch):
    reason = "a client that leaves, or resets its stream, while one of our hooks waits fires nothing: its flow is marked instead"
    targets = ((http_layer.HttpStream, "handle_event"),)
    fingerprint = "fd88b0fb09ceddbb1915fe0d588c206e8310d6883a77048a665675e49e43de2b"

    def install(self, runtime: Runtime) -> None:
        stock_event = stock(http_layer.layer.Layer, "handle_event")

        def handle_event(self: Any, event: Any) -> Any:
            if isinstance(event, http_layer.RequestProtocolError):
                mark_gone(getattr(self, "flow", None))
            elif self._paused and isinstance(event, http_layer.RequestData):
                hold_back(self, len(event.data))
            return stock_event(self, event)

        replace(http_layer.HttpStream, "handle_event", handle_event)


def mark_gone(flow: Any) -> None:
    """Note that nobody waits for this flow any more. Departure sends nothing for it."""
    door = gate.find(flow) if flow is not None else None
    if door is not None:
        door.gone = True


def problem_body(status: int) -> bytes:
    """Return our page for a failure of mitmproxy's: what the caller may know, and not a byte of the upstream's."""
    code = CODE_OF_STATUS.get(status, "upstream-failed" if status >= 500 else "request-malformed")
    error = GuardhouseError(CODES[code].title + ".", code=code, status=status)
    return (json.dumps(problem_of(error).body) + "\n").encode()


def error_page(status_code: int, message: str = "") -> bytes:
    """As mitmproxy's `make_error_response`, without its message."""
    response = _http1.http.Response.make(
        status_code,
        problem_body(status_code),
        {"Content-Type": "application/problem+json", "Cache-Control": "no-store", "Connection": "close"},
    )
    raw: bytes = _http1.http1.assemble_response(response)
    return raw


def may_answer(connection: Any, event: Any) -> bool:
    """True when this failure is told by a page: the stream is open and nothing was sent on it."""
    if event.code.http_status_code() is None or connection.is_closed(event.stream_id) or not connection.is_open_for_us(event.stream_id):
        return False
    return not connection.h2_conn.streams[event.stream_id].state_machine.headers_sent


def _send_page(connection: Any, event: Any) -> Any:
    status = event.code.http_status_code()
    headers = [(b":status", b"%d" % status), (b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
    connection.h2_conn.send_headers(event.stream_id, headers)
    connection.h2_conn.send_data(event.stream_id, problem_body(status), end_stream=True)
    yield _http2.SendData(connection.conn, connection.h2_conn.data_to_send())


PATCHES: tuple[Patch, ...] = (
    Trailers(),
    Unread(),
    InterimResponses(),
    EarlyAnswers(),
    RefusedBodies(),
    UpstreamClock(),
    ErrorPages(),
    Gone(),
    Floods(),
    WebSocketControl(),
    MaxConnections(),
    Backlog(),
)


def install(runtime: Runtime) -> None:
    """Install every patch."""
    for patch in PATCHES:
        patch.install(runtime)


def check() -> list[str]:
    """Return the names of the patches whose stock functions are not those they were written for."""
    return [patch.name for patch in PATCHES if patch.current() != patch.fingerprint]
