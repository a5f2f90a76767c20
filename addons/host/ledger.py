"""Between approvals and the audit log: an approval's notes are audit events, and its rows are the log's tables.

The two areas do not import each other. A note becomes one event of kind `approval`; reading it back goes through the
log's own check of each event against its leaf.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from addons.core.approval.ledger import Note
from addons.core.audit.events import Event, json_field, make
from addons.core.audit.log import AuditLog
from addons.core.audit.merkle import Frontier
from addons.core.audit.reader import Reader
from addons.core.audit.store import StoredEvent, StoreError
from addons.core.errors import AuditError
from addons.core.moves import Move
from addons.core.wire import jcs

STAGE, KIND = "Mark", "approval"
LEAVES = 10_000  # hashed at a time


class LogLedger:
    """The audit log as `addons.core.approval` sees it."""

    def __init__(self, log: AuditLog, database: Path) -> None:
        self.log = log
        self.database = database

    async def commit(self, note: Note, moves: Sequence[Move]) -> bool:
        """Write the note and make all moves in one transaction."""
        return await self.log.commit(event_of(note), moves) is not None

    async def append(self, note: Note) -> None:
        """Write a note that moves nothing."""
        await self.log.append(event_of(note))

    async def rows(self, table: str, where: Mapping[str, Any], order: str = "", limit: int = 0) -> list[dict[str, Any]]:
        """Rows by equality."""
        return await self.log.rows(table, where, order, limit)

    async def notes(self, approval: str) -> list[Note]:
        """The notes of one approval, oldest first, each checked."""
        events = await self.log.events(approval=approval)
        return [note_of(event) for event in events if event.kind == KIND]

    async def whole(self) -> bool:
        """Hash every leaf up to the root that the newest checkpoint signs (about 1.5 s for a million events)."""
        try:
            return await asyncio.to_thread(is_whole, self.database)
        except StoreError as error:
            raise AuditError(detail=str(error)) from error

    async def claim_once(self, kind: str, ident: str, until_us: int) -> bool:
        """True for the first claimant of this id."""
        return await self.log.claim_once(kind, ident, until_us)


def is_whole(database: Path) -> bool:
    """True when the leaves of all events give the root of the newest checkpoint (whose signature the start has checked)."""
    with Reader.open(database) as reader, reader.reading() as db:
        newest = db.execute("SELECT size, root FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
        if newest is None:
            return True
        frontier, leaves = Frontier(), db.execute("SELECT leaf FROM event WHERE seq <= ? ORDER BY seq", (newest[0],))
        while batch := leaves.fetchmany(LEAVES):
            frontier = frontier.extend([leaf for (leaf,) in batch])
        return (frontier.size, frontier.root()) == tuple(newest)


def event_of(note: Note) -> Event:
    """The note as an event: what is never personal in the core, the rest in fields that can be erased."""
    core = {**note.core, "approval": note.approval or None, "verb": note.event}
    fields = {
        "note": jcs.canonical(dict(note.data)),
        "reason": note.reason.encode() if note.reason else None,
        "principal": _principal(note.data.get("principal")),
        "reviewers": _reviewer(note.data.get("vote")),
    }
    return make(STAGE, KIND, core, fields)


def note_of(event: StoredEvent) -> Note:
    """The event as the note it was. Raises AuditError for one that cannot be read (an erased note proves nothing)."""
    core = dict(event.core)
    try:
        data = json.loads(event.fields["note"])
        return Note(str(core["verb"]), str(core["approval"]), core, data, event.fields.get("reason", b"").decode() or None)
    except (KeyError, ValueError) as error:
        raise AuditError(detail=f"event {event.seq} is not a readable note of an approval") from error


def _principal(told: Any) -> bytes | None:
    """For the log's index of principals."""
    if not isinstance(told, Mapping):
        return None
    return json_field({name: told[name] for name in ("issuer", "subject", "kind")})


def _reviewer(vote: Any) -> bytes | None:
    """Who voted, for search."""
    return None if not isinstance(vote, Mapping) else json_field([vote["person"]])
