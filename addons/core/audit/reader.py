"""Reading the store beside its writer: read-only connections, short transactions, and a clock on every query.

Works on the live file and on a bare copy. A reader never checkpoints and never holds a transaction longer than
`MAX_SECONDS`, because a long reader lets the WAL grow without end.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from addons.core.audit import blobs, canonical
from addons.core.audit.canonical import Field, Kept
from addons.core.audit.store import StoredEvent, StoreError

MAX_SECONDS = 30.0
STEPS = 10_000  # virtual machine steps between two looks at the clock
EVENT_COLUMNS = "seq, core, leaf, fields"


class TamperedError(StoreError):
    """A row is not what its leaf commits to."""


class Reader:
    """One read-only connection; safe to use from several threads, one query at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path, seconds: float = MAX_SECONDS) -> None:
        self.path = path
        self.seconds = seconds
        self._db = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, seconds: float = MAX_SECONDS) -> "Reader":
        """Open a store for reading only. Raises StoreError."""
        return cls(connect(path), path, seconds)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self, seconds: float | None = None) -> Iterator[sqlite3.Connection]:
        """One short read transaction that is interrupted after `seconds`. Raises StoreError."""
        until = time.monotonic() + (seconds or self.seconds)
        with self._lock:
            self._db.set_progress_handler(lambda: time.monotonic() > until, STEPS)
            try:
                self._db.execute("BEGIN")
                yield self._db
            except sqlite3.OperationalError as error:
                raise StoreError(
                    "the query took too long" if "interrupted" in str(error) else f"the store cannot be read: {error}"
                ) from error
            except sqlite3.Error as error:
                raise StoreError(f"the store cannot be read: {error}") from error
            finally:
                self._db.set_progress_handler(None, 0)
                if self._db.in_transaction:
                    self._db.rollback()

    def events(self, where: str, values: Sequence[Any], order: str = "seq", limit: int = -1) -> list[StoredEvent]:
        """Events that a condition of ours selects, each checked against its leaf. Raises TamperedError for one that differs."""
        with self.reading() as db:
            return [checked(event) for event in read_events(db, where, values, order, limit)]

    def rows(self, table: str, where: Mapping[str, Any], order: str = "", limit: int = 0) -> list[dict[str, Any]]:
        """Rows of a table by equality (None is NULL, a list or tuple is any of). Names come from code, never from a person."""
        conditions, values = _conditions(where)
        sql = f"SELECT * FROM {_name(table)}" + (f" WHERE {conditions}" if conditions else "")
        sql += f" ORDER BY {_order(order)}" if order else ""
        sql += f" LIMIT {int(limit)}" if limit else ""
        with self.reading() as db:
            cursor = db.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def size(self) -> int:
        """How many events the newest checkpoint covers."""
        with self.reading() as db:
            return int(db.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()


def connect(path: Path) -> sqlite3.Connection:
    """A read-only connection to a live store or a bare file. Raises StoreError."""
    if not path.is_file():
        raise StoreError(f"there is no audit store at {path.name}")
    name = "file:" + quote(str(path.resolve()))
    wal = path.with_name(path.name + "-wal")
    attempts = [name + "?mode=ro"]
    if not wal.exists() or not wal.stat().st_size:
        attempts.append(name + "?mode=ro&immutable=1")  # a bare file in a folder where no -shm can be made
    failure: sqlite3.Error | None = None
    for uri in attempts:
        try:
            db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        except sqlite3.Error as error:
            failure = error
            continue
        try:
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA query_only = ON")
            db.execute("SELECT k FROM meta LIMIT 1").fetchone()
        except sqlite3.Error as error:
            failure = error
            db.close()
            continue
        return db
    raise StoreError(f"this is not a readable audit store: {failure}") from failure


def read_events(db: sqlite3.Connection, where: str, values: Sequence[Any], order: str, limit: int = -1) -> Iterator[StoredEvent]:
    """Read events with their values. A row that cannot be decoded raises TamperedError."""
    for seq, core, leaf, packed in db.execute(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE {where} ORDER BY {order} LIMIT ?", [*values, limit]
    ).fetchall():
        yield decode(db, seq, core, leaf, packed)


def decode(db: sqlite3.Connection, seq: int, core: bytes, leaf: bytes, packed: bytes) -> StoredEvent:
    """Return one event of its row, blobs fetched. Raises TamperedError when it cannot be read at all."""
    try:
        fields = tuple(fetch(db, seq, one) for one in canonical.unpack(packed))
        return StoredEvent(seq, parse_core(core), {f.name: f.value for f in fields if f.value is not None}, leaf, fields)
    except ValueError as error:
        raise TamperedError(f"event {seq} cannot be read: {error}") from error


def parse_core(core: bytes) -> dict[str, Any]:
    """Read a core back. Raises ValueError unless it is the canonical form of itself."""
    value = json.loads(core)
    if not isinstance(value, dict) or canonical.core_bytes(value) != core:
        raise ValueError("the core is not canonical")
    return value


def fetch(db: sqlite3.Connection, seq: int, field: Field) -> Field:
    """Return the field with the value of its blob, if that is where it is kept."""
    if field.kept is not Kept.BLOB:
        return field
    row = db.execute(
        "SELECT b.size, b.encoding, b.body FROM event_blob e JOIN blob b ON b.id = e.blob WHERE e.seq = ? AND e.name = ?", (seq, field.name)
    ).fetchone()
    if row is None:
        raise ValueError(f"the blob of {field.name} is missing")
    return field.with_value(blobs.get(*row))


def checked(event: StoredEvent) -> StoredEvent:
    """Return the event when its leaf and every value fit. Raises TamperedError."""
    if any(f.kept is not Kept.ERASED and not f.holds for f in event.committed):
        raise TamperedError(f"event {event.seq}: a value is not the committed one")
    if canonical.leaf(event.seq, canonical.core_bytes(event.core), event.committed) != event.leaf:
        raise TamperedError(f"event {event.seq}: the leaf differs")
    return event


def _conditions(where: Mapping[str, Any]) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for name, value in where.items():
        if isinstance(value, list | tuple | set | frozenset):
            parts.append(f"{_name(name)} IN ({', '.join('?' * len(value))})")
            values += list(value)
        else:
            parts.append(f"{_name(name)} IS ?")
            values.append(value)
    return " AND ".join(parts), values


def _order(order: str) -> str:
    """`created_at`, `created_at DESC`, or several with commas."""
    made = []
    for part in order.split(","):
        name, _, way = part.strip().partition(" ")
        if way.strip().upper() not in ("", "ASC", "DESC"):
            raise ValueError("an order is a column, then ASC or DESC")
        made.append(f"{_name(name)} {way.strip()}".strip())
    return ", ".join(made)


def _name(name: str) -> str:
    if not name.isidentifier() or not name.isascii():
        raise ValueError("not a name")
    return f'"{name}"'
