"""The control plane's front door: what is checked before any route sees a request, and set on every answer.

A name that is not ours in `Host` is a rebound DNS name or somebody else's request, so only the host of
`control.public_url` and the bind address pass. A body is read whole, under a cap, before anything else happens. Every
answer forbids scripts, frames, outside resources, caching and sniffing, whichever route made it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from addons.core.config.model import Control
from addons.core.errors import GuardhouseError, RouteError, ValidationError, problem_of

MAX_BODY = 64 << 10  # a decision is a few hundred bytes; a pasted token at most some KiB
PROBES = frozenset({"/healthz", "/readyz"})  # asked by machines, often, and cheap
BODY_TIME = 10.0  # seconds for the whole body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# `Referrer-Policy: no-referrer` would make browsers send `Origin: null` with our own forms (Fetch, "append a request
# Origin header"), so the Origin check could not tell us from a stranger. `same-origin` tells other sites as little.
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Door:
    """An ASGI application around the control plane's own."""

    def __init__(self, app: App, control: Callable[[], Control], admit: Callable[[str], None]) -> None:
        self._app = app
        self._control = control
        self._admit = admit  # takes the peer's address; raises when it asks too often

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        closing = _with_headers(send)
        try:
            check_host(scope["headers"], hosts_of(self._control()))
            if scope["path"] not in PROBES:
                self._admit((scope.get("client") or ("",))[0])
            body = await read_body(scope["headers"], receive)
        except GuardhouseError as error:
            await _answer(closing, error)
            return
        await self._app(scope, _again(body, receive), closing)


def hosts_of(control: Control) -> frozenset[str]:
    """The values of `Host` under which we answer: the public name and the address we listen on."""
    public = urlsplit(control.public_url)
    names = {public.netloc.lower(), str(control.bind).lower()}
    if public.hostname and public.port in (None, 443):
        names |= {public.hostname, f"{public.hostname}:443"}
    return frozenset(names)


def check_host(headers: list[tuple[bytes, bytes]], hosts: frozenset[str]) -> None:
    """Refuse a request for another name, for two names, or for none."""
    named = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
    if len(named) != 1 or named[0] not in hosts:
        raise RouteError("This address is not this gateway's control plane. Use the address in control.public_url.", code="misdirected")


async def read_body(headers: list[tuple[bytes, bytes]], receive: Receive) -> bytes:
    """Read the whole body. Raises when it is larger than the cap, too slow, or the client leaves in the middle."""
    for name, value in headers:
        if name == b"content-length" and (not value.isdigit() or int(value) > MAX_BODY):
            raise _too_large()
    parts = bytearray()
    try:
        async with asyncio.timeout(BODY_TIME):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ValidationError("The request broke off.")
                parts += message.get("body", b"")
                if len(parts) > MAX_BODY:
                    raise _too_large()
                if not message.get("more_body", False):
                    return bytes(parts)
    except TimeoutError as error:
        raise ValidationError("The request took too long to arrive.", status=408) from error


def _too_large() -> ValidationError:
    return ValidationError("The control plane takes requests of at most 64 KiB.", code="request-too-large", headers={"Connection": "close"})


def _again(body: bytes, receive: Receive) -> Receive:
    """Hand out the body that was read, once; after it whatever comes next (the client leaving)."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = {name for name, _ in HEADERS}
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
            message["headers"] = [*kept, *HEADERS]
        await send(message)

    return sending


async def _answer(send: Send, error: GuardhouseError) -> None:
    problem = problem_of(error)
    body = (json.dumps(problem.body, ensure_ascii=False) + "\n").encode()
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
