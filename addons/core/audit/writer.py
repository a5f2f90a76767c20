"""The writer thread: takes all that is queued, gives numbers, hashes, signs, commits once, then tells everybody.

A commit on the event loop would stall every flow for the length of an fsync; a timer would add latency for nothing. So one
thread owns the store: while it commits one group the next one collects, and the size of a group settles at about the
number of waiting flows. It is woken once for each turn of the loop, with all that the turn has queued. All futures of a
group are resolved by one `call_soon_threadsafe`.

Ages of the queue are measured on the machine's monotonic clock and not on the Clock of the tests: a disk that hangs does
so in real time. `except Exception` stands here because a thread that dies silently would leave every flow waiting.
"""

import asyncio
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from addons.core.audit import canonical
from addons.core.audit.blobs import Blob
from addons.core.audit.events import Event
from addons.core.audit.keys import Signer
from addons.core.audit.merkle import Frontier
from addons.core.audit.store import Batch, Checkpointed, Columns, Move, Row, Store, StoreError
from addons.core.errors import AuditError

GROUP_EVENTS = 512
GROUP_SIZE = 16 << 20
IDLE_SECONDS = 0.2  # quiet for so long, the WAL is moved into the database
KNOWN_ENDS = 20_000  # flows whose terminal we remember, so that an event in doubt is not written a second time
FATAL_FAILURES = 50  # groups in a row that failed, retries included; and
FATAL_SECONDS = 60.0  # for so long: then the process stops rather than refuse for ever
BALLAST_SIZE = 16 << 20  # freed when the disk is full, so that the end of the log can be written


@dataclass(slots=True)
class Pending:
    """One event (or moves alone) on its way; encoded and committed to, not yet numbered."""

    event: Event | None
    future: "asyncio.Future[int | None]"
    core: bytes = b""
    columns: Columns | None = None
    fields: tuple[canonical.Field, ...] = ()
    blobs: tuple[tuple[str, Blob], ...] = ()
    moves: Sequence[Move] = ()
    size: int = 0
    queued_at: float = 0.0
    recorded_us: int = 0
    is_late: bool = False  # nobody waits for it any more: its time was over

    @property
    def flow(self) -> str | None:
        return self.event.flow if self.event else None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one pending entry: its seq, None for a guard that failed (or moves alone that held: 0), or an error."""

    pending: Pending
    seq: int | None
    error: AuditError | None = None


@dataclass(slots=True)
class Health:
    """What the outside may know; written by the writer thread only, one word at a time."""

    size: int = 0
    failures: int = 0
    failing_since: float | None = None
    last_error: str = ""
    disk_free: int = 1 << 62
    groups: int = 0


@dataclass(slots=True)
class _Sealed:
    frontier: Frontier
    checkpoint: Checkpointed
    ends: dict[str, int] = field(default_factory=dict)
    kept: Sequence[Pending] = ()
    seqs: dict[int, int] = field(default_factory=dict)  # id(pending) -> seq


class Writer:
    """Owns the store from `start` to the end of `stop`."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        frontier: Frontier,
        *,
        now_us: Callable[[], int],
        on_group: Callable[[list[Done]], None],
        on_fatal: Callable[[], None],
        events: int = 4096,
        size: int = 64 << 20,
        deadline: float = 2.0,
        ballast: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        self.health = Health(size=frontier.size)
        self.checkpoint: Checkpointed | None = None
        self._store, self._signer, self._frontier = store, signer, frontier
        self._now_us, self._on_group, self._on_fatal = now_us, on_group, on_fatal
        self._max_events, self._max_size, self._deadline = events, size, deadline
        self._ballast, self._folder = ballast, folder
        self._queue: deque[Pending] = deque()
        self._queued_size = 0
        self._busy_since: float | None = None
        self._ends: OrderedDict[str, int] = OrderedDict()
        self._sealed: _Sealed | None = None
        self._wake = threading.Condition()
        self._ready = 0  # of the queue, from its left: what the writer may take
        self._is_waking = self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="guardhouse-audit", daemon=True)

    def start(self) -> None:
        """Make the ballast and start the thread."""
        self._fill_ballast()
        self._look_at_disk()
        self._thread.start()

    def put(self, pending: Pending, *, kept_back: int = 0) -> None:
        """Queue an entry. Raises AuditError when the queue is full or the disk hangs. `kept_back` slots stay for others."""
        now = time.monotonic()
        with self._wake:
            if self._closing:
                raise AuditError(detail="the audit log is closed")
            oldest = self._busy_since or (self._queue[0].queued_at if self._queue else now)
            if now - oldest > self._deadline:
                raise AuditError(detail="the audit store does not answer")
            if len(self._queue) + kept_back >= self._max_events or self._queued_size + pending.size > self._max_size:
                raise AuditError(detail="the audit queue is full")
            pending.queued_at = now
            self._queue.append(pending)
            self._queued_size += pending.size
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        """Let the writer take what this turn of the loop has queued: waking it for each entry would make groups of one."""
        self._is_waking = False
        with self._wake:
            self._ready = len(self._queue)
            self._wake.notify()

    def withdraw(self, pending: Pending) -> bool:
        """Take an entry back. False when the writer has it already: then it may or may not be written."""
        with self._wake:
            try:
                self._queue.remove(pending)
            except ValueError:
                return False
            self._ready = min(self._ready, len(self._queue))
            self._queued_size -= pending.size
            return True

    def waiting(self) -> int:
        """How many entries are queued."""
        return len(self._queue)

    def lag(self) -> float:
        """Age in seconds of the oldest entry that is not durable yet."""
        with self._wake:
            oldest = self._busy_since or (self._queue[0].queued_at if self._queue else None)
        return 0.0 if oldest is None else max(0.0, time.monotonic() - oldest)

    def stop(self, seconds: float) -> bool:
        """Write what is queued and end the thread. False when it hangs. Blocks: call it from another thread."""
        with self._wake:
            self._closing = True
            self._ready = len(self._queue)
            self._wake.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            group = self._take()
            if group is None:
                return
            if group:
                self._write(group)
            else:
                self._idle()

    def _take(self) -> list[Pending] | None:
        """All that is queued, at most one group; empty after a while of silence; None at the end."""
        with self._wake:
            if not self._ready and not self._closing:
                self._wake.wait(IDLE_SECONDS)
            if not self._ready:
                return None if self._closing else []
            group: list[Pending] = []
            size = 0
            while self._ready and len(group) < GROUP_EVENTS and size < GROUP_SIZE:
                pending = self._queue.popleft()
                self._ready -= 1
                size += pending.size
                group.append(pending)
            self._queued_size -= size
            self._busy_since = group[0].queued_at
            return group

    def _write(self, group: list[Pending]) -> None:
        try:
            done = self._commit(group)
        except Exception as error:  # noqa: BLE001  # a thread that dies would leave every flow waiting
            done = self._failed(group, f"{type(error).__name__}")
        finally:
            self._busy_since = None
        self._tell(done)
        self._look_at_disk()

    def _commit(self, group: list[Pending]) -> list[Done]:
        """One transaction; one retry; then fail closed."""
        reason = ""
        for _ in range(2):
            self._sealed = None
            try:
                kept = self._store.commit(group, self._seal)
            except StoreError as error:
                reason = str(error)
                if not self._recovered():
                    continue
                kept = self._sealed.kept if self._sealed else ()
            return self._committed(group, kept)
        return self._failed(group, reason)

    def _recovered(self) -> bool:
        """After an error: start anew, and find out whether the commit had happened all the same. Raises when somebody else wrote."""
        try:
            self._store.reopen()
            tip = self._store.tip()
        except StoreError:
            return False
        size = tip.size if tip else 0
        if self._sealed and tip and tip.size == self._sealed.checkpoint.size and tip.root == self._sealed.checkpoint.root:
            return True
        if size != self._frontier.size:
            raise RuntimeError("the log is not where this writer left it")
        return False

    def _seal(self, kept: Sequence[Pending]) -> Batch | None:
        """Number, hash and sign what stays. Called inside the store's transaction."""
        sealed = _Sealed(self._frontier, Checkpointed(0, 0, b"", b"", b"", b""), kept=kept)
        rows: list[Row] = []
        for pending in kept:
            row = self._row(pending, self._frontier.size + len(rows) + 1, sealed)
            if row is not None:
                rows.append(row)
        self._sealed = sealed
        if not rows:
            return None
        sealed.frontier = self._frontier.extend([row.leaf for row in rows])
        root = sealed.frontier.root()
        note = self._signer.sign(sealed.frontier.size, root)
        signature = note.signatures[0]
        sealed.checkpoint = Checkpointed(
            sealed.frontier.size, self._now_us(), root, sealed.frontier.to_bytes(), signature.key_id, signature.value
        )
        return Batch(tuple(rows), sealed.checkpoint)

    def _row(self, pending: Pending, seq: int, sealed: _Sealed) -> Row | None:
        event, columns = pending.event, pending.columns
        if event is None or columns is None:
            sealed.seqs[id(pending)] = 0
            return None
        if event.is_terminal and event.flow is not None:
            known = self._ends.get(event.flow) or sealed.ends.get(event.flow)
            if known is not None:  # an earlier one, in doubt when this was queued, was written after all
                sealed.seqs[id(pending)] = known
                return None
            sealed.ends[event.flow] = seq
        sealed.seqs[id(pending)] = seq
        leaf = canonical.leaf(seq, pending.core, pending.fields)
        return Row(seq, columns, pending.core, leaf, canonical.pack(pending.fields), pending.blobs)

    def _committed(self, group: list[Pending], kept: Sequence[Pending]) -> list[Done]:
        sealed = self._sealed
        assert sealed is not None
        if sealed.frontier.size > self._frontier.size:
            self._frontier, self.checkpoint = sealed.frontier, sealed.checkpoint
        self._ends.update(sealed.ends)
        while len(self._ends) > KNOWN_ENDS:
            self._ends.popitem(last=False)
        self.health.size = self._frontier.size
        self.health.groups += 1
        self.health.failures, self.health.failing_since, self.health.last_error = 0, None, ""
        there = {id(pending) for pending in kept}
        return [Done(p, sealed.seqs[id(p)] if id(p) in there else None) for p in group]

    def _failed(self, group: list[Pending], reason: str) -> list[Done]:
        now = time.monotonic()
        self.health.failures += 1
        self.health.failing_since = self.health.failing_since or now
        self.health.last_error = reason
        if self._ballast is not None:
            self._ballast.unlink(missing_ok=True)
        if self.health.failures >= FATAL_FAILURES and now - self.health.failing_since >= FATAL_SECONDS:
            self._call(self._on_fatal)
        return [Done(p, None, AuditError(detail=reason)) for p in group]

    def _tell(self, done: list[Done]) -> None:
        self._call(lambda: self._on_group(done))

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop has ended; nobody waits any more
            return

    def _idle(self) -> None:
        try:
            self._store.idle()
            self._look_at_disk()
            if self.health.failing_since is None:
                self._fill_ballast()
        except Exception as error:  # noqa: BLE001  # see the head of this file
            self.health.last_error = type(error).__name__

    def _look_at_disk(self) -> None:
        if self._folder is None:
            return
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return
        self.health.disk_free = found.f_bavail * found.f_frsize

    def _fill_ballast(self) -> None:
        """Reserve the room for the last words; only when there is clearly enough, so that it never causes what it is against."""
        if self._ballast is None or self._ballast.exists() or self.health.disk_free < 4 * BALLAST_SIZE:
            return
        try:
            descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BALLAST_SIZE)
            finally:
                os.close(descriptor)
        except OSError:
            return
