"""The example service's WebSocket: it greets with a customer, then says back whatever it hears."""

import json
from collections.abc import Callable

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from addons.core.development.customers import CUSTOMERS

POLICY_VIOLATION = 1008


def route(is_admitted: Callable[[str | None], bool]) -> WebSocketRoute:
    """`/ws`, for whoever holds the service's credential."""

    async def talk(socket: WebSocket) -> None:
        if not is_admitted(socket.headers.get("authorization")):
            await socket.close(POLICY_VIOLATION)
            return
        await socket.accept()
        await socket.send_text(json.dumps({"customer": CUSTOMERS[0]}))
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        except (WebSocketDisconnect, KeyError):
            return  # KeyError: a binary message, which this service does not speak

    return WebSocketRoute("/ws", talk)
