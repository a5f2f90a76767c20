"""Serve an ASGI application inside mitmproxy's own event loop, and let no exception of it out.

uvicorn is given a socket that we bound, so that a port in use is our error and not a `sys.exit`; it installs no signal
handlers (they would stop it before `host.drain` has answered the holds), and writes no access log: paths and queries
of the control plane are not for log files.
"""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from addons.core.config.model import Address
from addons.core.errors import GuardhouseError, problem_of

logger = logging.getLogger(__name__)

STOP_SECONDS = 1  # for answers that are being written when the gateway stops; a long poll is cut
STARTUP_SECONDS = 10.0
FIRST_REQUEST_SECONDS = 10.0  # as `limits.headers_time` on the data path
MAX_CONNECTIONS = 256  # of the control plane; beyond it uvicorn answers 503

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Send], Awaitable[None]]


def closed(app: App) -> App:
    """Return the application with everything it did not foresee answered 503; an answer that has begun breaks off."""

    async def answering(scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await app(scope, receive, noting)
        except Exception as error:
            logger.warning("the control plane failed: %s", type(error).__name__)
            if not begun and scope["type"] == "http":
                await _answer_503(send)

    return answering


class Impatient(H11Protocol):
    """A connection whose first request does not come is closed: uvicorn alone would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.loop.call_later(FIRST_REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class Serving:
    """One server on one socket."""

    def __init__(self, app: App, bind: Address, certificate: Path | None) -> None:
        self._socket = bound(bind)
        self._server = uvicorn.Server(config_of(closed(app), certificate))
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on (of interest when port 0 was asked for)."""
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self) -> None:
        """Serve. Returns once connections are accepted; raises when that does not happen."""
        self._task = asyncio.create_task(self._server._serve(sockets=[self._socket]), name="guardhouse-control")
        async with asyncio.timeout(STARTUP_SECONDS):
            while not self._server.started:
                if self._task.done():
                    self._task.result()
                    raise RuntimeError("the control plane ended at once")
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stop accepting, let answers end, close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


def config_of(app: App, certificate: Path | None) -> uvicorn.Config:
    """uvicorn's configuration: no logs of its own, no `Server` header, no forwarding header believed, no WebSocket."""
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="off", ws="none", http=Impatient,
        loop="none", timeout_graceful_shutdown=STOP_SECONDS, limit_concurrency=MAX_CONNECTIONS, h11_max_incomplete_event_size=32 << 10,
    )  # fmt: skip
    config.load()
    if certificate is not None:
        config.ssl = tls_context(certificate)
    return config


def tls_context(certificate: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with key and chain of one file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    return context


def bound(bind: Address) -> socket.socket:
    """A bound socket. Raises OSError, naming the address, when it is taken."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((bind.host, bind.port))
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"control.bind {bind}: {error.strerror}") from error
    return made


async def _answer_503(send: Send) -> None:
    problem = problem_of(GuardhouseError())
    body = (json.dumps(problem.body) + "\n").encode()
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
