"""The audit log as the rest of the gateway sees it: append, and know that it is durable; or be refused.

`append` returns when the event is on disk, under a signature. `commit` does the same for an event that rides with guarded
moves: a decision and its event are one transaction. Whatever cannot be recorded raises AuditError and was not allowed.

A flow that has begun owes one terminal event; room for it is reserved with the intent and released by it. A flow whose
end could not be written (the disk failed in between) is an orphan: the log interrupts it as soon as it can write again.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from addons.core.audit import events
from addons.core.audit.anchor import Anchorer
from addons.core.audit.columns import pack_id
from addons.core.audit.events import Event
from addons.core.audit.prepare import Origin, finish, is_heavy, prepare_fields
from addons.core.audit.reader import Reader
from addons.core.audit.recover import RECOVERED, interruption
from addons.core.audit.sessions import SessionBook, end_of
from addons.core.audit.sqlite_store import SqliteStore
from addons.core.audit.start import Started, start
from addons.core.audit.store import Insert, Move, StoredEvent, StoreError
from addons.core.audit.suppress import Suppressor
from addons.core.audit.writer import Done, Pending, Writer
from addons.core.clock import Clock, uuid7
from addons.core.config.model import AuditTerms
from addons.core.errors import AuditError

logger = logging.getLogger(__name__)

TICK = 1.0  # seconds between two looks at what is due
STOP_SECONDS = 10.0
UNAUTHENTICATED_SHARE = 0.7  # of the queue; the rest is kept for flows with a principal
TERMINAL_SIZE = 64 << 10  # disk that one open flow may still need
DISK_FLOOR = 64 << 20  # below it, nothing that has no principal is accepted
DISK_WARN = 256 << 20


class Derives(Protocol):
    """The key ring: 32 bytes for a label."""

    def derive(self, label: str) -> bytes: ...


class AuditLog:
    """One open log. Made by `open`."""

    def __init__(self, terms: AuditTerms, started: Started, keys: Derives, clock: Clock, snapshot: str, quiet: float) -> None:
        self._terms, self._clock, self._store, self._signer = terms, clock, started.store, started.signer
        self.unlinked = started.unlinked
        self.evidence_key = keys.derive("evidence")
        self._blob_key = keys.derive("blob-address")
        self.boot = uuid7(clock)
        self.snapshot = snapshot
        self._replica = terms.origin.rsplit("/", 1)[-1]
        self._open: dict[str, Event] = {}  # flows that have begun and owe an end
        self._orphans: dict[str, str] = {}  # flow -> why nobody will end it
        self.sessions = SessionBook(quiet)
        self.suppressor = Suppressor(clock.monotonic())
        self._last_us = 0
        self._last_event = clock.monotonic()
        self._anchorer = Anchorer(terms, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[float, Pending]] = deque()  # entries and their deadlines, oldest first
        self._alarm: asyncio.TimerHandle | None = None
        self._trouble_told = self._closed = False
        self.on_fatal: Callable[[], None] = lambda: None
        self.observers: list[Callable[[Event, float], None]] = []  # told of each event that is durable, and after how many seconds
        ballast = terms.database.with_name(terms.database.name + ".ballast")
        self._writer = Writer(
            started.store, started.signer, started.recovered.frontier, now_us=clock.now_us, on_group=self._settled, on_fatal=lambda: self.on_fatal(),
            events=terms.queue_events, size=terms.queue_size, deadline=terms.queue_deadline, ballast=ballast, folder=terms.database.parent,
        )  # fmt: skip
        self._writer.checkpoint = started.recovered.tip

    @classmethod
    async def open(
        cls,
        terms: AuditTerms,
        state: Path,
        keys: Derives,
        clock: Clock,
        snapshot_digest: str,
        *,
        session_quiet: float = 1800.0,
        store_type: Callable[[Path], SqliteStore] = SqliteStore,
    ) -> "AuditLog":
        """Open, recover, say what a crash cut off, and note the start. Raises AuditError: then the gateway must not listen."""
        sys.setswitchinterval(0.0005)  # the writer thread gets its turn sooner: 1.2x at 64 flows, p99 21 -> 13 ms
        started = await asyncio.to_thread(start, terms.database, terms.origin, state, terms.anchor_files, store_type)
        log = cls(terms, started, keys, clock, snapshot_digest, session_quiet)
        log._writer.start()
        try:
            await log._begin(started)
        except BaseException:
            await log._stop_writer()
            raise
        log._keep(log._tick_for_ever())
        return log

    async def append(self, event: Event, *, reserve: bool = False, release: bool = False) -> int:
        """Write an event and return its number once it is durable. Raises AuditError when it is not, or may not be.

        `reserve` accepts the event only with room for the terminal event that its flow will owe; `release` says that this
        is that terminal, which uses the room.
        """
        seq = await self._submit(event, (), reserve, release)
        if seq is None:
            raise AuditError(detail="an event without moves was not kept")
        return seq

    async def commit(self, event: Event, moves: Sequence[Move]) -> int | None:
        """Write an event and its moves in one transaction. None: a guard failed, and nothing was written."""
        return await self._submit(event, tuple(moves), False, False)

    async def claim_once(self, kind: str, id: str, until_us: int) -> bool:
        """True for the first who claims this id, for ever after False."""
        pending = self._bare([Insert("seen", {"kind": kind, "id": id, "until_us": until_us})])
        self._writer.put(pending)
        return await self._durable(pending) is not None

    async def move(self, moves: Sequence[Move]) -> bool:
        """Make moves that no event tells of (when a key was last used). False: a guard failed, and nothing was written."""
        pending = self._bare(moves)
        self._writer.put(pending)
        return await self._durable(pending) is not None

    async def rows(self, table: str, where: Mapping[str, Any] | None = None, order: str = "", limit: int = 0) -> list[dict[str, Any]]:
        """Rows of one of the state tables as they are committed now."""
        return await self._read(lambda reader: reader.rows(table, where or {}, order, limit))

    async def events(self, flow: str | None = None, approval: str | None = None) -> list[StoredEvent]:
        """The events of a flow or an approval, oldest first, each checked against its leaf. Raises AuditError for one that differs."""
        if flow is not None:
            return await self._read(lambda reader: reader.events("flow = ?", (pack_id(flow),)))
        if approval is None:
            raise ValueError("name a flow or an approval")
        return await self._read(lambda reader: reader.events("approval = ?", (approval,)))

    def tell(self, event: Event) -> None:
        """Write an event that nobody waits for. What fails is logged."""

        async def written() -> None:
            try:
                await self.append(event)
            except AuditError as error:
                logger.warning("an event of kind %s could not be written: %s", event.kind, error.detail)

        self._keep(written())

    def lose(self, flow: str, reason: str) -> None:
        """Somebody could not write this flow's terminal event; the log interrupts it when it can."""
        if flow in self._open:
            self._orphans[flow] = reason

    def health(self) -> dict[str, Any]:
        """What /healthz, /readyz and /metrics may show."""
        health = self._writer.health
        return {
            "ok": health.failing_since is None and not self._closed,
            "size": health.size,
            "groups": health.groups,
            "queue": self._writer.waiting(),
            "lag_seconds": self._writer.lag(),
            "reserved": len(self._open),
            "sessions": len(self.sessions),
            "failures": health.failures,
            "last_error": health.last_error,
            "disk_free": health.disk_free,
            "disk_low": health.disk_free < DISK_WARN,
            "anchor_lag_seconds": self._anchorer.lag(health.size),
            "anchor_failures": list(self._anchorer.failures),
            "unlinked_key": self.unlinked,
        }

    async def close(self) -> None:
        """End what is open, write the last events, anchor, close. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        try:
            await self._last_words()
        except AuditError as error:
            logger.warning("the audit log could not be ended properly: %s", error.detail)
        await self._stop_writer()

    async def _begin(self, started: Started) -> None:
        for event in started.recovered.endings:
            await self._submit(event, (), False, True)
        if started.recovered.endings:
            logger.warning("recovery: %d flows and sessions were cut off and are closed now", len(started.recovered.endings))
        if started.unlinked:
            await self.append(events.make("Mark", "key", {"verb": "unlinked", "ref": self._signer.key.text()}))
        core = {"verb": "start", "snapshot": self.snapshot, "policy_digest": self.snapshot}
        await self.append(events.make("Mark", "log", core))
        await asyncio.to_thread(self._remember_recovered)
        await self._anchorer.write(self._writer.checkpoint)

    async def _last_words(self) -> None:
        for flow, event in list(self._open.items()):
            await self._submit(
                interruption(event.core, event.fields.get("principal"), event.kind, self._orphans.get(flow, "stop")), (), False, True
            )
        summary = self.suppressor.flush(self._clock.monotonic())
        if summary is not None:
            await self._submit(summary, (), False, True)
        for session in self.sessions.open_ones():
            await self._close_session(session, "stop")
        await self._submit(events.make("Mark", "log", {"verb": "stop"}), (), False, True)
        await self._anchorer.write(self._writer.checkpoint)

    async def _stop_writer(self) -> None:
        if await asyncio.to_thread(self._writer.stop, STOP_SECONDS):
            await asyncio.to_thread(self._store_ended)
        else:
            logger.warning("the audit store hangs; the next start recovers it")

    def _store_ended(self) -> None:
        try:
            if self._closed and not self._open:
                self._store.set_meta({RECOVERED: self._writer.health.size.to_bytes(8, "big")})
        except StoreError as error:
            logger.warning("%s", error)
        self._store.close()

    def _remember_recovered(self) -> None:
        """No flow or session from before this start is open: the next recovery need not look there. Runs before traffic."""
        self._store.set_meta({RECOVERED: self._writer.health.size.to_bytes(8, "big")})

    async def _submit(self, event: Event, moves: Sequence[Move], reserve: bool, release: bool) -> int | None:
        try:
            events.check(event)
        except ValueError as error:
            raise AuditError(detail=f"an event without an exact encoding: {error}") from error
        if reserve:
            self._admit(event)
        heavy = is_heavy(event)
        prepared = await asyncio.to_thread(prepare_fields, event, self._blob_key) if heavy else prepare_fields(event, self._blob_key)
        opening = self.sessions.opening(event, self._clock.monotonic())
        if opening is not None:
            self._queue(opening, prepare_fields(opening, self._blob_key), (), release)
        return await self._durable(self._queue(event, prepared, moves, release))

    def _queue(self, event: Event, prepared: Any, moves: Sequence[Move], release: bool) -> Pending:
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        origin = Origin(self._replica, self.boot, self.snapshot)
        try:
            pending = finish(event, prepared, moves, origin, self._times(), future)
        except ValueError as error:
            raise AuditError(detail=f"an event without an exact encoding: {error}") from error
        kept_back = 0 if release or event.is_terminal else len(self._open)
        if not release and "principal" not in event.fields and event.stage != "Mark":
            kept_back += int(self._terms.queue_events * (1 - UNAUTHENTICATED_SHARE))
            self._check_disk(DISK_FLOOR)
        self._writer.put(pending, kept_back=min(kept_back, self._terms.queue_events - 1))
        return pending

    def _admit(self, event: Event) -> None:
        """Room for the intent and for the end it will owe, in the queue and on the disk."""
        if event.flow is None or event.flow in self._open:
            raise AuditError(detail="an intent needs a flow of its own")
        if len(self._open) + 1 >= self._terms.queue_events:
            raise AuditError(detail="as many flows are open as the queue could end at once")
        self._check_disk(TERMINAL_SIZE * (len(self._open) + 2))

    def _check_disk(self, needed: int) -> None:
        if self._writer.health.disk_free < needed:
            raise AuditError(detail="the disk of the audit store is nearly full")

    def _times(self) -> dict[str, Any]:
        now_us = self._clock.now_us()
        times: dict[str, Any] = {"ts_us": now_us, "mono_us": int(self._clock.monotonic() * 1_000_000)}
        if now_us < self._last_us:
            times["clock_back"] = True  # the order of the log is seq; the step is on record
        self._last_us = now_us
        return times

    def _bare(self, moves: Sequence[Move]) -> Pending:
        return Pending(None, asyncio.get_running_loop().create_future(), moves=moves, size=256)

    async def _durable(self, pending: Pending) -> int | None:
        """Wait for the commit; give up when the disk hangs. An entry that the writer has already is then in doubt."""
        self._watch(pending)
        try:
            return await pending.future
        except asyncio.CancelledError as error:
            self._writer.withdraw(pending)
            if pending.is_late:
                raise AuditError(detail="the audit store did not answer in time") from error
            raise

    def _watch(self, pending: Pending) -> None:
        """Give an entry its deadline. All have the same, so one clock watches the oldest, and most are done before it rings."""
        waiting, loop = self._waiting, asyncio.get_running_loop()
        while waiting and waiting[0][1].future.done():
            waiting.popleft()
        waiting.append((loop.time() + self._terms.queue_deadline, pending))
        if self._alarm is None:
            self._alarm = loop.call_at(waiting[0][0], self._ring)

    def _ring(self) -> None:
        """Give up what is still not durable, and wait for the next one."""
        waiting, loop = self._waiting, asyncio.get_running_loop()
        while waiting and (waiting[0][0] <= loop.time() or waiting[0][1].future.done()):
            pending = waiting.popleft()[1]
            if not pending.future.done():
                pending.is_late = True
                pending.future.cancel()
        self._alarm = loop.call_at(waiting[0][0], self._ring) if waiting else None

    def _settled(self, done: list[Done]) -> None:
        """A group ended, well or not. Runs on the loop, once per group."""
        failed = [one for one in done if one.error is not None]
        for one in done:
            if one.error is None and one.seq is not None:
                self._account(one.pending)
            elif one.error is not None and one.pending.event is not None:
                self.sessions.forget(one.pending.event)
            self._answer(one)
        self._observe(done)
        if failed and not self._trouble_told:
            self._trouble_told = True
            logger.error("the audit log cannot be written: %s", self._writer.health.last_error)
            self._keep(self._tell_trouble(self._writer.health.last_error))
        elif not failed:
            self._trouble_told = False
            self._last_event = self._clock.monotonic()
            if self._anchorer.is_behind(self._writer.health.size):
                self._keep(self._anchorer.write(self._writer.checkpoint))

    def _observe(self, done: list[Done]) -> None:
        now = time.monotonic()  # the writer stamps entries with the machine's own clock
        for one in done:
            if one.seq is not None and one.error is None and one.pending.event is not None:
                for observe in self.observers:
                    observe(one.pending.event, now - one.pending.queued_at)

    def _account(self, pending: Pending) -> None:
        event, flow = pending.event, pending.flow
        if event is None or flow is None:
            return
        if event.is_begin:
            self._open[flow] = event
            if pending.future.cancelled():  # in doubt when its hook gave up; it was written, and nobody will end it
                self._orphans[flow] = "not acknowledged"
        elif event.is_terminal:
            self._open.pop(flow, None)
            self._orphans.pop(flow, None)
            self.sessions.seen(event, self._clock.monotonic())

    def _answer(self, done: Done) -> None:
        future = done.pending.future
        if future.done():
            return
        if done.error is not None:
            future.set_exception(done.error)
            future.exception()  # an opened session has nobody who waits for it
        else:
            future.set_result(done.seq)

    async def _tell_trouble(self, reason: str) -> None:
        """The last words on a full disk: the ballast was freed for them."""
        try:
            await self._submit(events.make("Mark", "log", {"verb": "failed"}, {"reason": reason.encode()}), (), False, True)
        except AuditError:
            return

    async def _tick_for_ever(self) -> None:
        while True:
            await self._clock.sleep(TICK)
            try:
                await self._tick()
            except AuditError as error:
                logger.log(logging.DEBUG if self._trouble_told else logging.WARNING, "the audit log is behind: %s", error.detail)

    async def _tick(self) -> None:
        now = self._clock.monotonic()
        for flow, reason in list(self._orphans.items()):
            event = self._open.get(flow)
            if event is None:
                self._orphans.pop(flow, None)
                continue
            await self._submit(interruption(event.core, event.fields.get("principal"), event.kind, reason), (), False, True)
        for session in self.sessions.quiet_ones(now):
            await self._close_session(session, "quiet")
        if self.suppressor.due(now):
            summary = self.suppressor.flush(now)
            if summary is not None:
                await self.append(summary)
        if now - self._last_event >= self._terms.heartbeat:
            await self.append(events.make("Mark", "heartbeat"))
        if self._anchorer.is_due():
            await self._anchorer.write(self._writer.checkpoint)

    async def _close_session(self, session: str, reason: str) -> None:
        """Write the end of a session, and forget it only then."""
        found = self.sessions.take(session)
        try:
            await self._submit(end_of(found, reason), (), False, True)
        except AuditError:
            self.sessions.put_back(found)
            raise

    async def _read[T](self, question: Callable[[Reader], T]) -> T:
        def ask() -> T:
            with Reader.open(self._terms.database) as reader:
                return question(reader)

        try:
            return await asyncio.to_thread(ask)
        except StoreError as error:
            raise AuditError(detail=str(error)) from error

    def _keep(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
