"""The SQLite store: one write connection, one thread, WAL, every commit durable before it returns.

The traps that shaped it (design/audit.md 2): SQLITE_FULL rolls back by itself, so a rollback of ours is guarded;
SQLite before 3.51.3 can corrupt a WAL that two connections checkpoint, so this connection is the only one that writes
or checkpoints, behind a lock file; `synchronous=NORMAL` would lose acknowledged rows on power loss, so it is FULL; a long
reader lets the WAL grow without end, so readers are short (`reader`).
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from addons.core.audit import migrations
from addons.core.audit.blobs import Blob
from addons.core.audit.reader import read_events
from addons.core.audit.store import MOVABLE, Batch, Checkpointed, Columns, Entry, Insert, KeyRow, Move, Row, StoredEvent, StoreError

BUSY_MS = 5000
WAL_LIMIT = 64 << 20
KNOWN_BLOBS = 10_000
PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA busy_timeout = {BUSY_MS}",
    "PRAGMA secure_delete = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA mmap_size = 0",
    "PRAGMA wal_autocheckpoint = 0",  # `idle` does it, when nobody waits
)
EVENT = """INSERT INTO event(seq, ts_us, stage, kind, flow, session, trace, span, parent, principal, service, purpose, verb, path, status, effect,
dur_us, client, upstream, approval, core, leaf, fields, subject) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,NULL)"""


class GuardFailed(Exception):
    """A move found the row in another state than its guard says."""


class SqliteStore:
    """The one writer of `audit.db`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_file: int | None = None
        self._db: sqlite3.Connection | None = None
        self._principals: dict[tuple[str, str], int] = {}
        self._services: dict[str, int] = {}
        self._blobs: dict[bytes, int] = {}  # rows of bodies that came lately; valid while the connection is
        self._dirty = False

    def open(self) -> None:
        """Lock, open, migrate. Raises StoreError: another writer, a newer file, or a file that is no database."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock()
            self.reopen()
            migrations.migrate(self._open_db())
        except (sqlite3.Error, OSError, migrations.NewerSchemaError) as error:
            self.close()
            raise StoreError(f"the audit store cannot be opened: {error}") from error
        except StoreError:
            self.close()
            raise

    def reopen(self) -> None:
        """Close the connection, whatever state it is in, and open anew."""
        self._drop_connection()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.close(descriptor)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
            for pragma in PRAGMAS:
                self._db.execute(pragma)
            self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except (sqlite3.Error, OSError) as error:
            self._drop_connection()
            raise StoreError(f"the audit store cannot be opened: {error}") from error

    def commit[E: Entry](self, entries: Sequence[E], seal: Callable[[Sequence[E]], Batch | None]) -> Sequence[E]:
        """See `Store.commit`."""
        with self._transaction() as db:
            kept = [entry for entry in entries if self._moved(db, entry.moves)]
            batch = seal(kept)
            if batch is not None:
                self._write(db, batch)
        self._dirty = True
        return kept

    def tip(self) -> Checkpointed | None:
        """See `Store.tip`."""
        with self._reading() as db:
            row = db.execute("SELECT size, ts_us, root, frontier, key_id, sig FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
        return Checkpointed(*row) if row else None

    def before_tip(self) -> Checkpointed | None:
        """The checkpoint before the newest."""
        with self._reading() as db:
            row = db.execute(
                "SELECT size, ts_us, root, frontier, key_id, sig FROM checkpoint ORDER BY size DESC LIMIT 1 OFFSET 1"
            ).fetchone()
        return Checkpointed(*row) if row else None

    def checkpoint_at(self, size: int) -> Checkpointed | None:
        """The checkpoint of this size, if one was committed there."""
        with self._reading() as db:
            row = db.execute("SELECT size, ts_us, root, frontier, key_id, sig FROM checkpoint WHERE size = ?", (size,)).fetchone()
        return Checkpointed(*row) if row else None

    def idle(self) -> None:
        """Move the WAL into the database while nobody waits; cut it when it grew large. Never raises."""
        if self._db is None or not self._dirty:
            return
        try:
            self._db.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if self._wal_size() > WAL_LIMIT else 'PASSIVE'})").fetchall()
        except sqlite3.Error:
            return
        self._dirty = False

    def quick_check(self) -> str | None:
        """Return what SQLite itself finds wrong, None when nothing."""
        with self._reading() as db:
            found = db.execute("PRAGMA quick_check(5)").fetchall()
        return None if found == [("ok",)] else "; ".join(str(row[0]) for row in found)

    def meta(self, key: str) -> bytes | None:
        """See `Store.meta`."""
        with self._reading() as db:
            row = db.execute("SELECT v FROM meta WHERE k = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def set_meta(self, values: Mapping[str, bytes]) -> None:
        """See `Store.set_meta`."""
        with self._transaction() as db:
            db.executemany("INSERT INTO meta(k, v) VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v", list(values.items()))

    def log_keys(self) -> Sequence[KeyRow]:
        """See `Store.log_keys`."""
        with self._reading() as db:
            rows = db.execute("SELECT key_id, pub, from_size, to_size FROM log_key ORDER BY from_size, rowid").fetchall()
        return [KeyRow(*row) for row in rows]

    def add_key(self, key: KeyRow) -> None:
        """See `Store.add_key`."""
        with self._transaction() as db:
            db.execute("UPDATE log_key SET to_size = ? WHERE to_size IS NULL", (key.from_size,))
            db.execute(
                "INSERT INTO log_key(key_id, pub, from_size, to_size) VALUES (?, ?, ?, ?)",
                (key.key_id, key.pub, key.from_size, key.to_size),
            )

    def read(self, after: int, limit: int) -> Iterator[StoredEvent]:
        """See `Store.read`."""
        with self._reading() as db:
            yield from read_events(db, "seq > ?", (after,), "seq", limit)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read with SQL of ours; for recovery, on the write connection before anybody else is there."""
        with self._reading() as db:
            return db.execute(sql, values).fetchall()

    def close(self) -> None:
        """Move the WAL into the file, close, unlock."""
        if self._db is not None:
            self._dirty = True
            self.idle()
        self._drop_connection()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _lock(self) -> None:
        name = self.path.with_name(self.path.name + ".lock")
        self._lock_file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError("another process writes this audit store (audit.db.lock is held)") from error

    def _drop_connection(self) -> None:
        self._forget()
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError("the audit store is closed")
        return self._db

    def _wal_size(self) -> int:
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return 0

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._open_db()
        except sqlite3.Error as error:
            raise StoreError(f"the audit store cannot be read: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._open_db()
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            self._roll_back(db)
            if isinstance(error, sqlite3.Error | OSError):
                raise StoreError(f"the audit store cannot be written: {error}") from error
            raise

    def _roll_back(self, db: sqlite3.Connection) -> None:
        self._forget()
        if db.in_transaction:  # SQLITE_FULL and some others have rolled back already
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")

    def _moved(self, db: sqlite3.Connection, moves: Sequence[Move]) -> bool:
        if not moves:
            return True
        db.execute("SAVEPOINT moves")
        try:
            for move in moves:
                run_move(db, move)
        except GuardFailed:
            db.execute("ROLLBACK TO moves")
            return False
        finally:
            if db.in_transaction:
                db.execute("RELEASE moves")
        return True

    def _write(self, db: sqlite3.Connection, batch: Batch) -> None:
        db.executemany(EVENT, [self._values(db, row) for row in batch.rows])
        for row in batch.rows:
            for name, blob in row.blobs:
                db.execute("INSERT INTO event_blob(seq, name, blob) VALUES (?, ?, ?)", (row.seq, name, self._blob(db, blob)))
        c = batch.checkpoint
        db.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)", (c.size, c.ts_us, c.root, c.frontier, c.key_id, c.sig))

    def _values(self, db: sqlite3.Connection, row: Row) -> tuple[Any, ...]:
        c = row.columns
        return (
            row.seq, c.ts_us, c.stage, c.kind, c.flow, c.session, c.trace, c.span, c.parent, self._principal(db, c), self._service(db, c.service),
            c.purpose, c.verb, c.path, c.status, c.effect, c.dur_us, c.client, c.upstream, c.approval, row.core, row.leaf, row.fields,
        )  # fmt: skip

    def _forget(self) -> None:
        """Row ids that were learnt inside a transaction that may not have happened."""
        self._principals.clear()
        self._services.clear()
        self._blobs.clear()

    def _blob(self, db: sqlite3.Connection, blob: Blob) -> int:
        found = self._blobs.get(blob.address)
        if found is None:
            if len(self._blobs) >= KNOWN_BLOBS:
                self._blobs.clear()
            found = self._blobs[blob.address] = put_blob(db, blob)
        return found

    def _principal(self, db: sqlite3.Connection, columns: Columns) -> int | None:
        if columns.principal is None:
            return None
        issuer, subject, kind = columns.principal
        found = self._principals.get((issuer, subject))
        if found is None:
            db.execute("INSERT INTO principal(issuer, subject, kind) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (issuer, subject, kind))
            found = int(db.execute("SELECT id FROM principal WHERE issuer = ? AND subject = ?", (issuer, subject)).fetchone()[0])
            self._principals[(issuer, subject)] = found
        return found

    def _service(self, db: sqlite3.Connection, name: str | None) -> int | None:
        if name is None:
            return None
        found = self._services.get(name)
        if found is None:
            db.execute("INSERT INTO service(name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            found = int(db.execute("SELECT id FROM service WHERE name = ?", (name,)).fetchone()[0])
            self._services[name] = found
        return found


def put_blob(db: sqlite3.Connection, blob: Blob) -> int:
    """Store a body once and return its row."""
    db.execute(
        "INSERT INTO blob(address, size, encoding, body) VALUES (?, ?, ?, ?) ON CONFLICT(address) DO NOTHING",
        (blob.address, blob.size, int(blob.encoding), blob.body),
    )
    return int(db.execute("SELECT id FROM blob WHERE address = ?", (blob.address,)).fetchone()[0])


def run_move(db: sqlite3.Connection, move: Move) -> None:
    """Run one guarded move. Raises GuardFailed, or ValueError for a table that no move may touch."""
    if move.table not in MOVABLE:
        raise ValueError(f"no move may touch the table {move.table}")
    if isinstance(move, Insert):
        names = list(move.row)
        sql = f"INSERT INTO {move.table}({', '.join(map(_name, names))}) VALUES ({', '.join('?' * len(names))})"
        try:
            db.execute(sql, [move.row[name] for name in names])
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE):
                raise GuardFailed from error
            raise
        return
    if not move.set or not move.where:
        raise ValueError("an update names what it sets and which row")
    guards = (
        [f"{_name(n)} IS ?" for n in move.where] + [f"{_name(n)} > ?" for n in move.after] + [f"{_name(n)} <= ?" for n in move.not_after]
    )
    sql = f"UPDATE {move.table} SET {', '.join(_name(n) + ' = ?' for n in move.set)} WHERE {' AND '.join(guards)}"
    values = [*move.set.values(), *move.where.values(), *move.after.values(), *move.not_after.values()]
    if db.execute(sql, values).rowcount != 1:
        raise GuardFailed


def _name(column: str) -> str:
    if not column.isidentifier() or not column.isascii():
        raise ValueError("not a column name")
    return f'"{column}"'
