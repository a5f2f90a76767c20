"""The clocks of an open WebSocket: its identity's end, silence, and the gateway's own stop. Looked at once a second."""

import asyncio

from mitmproxy import http

from addons.core import exchange
from addons.core.errors import GuardhouseError
from addons.host import patches_websocket, socket_steps, sockets
from addons.host.runtime import Runtime

EVERY = 1.0
STOPPING = "Guardhouse is stopping. Connect again shortly."
SILENT = "Nothing was said for too long."


def watch(runtime: Runtime, flow: http.HTTPFlow) -> None:
    """Look at this session until it ends."""
    loop = asyncio.get_running_loop()
    snapshot = runtime.snapshot_of(flow)
    service = snapshot.gateway.services.get(exchange.read(flow.metadata).service or "")
    idle = min(snapshot.gateway.limits.idle, service.idle_timeout if service else snapshot.gateway.limits.idle)
    last = [sockets.of(flow).number, loop.time()]

    def look() -> None:
        if not flow.live:
            return
        socket = sockets.of(flow)
        if socket.number != last[0]:
            last[:] = [socket.number, loop.time()]
        if runtime.draining:
            patches_websocket.end_now(flow, sockets.RESTART, GuardhouseError(STOPPING, code="shutting-down"))
        elif loop.time() - last[1] >= idle:
            patches_websocket.end_now(flow, sockets.POLICY, GuardhouseError(SILENT, code="shutting-down", detail="idle"))
        elif not is_good(runtime, flow):
            assert socket.end is not None
            patches_websocket.end_now(flow, socket.end.code, socket.end.error)
        loop.call_later(EVERY, look)

    loop.call_later(EVERY, look)


def is_good(runtime: Runtime, flow: http.HTTPFlow) -> bool:
    """Whether the session's identity still counts; if not, the session is marked to end."""
    try:
        socket_steps.identify(runtime, flow)
    except GuardhouseError:
        return False
    return True
