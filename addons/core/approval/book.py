"""The book of open approvals: the one place that moves a row, and that says whether a row may be believed.

Every move is one guarded update (id, state, version, deadline) in one transaction with its signed note. What is open is
also kept in memory as it was last committed; a row that says something else was written behind our back, and nothing
is done on its word. Times are our own: whichever of the wall clock and the monotonic clock has gone further.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from addons.core.approval import derive, states
from addons.core.approval.derive import Derived, Mismatch
from addons.core.approval.hold import Entry
from addons.core.approval.ledger import Ledger, Note
from addons.core.approval.rows import TABLE, USES, VOTES, Approval, approval_of, insert_of, use_of, vote_of
from addons.core.approval.states import FINAL, Move
from addons.core.approval.terms import MICRO, Terms, thaw
from addons.core.clock import Clock
from addons.core.errors import ApprovalError, AuditError, GuardhouseError
from addons.core.moves import Move as RowMove
from addons.core.moves import Update


def unavailable(detail: str) -> GuardhouseError:
    """The approval cannot be read for sure, so nothing is sent."""
    text = "The approval cannot be read for sure right now, so nothing was sent. Try again; the operators were told."
    return ApprovalError(text, code="approval-unavailable", detail=detail, headers={"Retry-After": "5"})


class Book:
    """Open approvals by id, and by digest and principal."""

    def __init__(self, ledger: Ledger, clock: Clock, mac: bytes) -> None:
        self.ledger = ledger
        self.clock = clock
        self.mac = mac  # of the seals of our notes, and of what stands beside them
        self.open: dict[str, Entry] = {}
        self.alerts = 0
        self._by_digest: dict[tuple[str, str], str] = {}
        self._wall_start = clock.now_us()
        self._mono_start = clock.monotonic()

    def now_us(self) -> int:
        """Microseconds of the clock that is further on: setting the wall clock back prolongs nothing."""
        return max(self.clock.now_us(), self._wall_start + round((self.clock.monotonic() - self._mono_start) * MICRO))

    def find(self, digest: str, principal_key: str) -> Entry | None:
        """The open approval of these exact bytes by this principal."""
        known = self._by_digest.get((digest, principal_key))
        return None if known is None else self.open.get(known)

    async def add(self, row: Approval, terms: Terms, more: Mapping[str, Any], core: Mapping[str, Any]) -> Entry:
        """Open a new approval: the row and its `requested` note in one transaction."""
        opened = Note("requested", row.id, {**core, "digest": row.digest}, derive.opening_of(row, self.mac, more))
        note = derive.sealed(opened, "", self.mac)
        try:
            done = await self.ledger.commit(note, [insert_of(row)])
        except AuditError as error:
            raise unavailable(error.detail or "the opening could not be written") from error
        if not done:
            raise unavailable("the opening's guard failed")
        return self.enter(row, terms, str(more["owner"]), tuple(more["masks"]), note.data["seal"])

    def enter(self, row: Approval, terms: Terms, owner: str, masks: tuple[str, ...], seal: str) -> Entry:
        """Keep an open approval in memory."""
        left = ((row.deadline or 0) - self.now_us()) / MICRO
        entry = Entry(replace(row, view=""), terms, owner, masks, self.clock.monotonic() + left, seal)
        self.open[row.id] = entry
        self._by_digest[row.digest, row.principal_key] = row.id
        return entry

    async def move(
        self, entry: Entry, move: Move, note: Note, changes: Mapping[str, Any], more: Sequence[RowMove] = (), cause: str | None = None
    ) -> bool:
        """Make one move of the table. False: a guard failed, nothing changed. The caller holds `entry.lock`."""
        row = entry.row
        after = states.apply(row.state, move, cause)
        now = self.now_us()
        update = Update(
            TABLE,
            {**changes, "state": str(after), "version": row.version + 1},
            {"id": row.id, "state": str(row.state), "version": row.version},
            after={} if row.deadline is None or move is Move.TICK else {row.deadline_column: now},
            not_after={row.deadline_column: now} if move is Move.TICK else {},
        )
        note = derive.sealed(replace(note, data={**note.data, "digest": row.digest}), entry.seal, self.mac)
        try:
            done = await self.ledger.commit(note, [update, *more])
        except AuditError as error:
            entry.doubtful = True
            raise unavailable(error.detail or f"the move {move} could not be written") from error
        if done:
            entry.seal = note.data["seal"]
            self._moved(entry, replace(row, state=after, version=row.version + 1, **changes))
        return done

    def _moved(self, entry: Entry, row: Approval) -> None:
        changed = row.state is not entry.row.state
        entry.row = row
        if row.state in FINAL:
            self.forget(entry)
            entry.wake()  # nobody looks after a forgotten entry, so nobody may wait on it
        elif changed and row.deadline is not None:
            entry.mono_deadline = self.clock.monotonic() + (row.deadline - self.now_us()) / MICRO

    def forget(self, entry: Entry) -> None:
        """Drop an approval that is over; its row and notes stay."""
        self.open.pop(entry.row.id, None)
        if self._by_digest.get((entry.row.digest, entry.row.principal_key)) == entry.row.id:
            del self._by_digest[entry.row.digest, entry.row.principal_key]

    async def row(self, approval_id: str) -> Approval | None:
        """The row as it stands in the store, None when there is none."""
        found = await self.rows({"id": approval_id}, limit=1)
        return found[0] if found else None

    async def rows(self, where: Mapping[str, Any], order: str = "", limit: int = 0) -> list[Approval]:
        """Rows of the store; one that holds something else than a row holds is an alert."""
        try:
            return [approval_of(row) for row in await self.ledger.rows(TABLE, where, order, limit)]
        except AuditError as error:
            raise unavailable(error.detail or "the rows could not be read") from error
        except (ValueError, TypeError, KeyError) as error:
            await self.alert(str(where.get("id", "")), "row-unreadable", "a row of the approvals cannot be read")
            raise unavailable("a row of the approvals cannot be read") from error

    async def derived(self, approval_id: str) -> Derived:
        """The approval as its signed notes have it. Raises Mismatch."""
        return derive.fold(await self.notes(approval_id), self.mac)

    async def notes(self, approval_id: str) -> list[Note]:
        """The notes of an approval, as the log has them."""
        try:
            return await self.ledger.notes(approval_id)
        except AuditError as error:
            raise unavailable(error.detail or "the log could not be read") from error

    async def prove(self, approval_id: str) -> tuple[Approval, Derived]:
        """Row and story, which agree in everything; an alert and 503 otherwise."""
        row = await self.row(approval_id)
        try:
            told = await self.derived(approval_id)
            if row is None:
                raise Mismatch("the row is missing")
            wrong = derive.disagreements(row, await self._votes(row.id), await self._uses(row.id), told, self.mac)
            if wrong:
                raise Mismatch("the row disagrees with the log: " + " ".join(wrong))
        except (Mismatch, ValueError, TypeError, KeyError) as error:
            await self.alert(approval_id, "row-disagrees", str(error) if isinstance(error, Mismatch) else "unreadable")
            raise unavailable(f"{approval_id}: {error}") from error
        return row, told

    async def certain(self, entry: Entry) -> tuple[Approval, Derived]:
        """`prove`, and that memory has the same row. After a failed commit memory follows the proven row."""
        row, told = await self.prove(entry.row.id)
        bare = replace(row, view="")
        if entry.doubtful:
            entry.doubtful, entry.seal = False, told.seal
            self._moved(entry, bare)
        if bare != entry.row:
            await self.alert(row.id, "row-disagrees", "the row is not the one that was committed last")
            raise unavailable(f"{row.id}: the row is not the one that was committed last")
        return row, told

    async def alert(self, approval_id: str, code: str, detail: str) -> None:
        """Put something that should not be into the log. It moves nothing."""
        self.alerts += 1
        try:
            await self.ledger.append(Note("alert", approval_id, {"code": code}, {"code": code, "detail": detail}))
        except AuditError as error:
            raise unavailable("an alert could not be recorded") from error

    async def _votes(self, approval_id: str) -> list[Any]:
        return [vote_of(row) for row in await self.ledger.rows(VOTES, {"approval": approval_id})]

    async def _uses(self, approval_id: str) -> list[Any]:
        return [use_of(row) for row in await self.ledger.rows(USES, {"approval": approval_id})]

    async def votes_and_uses(self, approval_id: str) -> tuple[list[Any], list[Any]]:
        """The rows beside an approval, for the card."""
        try:
            return await self._votes(approval_id), await self._uses(approval_id)
        except AuditError as error:
            raise unavailable(error.detail or "the rows could not be read") from error


def terms_of(row: Approval) -> Terms:
    """The frozen terms of a row. Raises Mismatch."""
    try:
        return thaw(row.requirements)
    except (ValueError, TypeError, KeyError) as error:
        raise Mismatch("the terms of the row cannot be read") from error


def view_of(row: Approval) -> dict[str, Any]:
    """The masked view that was stored with the row."""
    found: dict[str, Any] = json.loads(row.view)
    return found
