"""Answers of the example service that go on: events, a feed of lines, a long download. All with made-up personal values in them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from addons.core.development.customers import CUSTOMERS

PAUSE = 0.5  # seconds between two events that nobody counted
LINE = "2026-01-02T03:04:05Z info request served in 12 ms, cache hit, nothing else to say about it here"
EVERY = 100  # lines of a download: then one holds a value
MOST = 2048  # MiB


async def events(request: Request) -> Response:
    """Server-sent events. `?n=` says how many; without it they go on, one every half second."""
    return StreamingResponse(_events(_count(request, "n")), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def feed(request: Request) -> Response:
    """One JSON document a line. `?n=` says how many."""
    return StreamingResponse(_lines(_count(request, "n")), media_type="application/x-ndjson")


async def download(request: Request) -> Response:
    """A long log of `?mb=` MiB, with a value now and then."""
    size = min(_count(request, "mb") or 1, MOST) << 20
    return StreamingResponse(_log(size), media_type="text/plain; charset=utf-8", headers={"Content-Length": str(size)})


ROUTES = [Route("/events", events), Route("/feed.ndjson", feed), Route("/download", download)]


def _count(request: Request, name: str) -> int | None:
    told = request.query_params.get(name, "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 7 else None


async def _documents(count: int | None) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    number = 0
    while count is None or number < count:
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        document = {name: customer[name] for name in ("id", "email", "phone", "card", "city")}
        yield number, {"customer": document, "text": customer["notes"][0] if customer["notes"] else ""}
        number += 1
        if count is None:
            await asyncio.sleep(PAUSE)


async def _events(count: int | None) -> AsyncIterator[str]:
    yield ": customers as they change\n\n"
    async for number, document in _documents(count):
        yield f"id: {number}\nevent: customer\ndata: {json.dumps(document, ensure_ascii=False)}\n\n"


async def _lines(count: int | None) -> AsyncIterator[str]:
    async for _, document in _documents(count):
        yield json.dumps(document, ensure_ascii=False) + "\n"


def _log(size: int) -> Iterator[bytes]:
    left, number = size, 0
    block = [LINE] * (EVERY - 1)
    while left > 0:
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        number += 1
        piece = "\n".join([*block, f"2026-01-02T03:04:05Z info mail sent to {customer['email']}"]).encode() + b"\n"
        yield piece[:left]
        left -= len(piece)
