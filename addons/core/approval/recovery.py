"""Before traffic is taken: compare every open row with the log, and end what cannot go on. Nothing here approves.

A pending approval whose caller has no ticket dies with the process that held the connection; one with a ticket stays.
What is overdue expires; what was asked under other rules, terms, targets or another digest key is cancelled. A use of
which nobody could say what came of it is answered `unknown`, and never sent again.
"""

from addons.core.approval import digest as digests
from addons.core.approval.book import unavailable
from addons.core.approval.derive import Derived
from addons.core.approval.desk import Desk
from addons.core.approval.hold import Entry
from addons.core.approval.ledger import Note
from addons.core.approval.rows import UNANSWERED, USES, Approval
from addons.core.approval.states import Move, State
from addons.core.approval.terms import thaw
from addons.core.approval.votes import core_of
from addons.core.config.model import Snapshot
from addons.core.errors import AuditError, GuardhouseError


async def recover(desk: Desk, snapshot: Snapshot) -> dict[str, int]:
    """Bring the book up to date; returns how many rows went which way. Raises when the store cannot be read."""
    counts: dict[str, int] = {}
    approved = await desk.book.rows({"state": str(State.APPROVED)}, "created_at")
    believed = not approved or await _is_whole(desk)
    for row in [*approved, *await desk.book.rows({"state": str(State.PENDING)}, "created_at")]:
        went = await _one(desk, row.id, snapshot) if believed or row.state is State.PENDING else "disagrees"
        counts[went] = counts.get(went, 0) + 1
    for use in await desk.book.ledger.rows(USES, {"outcome": UNANSWERED}):
        await desk.outcome(use["approval"], use["flow_id"], "unknown", 0)
        counts["unknown"] = counts.get("unknown", 0) + 1
    return counts


async def _is_whole(desk: Desk) -> bool:
    """A use that was taken out of the log would make its approval usable again: so approvals that stand open are believed
    only when the whole log is what was signed."""
    try:
        whole = await desk.book.ledger.whole()
    except AuditError as error:
        raise unavailable(error.detail) from error
    if not whole:
        await desk.book.alert("", "log-rewritten", "the log is not what was signed; no approval from before this start is used")
    return whole


async def _one(desk: Desk, approval_id: str, snapshot: Snapshot) -> str:
    if await _is_of_another_key(desk, approval_id):
        return await _end_unproven(desk, approval_id)
    try:
        row, told = await desk.book.prove(approval_id)
    except GuardhouseError:  # the alert is written; the row stays out of the book, so nothing can use it
        return "disagrees"
    entry = _enter(desk, row, told)
    async with entry.lock:
        return await _settle(desk, entry, snapshot)


async def _is_of_another_key(desk: Desk, approval_id: str) -> bool:
    """The row and its opening note both name another digest key: the root key was changed, so no seal can be checked."""
    row, notes = await desk.book.row(approval_id), await desk.book.notes(approval_id)
    mine = digests.key_id(desk.key)
    return row is not None and bool(notes) and mine not in (row.digest_key_id, notes[0].data.get("digest_key_id"))


async def _end_unproven(desk: Desk, approval_id: str) -> str:
    """Cancel what cannot be proven any more. Ending something needs no proof."""
    row = await desk.book.row(approval_id)
    if row is None:
        return "disagrees"
    try:
        entry = desk.book.enter(row, thaw(row.requirements), "", (), "")
        await desk.ballot.withdraw(entry, "key_changed")
    except (GuardhouseError, ValueError, TypeError, KeyError):
        return "disagrees"
    return "key_changed"


def _enter(desk: Desk, row: Approval, told: Derived) -> Entry:
    opening = told.opening
    entry = desk.book.enter(row, thaw(row.requirements), str(opening["owner"]), tuple(opening["masks"]), told.seal)
    entry.voters = tuple(vote.person for vote in told.approving)
    entry.have = len(entry.voters)
    return entry


async def _settle(desk: Desk, entry: Entry, snapshot: Snapshot) -> str:
    row = entry.row
    if (row.deadline or 0) <= desk.book.now_us():
        await desk.book.move(entry, Move.TICK, Note("expired", row.id, core_of(row)), {})
        return "expired"
    cause = _cause(desk, entry, snapshot)
    if cause is None:
        return "kept"
    await desk.ballot.withdraw(entry, cause)
    return cause


def _cause(desk: Desk, entry: Entry, snapshot: Snapshot) -> str | None:
    row = entry.row
    if row.digest_key_id != digests.key_id(desk.key):
        return "key_changed"
    if desk.is_stale(entry, snapshot):
        return "policy_changed"
    if row.state is State.PENDING and not row.ticketed:
        return "gateway_restart"
    return None
