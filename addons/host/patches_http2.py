"""Patches of mitmproxy's HTTP/2: what one connection may ask for at once, and how much of a head it may send before its end.

A request that is reset at once still runs its hooks, and mitmproxy counts neither: 3,000 requests and resets cost their
sender nothing and us 3,000 hooks (rapid reset, CVE-2023-44487). Who goes on like this gets a GOAWAY.
"""

import asyncio
from typing import Any

import h2.errors
import h2.events
import h2.frame_buffer
from mitmproxy.proxy.layers.http import _http2 as http2_layer

from addons.core.config.model import Limits
from addons.host.connections import facts_of
from addons.host.patch import Patch, replace, stock
from addons.host.runtime import Runtime

_http2: Any = http2_layer  # its names are not exported

WITHIN = 10.0  # seconds in which resets are counted together
FRAME = 16 << 10  # RFC 9113 section 4.2: what every peer must accept, and what clients fill


class Floods(Patch):
    reason = "an HTTP/2 client may open and reset streams without end, each with hooks of its own; a head may be cut into 64 frames"
    targets = (
        (_http2.Http2Server, "handle_h2_event"),
        (_http2.Http2Connection, "protocol_error"),
        (h2.frame_buffer.FrameBuffer, "_update_header_buffer"),
    )
    fingerprint = "74782b6dc44604cdca1575823d21f489d495cc9873c930503390377118120a17"

    def install(self, runtime: Runtime) -> None:
        stock_event = stock(_http2.Http2Server, "handle_h2_event")
        if runtime.snapshot is not None:
            h2.frame_buffer.CONTINUATION_BACKLOG = 1 + runtime.snapshot.gateway.limits.headers // FRAME

        def handle_h2_event(self: Any, event: Any) -> Any:
            if isinstance(event, h2.events.RequestReceived | h2.events.StreamReset) and runtime.snapshot is not None:
                why = too_much(self, event, runtime.snapshot.gateway.limits)
                if why:
                    return _go_away(self, why)
            return stock_event(self, event)

        replace(_http2.Http2Server, "handle_h2_event", handle_h2_event)


def too_much(connection: Any, event: Any, limits: Limits) -> str:
    """Say what there is too much of on this connection; nothing, while there is not."""
    if isinstance(event, h2.events.RequestReceived):
        parent = connection.context.layers[connection.context.layers.index(connection) - 1]
        return "too many requests at work" if len(parent.streams) >= limits.live_hooks else ""
    now, resets = asyncio.get_running_loop().time(), facts_of(connection.conn).resets
    resets.append(now)
    while resets[0] < now - WITHIN:
        resets.popleft()
    return "too many streams were reset" if len(resets) > limits.resets else ""


def _go_away(connection: Any, why: str) -> Any:
    yield from connection.protocol_error(why, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
    return True
