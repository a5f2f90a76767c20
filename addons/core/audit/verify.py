"""Prove that a log is whole, from the file, the pin and an anchor kept elsewhere (design/audit.md 3.12).

Needs no code of the gateway but the formats, no reason and no role. It never stops at the first fault: an early one must
not hide the anchor's verdict. Two bugs that earlier verifiers had stay as tests: "no checkpoints at all" passed, and
stopping after some faults hid that the log had been cut.

Works on a live store: the size is taken once, and rows up to it are read in short transactions.
"""

import fcntl
import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from addons.core.audit import anchor
from addons.core.audit.keys import read_pins
from addons.core.audit.merkle import Frontier
from addons.core.audit.note import Checkpoint, LogKey, NoteError, Signature
from addons.core.audit.reader import Reader
from addons.core.audit.report import Level, Report
from addons.core.audit.store import Checkpointed, KeyRow, StoreError
from addons.core.audit.verify_rows import Rows

PAGE = 2000
LONG = 3600.0  # integrity_check reads every page
MAX_ANCHOR_LAG = 60.0  # seconds; six intervals of ten: an older newest anchor leaves too much open


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes that somebody claims were sent or received: their keyed digest as the log writes it, and their length."""

    hmac: str
    length: int


def verify(
    path: Path, *, pin: Path | None, anchors: Sequence[Path] = (), claim: Claim | None = None, max_lag: float = MAX_ANCHOR_LAG
) -> Report:
    """Verify the store. Raises StoreError when it cannot be read at all."""
    report = Report()
    with Reader.open(path) as reader:
        _Verification(reader, report, claim, is_live=is_live(path), max_lag=max_lag).run(pin, anchors)
    return report


def is_live(path: Path) -> bool:
    """True while a gateway writes this store: then flows may be open without anything being wrong."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class _Verification:
    """One pass over a store."""

    def __init__(self, reader: Reader, report: Report, claim: Claim | None, *, is_live: bool, max_lag: float) -> None:
        self.reader, self.report, self.is_live, self.max_lag = reader, report, is_live, max_lag
        self.origin = self._meta("origin")
        self.report.origin = self.origin
        self.keys = [KeyRow(*row) for row in self._query("SELECT key_id, pub, from_size, to_size FROM log_key ORDER BY from_size, rowid")]
        self.rows = Rows(report, claim.hmac if claim else None, claim.length if claim else 0)
        self.roots: dict[int, bytes] = {}  # at the sizes that an anchor names
        self.size = 0  # of the newest checkpoint; what a live gateway writes after that is for the next time

    def run(self, pin: Path | None, anchors: Sequence[Path]) -> None:
        found = self._anchors(anchors)  # before the size is taken: a live log may grow meanwhile, and must not seem cut back
        self.size = int(self._query("SELECT coalesce(max(size), 0) FROM checkpoint")[0][0])
        steps: list[Callable[[], None]] = [
            self._integrity,
            lambda: self._pins(pin),
            lambda: self._tree({checkpoint.size for checkpoint in found}),
            lambda: self._compare(found),
            self._semantics,
        ]
        for step in steps:
            try:
                step()
            except StoreError as error:  # a page that SQLite cannot read must not hide what the other steps find
                self.report.tampered("unreadable", str(error))

    def _integrity(self) -> None:
        try:
            with self.reader.reading(LONG) as db:
                wrong = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        except StoreError as error:
            wrong = [str(error)]
        for text in wrong:
            self.report.tampered("integrity", f"SQLite: {text}")

    def _pins(self, pin: Path | None) -> None:
        """Whose signatures count. A key that is not pinned signs nothing that is proven."""
        first = self._meta("first_key")
        if self.keys and first and LogKey(self.origin, self.keys[0].pub).text() != first:
            self.report.tampered("first-key", "the first key of the log is not the one it was begun with")
        pins = self._read_pins(pin)
        if pins is None:
            return
        if any(one.origin != self.origin for one in pins):
            self.report.tampered("origin", f"the pin is of the log {pins[0].origin}, the file says {self.origin}")
        pinned = {one.public for one in pins}
        for at, row in enumerate(self.keys):
            if row.pub in pinned:
                continue
            if at == 0:
                self.report.tampered("pinned-key", "the log is not signed by the key that is pinned for it")
            else:
                self.report.incomplete("unlinked-key", f"from size {row.from_size} on it is signed by a key that nobody pinned")

    def _read_pins(self, pin: Path | None) -> tuple[LogKey, ...] | None:
        try:
            pins = read_pins(pin) if pin is not None else None
        except FileNotFoundError:
            pins = None
        except (OSError, NoteError, UnicodeDecodeError) as error:
            self.report.incomplete("pin", f"the pin cannot be read: {error}")
            return None
        if pins is None:
            self.report.incomplete("pin", "there is no pin, so nobody can say whose signatures these are")
        return pins

    def _anchors(self, paths: Sequence[Path]) -> list[Checkpoint]:
        found: list[Checkpoint] = []
        for path in paths:
            try:
                anchors = anchor.read(path)
            except OSError as error:
                self.report.incomplete("anchor", f"the witness file {path.name} cannot be read: {error.strerror}")
                continue
            found += anchors.checkpoints
            if anchors.damaged:
                self.report.add(Level.NOTE, "anchor", f"{anchors.damaged} pieces of {path.name} are no notes: a cut write, or a hand in it")
        self.report.anchors = len(found)
        if not found:
            self.report.incomplete("anchor", "there is no anchor, so nobody can say whether the log was cut back")
        return found

    def _tree(self, wanted: set[int]) -> None:
        """Go over all events, build the tree again, and compare every checkpoint on the way."""
        frontier, leaves, last = Frontier(), list[bytes](), 0
        stops = self._stops(wanted)
        stop = next(stops, None)
        for seq, leaf in self._leaves():
            while stop is not None and stop[0] < seq:
                frontier, leaves = self._stop(frontier.extend(leaves), *stop), []
                stop = next(stops, None)
            if seq != last + 1:
                self.report.tampered("gap", f"events {last + 1} to {seq - 1} are missing", seq)
            last = seq
            leaves.append(leaf)
        frontier = frontier.extend(leaves)
        while stop is not None and stop[0] <= last:
            frontier, stop = self._stop(frontier, *stop), next(stops, None)
        self.report.root = frontier.root().hex()
        while stop is not None:
            if stop[1] is not None:
                self._signature(stop[1])
                self.report.tampered("cut", f"a checkpoint covers {stop[0]} events, there are {last}", last)
            stop = next(stops, None)
        self._ends(last)

    def _stops(self, wanted: set[int]) -> Iterator[tuple[int, Checkpointed | None]]:
        """Every checkpoint and every size that an anchor names, in order."""
        anchored = ((size, None) for size in sorted(wanted))
        return heapq.merge(((c.size, c) for c in self._checkpoints()), anchored, key=lambda stop: stop[0])

    def _stop(self, frontier: Frontier, size: int, checkpoint: Checkpointed | None) -> Frontier:
        """Remember the root that an anchor asks for; or compare a checkpoint, and go on from it when it differs."""
        if checkpoint is None:
            if frontier.size == size:
                self.roots[size] = frontier.root()
            return frontier
        self._signature(checkpoint)
        try:
            stored = Frontier.from_bytes(checkpoint.size, checkpoint.frontier)
        except ValueError:
            stored = None
        if checkpoint.root != frontier.root() or checkpoint.size != frontier.size:
            self.report.tampered("root", f"the events up to {size} are not those of their checkpoint", size)
            return stored if stored is not None and stored.root() == checkpoint.root else frontier
        if stored != frontier:
            self.report.tampered("frontier", "the stored frontier is not the tree's", size)
        return frontier

    def _signature(self, checkpoint: Checkpointed) -> None:
        note = Checkpoint(self.origin, checkpoint.size, checkpoint.root, (Signature(self.origin, checkpoint.key_id, checkpoint.sig),))
        valid = [row for row in self.keys if row.from_size < checkpoint.size and (row.to_size is None or checkpoint.size <= row.to_size)]
        if not any(note.signed_by(LogKey(self.origin, row.pub)) for row in valid):
            self.report.tampered(
                "signature", f"the checkpoint of size {checkpoint.size} is not signed by the key of its time", checkpoint.size
            )

    def _ends(self, last: int) -> None:
        self.report.events = self.rows.count
        if not self.report.checkpoints:
            if last:
                self.report.tampered("no-checkpoints", "there are events and not one checkpoint")
            else:
                self.report.incomplete("empty", "the log is empty")
        elif self.size < last:
            self.report.tampered("unsigned", f"the events {self.size + 1} to {last} stand behind the last checkpoint", self.size + 1)

    def _compare(self, found: Sequence[Checkpoint]) -> None:
        """Each anchor must be ours, signed, and a size and root that this log had."""
        keys = [LogKey(self.origin, row.pub) for row in self.keys]
        for one in found:
            if one.origin != self.origin:
                self.report.tampered("anchor", f"an anchor is of another log ({one.origin})", one.size)
            elif not any(one.signed_by(key) for key in keys):
                self.report.tampered("anchor", f"the anchor of size {one.size} is not signed by a key of this log", one.size)
            elif one.size > self.size and one.size not in self.roots:
                self.report.tampered(
                    "cut-back", f"an anchor saw {one.size} events, the log has {self.rows.last}: it was cut back", self.rows.last + 1
                )
            elif one.size and self.roots.get(one.size) != one.root:
                self.report.tampered("anchor", f"the log is not the one that the anchor saw at size {one.size}", one.size)
        newest = max((one.size for one in found), default=None)
        if newest is not None and newest < self.size:
            self._lag(newest)

    def _lag(self, newest: int) -> None:
        """How long the log has gone on since its newest anchor."""
        sql = "SELECT max(ts_us) - min(ts_us) FROM checkpoint WHERE size > ? AND size <= ?"
        if (self._query(sql, newest, self.size)[0][0] or 0) > self.max_lag * 1_000_000:
            self.report.incomplete(
                "anchor-old", f"the newest anchor is of size {newest}; what came later could have been cut or rewritten", newest
            )

    def _semantics(self) -> None:
        twice = self._query(
            "SELECT max(seq), hex(flow) FROM event WHERE stage BETWEEN 3 AND 7 AND flow IS NOT NULL GROUP BY flow HAVING count(*) > 1"
        )
        for seq, flow in twice:
            self.report.tampered("two-terminals", f"the flow {flow.lower()} ends more than once", seq)
        unended = self._query(
            "SELECT seq, hex(flow) FROM event b WHERE stage = 1 AND NOT EXISTS (SELECT 1 FROM event t WHERE t.flow = b.flow AND t.stage BETWEEN 3 AND 7)"
        )
        for seq, flow in unended:
            if self.is_live and seq > self.rows.boot_seq:
                self.report.open_flows += 1
            else:
                self.report.incomplete("no-terminal", f"the flow {flow.lower()} begins and does not end", seq)

    def _leaves(self) -> Iterator[tuple[int, bytes]]:
        after, size = -(1 << 62), self.size if self.is_live else 1 << 62
        while True:
            with self.reader.reading() as db:
                page = self.rows.page(db, after, size, PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def _checkpoints(self) -> Iterator[Checkpointed]:
        """All checkpoints, page by page: a quiet log has as many of them as events."""
        after, sql = (
            -1,
            "SELECT size, ts_us, root, frontier, key_id, sig FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size LIMIT ?",
        )
        while True:
            page = [Checkpointed(*row) for row in self._query(sql, after, self.size, PAGE)]
            self.report.checkpoints += len(page)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].size

    def _meta(self, key: str) -> str:
        rows = self._query("SELECT v FROM meta WHERE k = ?", key)
        return bytes(rows[0][0]).decode("utf-8", "replace") if rows else ""

    def _query(self, sql: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        with self.reader.reading(LONG) as db:
            return db.execute(sql, values).fetchall()
