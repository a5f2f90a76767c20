"""Serves an ASGI app inside the event loop that is already running, on a loopback literal and nowhere else.

uvicorn installs no signal handlers here (`_serve`, not `serve`): stopping is the gateway's business.
"""

import asyncio
import ipaddress
import socket
from typing import Any

import uvicorn

from addons.core.config.model import Address
from addons.core.errors import ConfigError, ConfigProblem

STARTS_WITHIN = 5.0
STOPS_WITHIN = 5.0


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


class Served:
    """One running server."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None], address: Address) -> None:
        self.address = address
        self._server = server
        self._task = task

    async def close(self) -> None:
        """Stop accepting, let what is under way end, and close."""
        self._server.should_exit = True
        await asyncio.wait({self._task}, timeout=STOPS_WITHIN)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def serve(app: Any, address: Address) -> Served:
    """Bind and serve; return once requests are answered. Port 0 takes a free one (see `Served.address`)."""
    if not is_loopback_literal(address.host):
        raise ConfigError([ConfigProblem("gateway.yaml", f"unsafe_development: {address} is not a loopback literal", "127.0.0.1:port")])
    sock = bind(address)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="wsproto",
        timeout_graceful_shutdown=1,
        server_header=False,
        date_header=False,
    )
    server = _Server(config)
    task = asyncio.create_task(server._serve(sockets=[sock]), name=f"development server {address}")
    up = asyncio.create_task(server.is_up.wait())
    await asyncio.wait({task, up}, timeout=STARTS_WITHIN, return_when=asyncio.FIRST_COMPLETED)
    if not server.is_up.is_set():
        up.cancel()
        task.cancel()
        raise ConfigError([ConfigProblem("gateway.yaml", f"unsafe_development: nothing answers on {address}")])
    return Served(server, task, Address(address.host, sock.getsockname()[1]))


def bind(address: Address) -> socket.socket:
    """A listening socket on this address; an address in use is a ConfigError that names it."""
    sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise ConfigError([ConfigProblem("gateway.yaml", f"unsafe_development: cannot listen on {address}: {error.strerror}")]) from error
    sock.setblocking(False)
    return sock


def is_loopback_literal(host: str) -> bool:
    """True for 127.0.0.0/8 and ::1 written as numbers; a name may resolve to anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
