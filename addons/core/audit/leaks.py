"""Every cell of a store, for a search of what should not be there. Reads only, in short pieces, live or on a bare file.

Blobs are unpacked and say which field of which event they are. The search index keeps no text in one piece, so it is asked
for words instead (`indexed`). A caller that planted fresh values names how far the log was before (`reached`): rows of the
append-only tables before that cannot hold them, and a store of years is not read whole for each check.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addons.core.audit import blobs
from addons.core.audit.reader import connect
from addons.core.audit.store import StoreError

PAGE = 200  # rows a query: a reader that stays long lets the WAL grow
APPEND_ONLY = ("event", "blob")
WORD = 8  # characters; shorter words of a value stand in many texts


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of the store."""

    where: str  # table.column
    row: str
    data: bytes


def reached(database: Path) -> dict[str, int]:
    """The last row of each append-only table now. Raises StoreError."""
    with _opened(database) as db:
        return {table: db.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0] for table in APPEND_ONLY}


def count(database: Path, after: Mapping[str, int]) -> int:
    """How many rows `cells` will read. Raises StoreError."""
    with _opened(database) as db:
        return sum(
            int(db.execute(f'SELECT count(*) FROM "{table}" WHERE {_newer(table, after)}').fetchone()[0]) for table, _ in _tables(db)
        )


def cells(database: Path, after: Mapping[str, int] | None = None) -> Iterator[Cell]:
    """Every text and blob of every table, bodies unpacked; of append-only tables the rows after these. Raises StoreError."""
    with _opened(database) as db:
        owners = _owners(db, after or {})
        for table, has_rowid in _tables(db):
            for row_id, row in _rows(db, table, has_rowid, after or {}):
                for column, value in row.items():
                    if table == "blob" and column == "body":
                        yield Cell(*owners.get(row_id, ("blob.body", f"blob {row_id}")), _unpacked(row))
                    elif isinstance(value, str | bytes):
                        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
                        yield Cell(f"{table}.{column}", f"seq {row_id}" if table == "event" else f"row {row_id}", data)


def indexed(database: Path, text: str) -> list[int]:
    """Events whose index holds the longest word of this text; none when every word is short. Raises StoreError."""
    word = max(re.findall(r"[A-Za-z0-9]+", text), key=len, default="")
    if len(word) < WORD:
        return []
    with _opened(database) as db:
        return [seq for (seq,) in db.execute("SELECT rowid FROM event_fts WHERE event_fts MATCH ? LIMIT 20", (f'"{word}"',))]


class _opened:
    """A read-only connection; what goes wrong within is a StoreError."""

    def __init__(self, database: Path) -> None:
        self.db = connect(database)

    def __enter__(self) -> sqlite3.Connection:
        self.db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        return self.db

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        self.db.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"the store cannot be read: {error}") from error


def _tables(db: sqlite3.Connection) -> list[tuple[str, bool]]:
    """Names, and whether rows have a number. Virtual tables are left out: their content stands in their shadows."""
    return [(row[1], not row[4]) for row in db.execute("PRAGMA table_list") if row[0] == "main" and row[2] in ("table", "shadow")]


def _newer(table: str, after: Mapping[str, int]) -> str:
    return f"rowid > {int(after[table])}" if table in after else "1"


def _rows(db: sqlite3.Connection, table: str, has_rowid: bool, after: Mapping[str, int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with a number each, a page at a time; a table without numbers in one piece (they are small)."""
    if not has_rowid:
        cursor = db.execute(f'SELECT * FROM "{table}"')
        names = [one[0] for one in cursor.description]
        yield from ((at, dict(zip(names, row, strict=True))) for at, row in enumerate(cursor.fetchall(), 1))
        return
    last = after.get(table, -1)
    while True:
        cursor = db.execute(f'SELECT rowid, * FROM "{table}" WHERE rowid > ? ORDER BY rowid LIMIT {PAGE}', (last,))
        names = [one[0] for one in cursor.description][1:]
        rows = cursor.fetchall()
        yield from ((row[0], dict(zip(names, row[1:], strict=True))) for row in rows)
        if len(rows) < PAGE:
            return
        last = rows[-1][0]


def _owners(db: sqlite3.Connection, after: Mapping[str, int]) -> dict[int, tuple[str, str]]:
    """For each blob, the first event that has it, and as which field."""
    found = db.execute("SELECT blob, name, min(seq) FROM event_blob WHERE blob > ? GROUP BY blob", (after.get("blob", 0),))
    return {blob: (f"blob.body ({name})", f"seq {seq}") for blob, name, seq in found}


def _unpacked(row: Mapping[str, Any]) -> bytes:
    """The body; a damaged one as it lies there."""
    try:
        return blobs.get(row["size"], row["encoding"], row["body"])
    except blobs.BlobError:
        return bytes(row["body"])
