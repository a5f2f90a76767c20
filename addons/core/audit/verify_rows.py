"""Verify single rows: the leaf is that of the content, values are the committed ones, columns are true copies.

Part of `verify`. Yields the *stored* leaves, so that the tree says whether the stored leaves are those that were signed, and
a row whose content differs from its leaf is named by its own number.
"""

import json
import sqlite3
from typing import Any

from addons.core.audit import canonical
from addons.core.audit.canonical import Field, Kept
from addons.core.audit.columns import columns_of
from addons.core.audit.reader import fetch, parse_core
from addons.core.audit.report import Level, Report

BACK_US = 1_000_000  # a clock may be nudged by this much without a word
SILENCE_US = 60_000_000  # six heartbeats; on the monotonic clock, which stands still while a machine sleeps
PROOFS = ("request.sent", "response.received")
SELECT = """SELECT e.seq, e.core, e.leaf, e.fields, e.ts_us, e.stage, e.kind, e.flow, e.session, e.trace, e.span, e.parent,
p.issuer, p.subject, s.name, e.purpose, e.verb, e.path, e.status, e.effect, e.dur_us, e.client, e.upstream, e.approval
FROM event e LEFT JOIN principal p ON p.id = e.principal LEFT JOIN service s ON s.id = e.service
WHERE e.seq > ? AND e.seq <= ? ORDER BY e.seq LIMIT ?"""
NAMES = (
    "ts_us", "stage", "kind", "flow", "session", "trace", "span", "parent", "principal", "service", "purpose", "verb", "path", "status", "effect",
    "dur_us", "client", "upstream", "approval",
)  # fmt: skip


class Rows:
    """Checks rows in their order, and remembers what the order must show."""

    def __init__(self, report: Report, claimed: str | None, length: int) -> None:
        self.report = report
        self.claimed, self.length = claimed, length
        self.count = 0
        self.last = 0
        self.boot = ""
        self.boot_seq = 0  # where the newest start of the gateway begins
        self._ts_us = self._mono_us = 0
        if claimed is not None:
            report.proven = []

    def page(self, db: sqlite3.Connection, after: int, until: int, limit: int) -> list[tuple[int, bytes]]:
        """Check one page and return (seq, stored leaf) of each row; of a purged one the leaf that stayed."""
        rows = db.execute(SELECT, (after, until, limit)).fetchall()
        for row in rows:
            self._check(db, row)
        found = [(row[0], bytes(row[2])) for row in rows]
        highest = found[-1][0] if len(rows) == limit else until
        stones = db.execute("SELECT seq, leaf, purge_seq FROM tombstone WHERE seq > ? AND seq <= ?", (after, highest)).fetchall()
        for seq, _, purge_seq in stones:
            self.report.tampered("purge", f"the event was purged, and nothing in this log may purge yet (event {purge_seq})", seq)
        return sorted(found + [(seq, bytes(leaf)) for seq, leaf, _ in stones]) if stones else found

    def _check(self, db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
        seq, core, leaf, packed = row[:4]
        self.count += 1
        self.last = seq
        try:
            fields = canonical.unpack(packed)
            parsed = parse_core(core)
            computed = canonical.leaf(seq, core, fields)
        except (ValueError, TypeError) as error:
            self.report.tampered("unreadable", f"the event cannot be read: {error}", seq)
            return
        if computed != leaf:
            self.report.tampered("leaf", "the event is not what its leaf commits to", seq)
        values = self._values(db, seq, fields)
        self._columns(seq, row[4:], parsed, values)
        self._order(seq, parsed)
        if self.claimed is not None:
            self._claim(seq, values)

    def _values(self, db: sqlite3.Connection, seq: int, fields: tuple[Field, ...]) -> dict[str, bytes]:
        values: dict[str, bytes] = {}
        for one in fields:
            if one.kept is Kept.ERASED:
                self.report.tampered("erased", f"the field {one.name} was erased, and nothing in this log may erase yet", seq)
                continue
            try:
                fetched = fetch(db, seq, one)
            except (ValueError, TypeError) as error:
                self.report.tampered("blob", f"the field {one.name} cannot be read: {error}", seq)
                continue
            if not fetched.holds:
                self.report.tampered("field", f"the value of {one.name} is not the committed one", seq)
            values[one.name] = fetched.value or b""
        return values

    def _columns(self, seq: int, stored: tuple[Any, ...], core: dict[str, Any], values: dict[str, bytes]) -> None:
        told = columns_of(core, values)
        principal = None if stored[8] is None else (stored[8], stored[9])
        there = [*stored[:8], principal, *stored[10:]]
        expected = [getattr(told, name) for name in NAMES]
        expected[8] = told.principal[:2] if told.principal else None
        for name, got, wanted in zip(NAMES, there, expected, strict=True):
            if got != wanted:
                self.report.tampered("column", f"the column {name} is not a copy of the event", seq)

    def _order(self, seq: int, core: dict[str, Any]) -> None:
        boot, ts_us, mono_us = str(core.get("boot", "")), core.get("ts_us", 0), core.get("mono_us", 0)
        is_same = boot == self.boot
        if ts_us < self._ts_us - BACK_US:
            if is_same and not core.get("clock_back"):
                self.report.tampered("clock", "the clock went back without a word", seq)
            else:
                self.report.add(Level.NOTE, "clock", "the clock went back", seq)
        if is_same and mono_us - self._mono_us > SILENCE_US:
            self.report.incomplete(
                "silence", f"nothing was written for {(mono_us - self._mono_us) // 1_000_000} s, not even a heartbeat", seq
            )
        if not is_same:
            self.boot, self.boot_seq = boot, seq
        self._ts_us, self._mono_us = ts_us, mono_us

    def _claim(self, seq: int, values: dict[str, bytes]) -> None:
        for name in PROOFS:
            try:
                told = json.loads(values.get(name, b"null"))
            except ValueError:
                continue
            if isinstance(told, dict) and told.get("hmac") == self.claimed and told.get("bytes") == self.length:
                assert self.report.proven is not None
                self.report.proven.append(seq)
