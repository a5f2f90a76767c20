"""Writes down a streamed answer while it passes: chunk events, never waited for one by one, never far behind.

A stream callable is synchronous and cannot wait for a commit, so pieces are queued and one task writes them: at most 32 KB or what came
in 100 ms in one event. If more than 256 KB, or anything for longer than two seconds, is not durable, `put` raises and the stream is
cut. An event holds the storage-masked content up to the body cap, and always how many bytes have left and their running digest.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from addons.core.audit.events import Event, json_field, make
from addons.core.errors import AuditError

CHUNK = 32 << 10
DELAY = 0.1  # seconds that a piece waits for company
WINDOW = 256 << 10
WINDOW_SECONDS = 2.0
ENOUGH = 2 * CHUNK  # not durable: reading stops until it is


class ContentMask(Protocol):
    """The storage mask of one stream (`Redactor.stream`). Raises for what cannot be stored."""

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class ChunkRecorder:
    """Records one stream. Made in the event loop; `close` ends it."""

    def __init__(
        self,
        append: Callable[[Event], Awaitable[int]],
        core: Mapping[str, Any],
        content: ContentMask | None,
        cap: int,
        on_failure: Callable[[AuditError], None],
    ) -> None:
        self._append, self._core, self._cap, self._on_failure = append, dict(core), cap, on_failure
        self._content = content
        self._queue: deque[tuple[float, bytes]] = deque()
        self._waiting = 0  # bytes that left and are not durable
        self._oldest: float | None = None
        self._digest = hashlib.sha256()
        self._total = self._stored = self._events = 0
        self.is_complete = content is not None  # whether all of the content is stored, masked
        self._failed: AuditError | None = None
        self._closing = False
        self._wake, self._full, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    def put(self, piece: bytes) -> None:
        """Take a piece that is about to leave. Raises AuditError when the log is too far behind."""
        now = self._loop.time()
        if self._failed is not None:
            raise self._failed
        self._waiting += len(piece)
        self._oldest = now if self._oldest is None else self._oldest
        if self._waiting > WINDOW or now - self._oldest > WINDOW_SECONDS:
            raise AuditError(detail="the record of a stream is too far behind")
        self._queue.append((now, piece))
        self._wake.set()
        if self._waiting >= CHUNK:
            self._full.set()
        if self._waiting >= ENOUGH:
            self._room.clear()

    async def room(self) -> None:
        """Return when more may come."""
        await self._room.wait()

    async def close(self) -> dict[str, Any]:
        """Write what is left and return what is said of the whole. Raises AuditError when it cannot be written."""
        self._closing = True
        self._wake.set()
        self._full.set()
        await self._task
        if self._failed is not None:
            raise self._failed
        return self.facts()

    def facts(self) -> dict[str, Any]:
        """The digest of what left, and how much of it is stored."""
        told: dict[str, Any] = {"sha256": self._digest.hexdigest(), "length": self._total, "chunks": self._events}
        if not self.is_complete:
            told["withheld" if self._content is None else "truncated"] = True
        return told

    async def _run(self) -> None:
        try:
            while not (self._closing and not self._queue):
                await self._wake.wait()
                if not self._closing:
                    await self._gather()
                self._wake.clear()
                while self._queue:
                    await self._write(self._take())
            await self._write_rest()
        except AuditError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001  # a task that dies silently would let the stream go on unrecorded
            self._give_up(AuditError(detail=f"a chunk: {type(error).__name__}"))

    async def _gather(self) -> None:
        """Wait for company: until there is a chunk, or the first piece is old enough."""
        try:
            async with asyncio.timeout(DELAY):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while self._queue and (not pieces or size + len(self._queue[0][1]) <= CHUNK):
            pieces.append(self._queue.popleft()[1])
            size += len(pieces[-1])
        self._full.clear()
        return b"".join(pieces)

    async def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._total += len(data)
        await self._append(self._event(await self._masked(data)))
        self._waiting -= len(data)
        self._oldest = self._queue[0][0] if self._queue else None
        if self._waiting < ENOUGH:
            self._room.set()

    async def _write_rest(self) -> None:
        """What the storage mask still held back."""
        rest = await self._masked(b"", last=True)
        if rest:
            await self._append(self._event(rest))

    def _event(self, kept: bytes) -> Event:
        self._events += 1
        fields = {"chunk": kept or None, "response.digest": json_field({"sha256": self._digest.hexdigest(), "length": self._total})}
        return make("Mark", "chunk", {**self._core, "bytes": self._total}, fields)

    async def _masked(self, data: bytes, *, last: bool = False) -> bytes:
        """The stored form of a piece; nothing once the cap is reached, or when it cannot be masked."""
        content = self._content
        if content is None or not self.is_complete:
            return b""
        try:
            kept = await asyncio.to_thread(content.finish if last else lambda: content.feed(data))
        except Exception:  # noqa: BLE001  # whatever a detector raises: nothing unmasked is written
            self.is_complete = False
            return b""
        if self._stored + len(kept) > self._cap:
            self.is_complete = False
            kept = kept[: self._cap - self._stored]
        self._stored += len(kept)
        return kept

    def _give_up(self, error: AuditError) -> None:
        self._failed = error
        self._room.set()
        self._on_failure(error)
