"""Make a vote count: every check of a decision, in order, and the one durable move that follows from it.

All channels end here. The checks that concern the speaker come first, so that somebody who may not decide learns
nothing about the approval; the digest next, so that nobody decides about something they did not look at.
"""

from collections.abc import Awaitable, Callable

from addons.core.approval import digest as digests
from addons.core.approval import policy
from addons.core.approval.book import Book, view_of
from addons.core.approval.decide import APPROVE, DENY, Vote, Voter, check_effect, check_reason
from addons.core.approval.derive import Derived
from addons.core.approval.hold import Entry
from addons.core.approval.ledger import Note
from addons.core.approval.policy import Counted, People, Tally
from addons.core.approval.rows import Approval, VoteRow, insert_vote
from addons.core.approval.states import Move, State
from addons.core.approval.terms import MICRO
from addons.core.errors import DecisionError, GuardhouseError

MaskText = Callable[[str, str], Awaitable[str]]
"""Masks a person's sentence about a service before it is stored."""


class Ballot:
    """Votes and withdrawals."""

    def __init__(self, book: Book, mask_text: MaskText) -> None:
        self.book = book
        self.mask_text = mask_text

    async def cast(self, entry: Entry, vote: Vote, people: People) -> None:
        """Count a vote. Raises DecisionError when it does not count. The caller holds `entry.lock`."""
        check_effect(vote.effect)
        self._check_speaker(entry, vote, people)
        await self._check_digest(entry.row, vote)
        self._check_state(entry.row)
        reason = check_reason(vote.reason, entry.terms.reason_required)
        row, told = await self.book.certain(entry)
        if row.state is not State.PENDING:
            raise state_error(row)
        self._check_first(told, vote, people)
        if vote.effect == APPROVE:
            check_shown(entry, row)
        cast = self._row(vote, await self.mask_text(reason, row.service) if reason else "")
        await self._write(entry, cast, policy.tally(entry.terms, [*told.approving, *counted(cast)], people))

    def _check_speaker(self, entry: Entry, vote: Vote, people: People) -> None:
        voter = vote.voter
        policy.check_person(voter)
        if policy.is_excluded(voter.person, entry.row.excluded, people):
            raise DecisionError("You have a hand in this request, so you do not decide it.", code="self-approval")
        policy.check_reviewer(voter, entry.terms)
        policy.check_assurance(voter, vote.assurance, entry.terms, self.book.now_us() / MICRO)

    async def _check_digest(self, row: Approval, vote: Vote) -> None:
        if digests.same(vote.digest, row.digest):
            return
        await self.book.alert(row.id, "digest-mismatch", f"a vote by {vote.channel} named another digest")
        raise DecisionError("The digest is not the one of this approval. Look at the request again.", code="digest-mismatch")

    def _check_state(self, row: Approval) -> None:
        if row.state is not State.PENDING or (row.deadline or 0) <= self.book.now_us():
            raise state_error(row)

    def _check_first(self, told: Derived, vote: Vote, people: People) -> None:
        names = people.all_names(vote.voter.person)
        if any(earlier.person in names for earlier in told.votes):
            raise DecisionError("You have voted on this already.", code="approval-state", extra={"state": str(told.state)})

    def _row(self, vote: Vote, reason: str) -> VoteRow:
        groups = tuple(sorted(set(vote.voter.groups)))
        return VoteRow(vote.voter.person, vote.effect, reason, vote.channel, vote.via, vote.assurance, groups, self.book.now_us())

    async def _write(self, entry: Entry, cast: VoteRow, tally: Tally) -> None:
        move, event = Move.VOTE, "voted"
        changes: dict[str, int] = {}
        if cast.effect == DENY:
            move, event, changes = Move.DENY, "denied", {"decided_at": cast.at}
        elif tally.is_enough:
            move, event = Move.VOTE_FULL, "approved"
            changes = {"decided_at": cast.at, "execution_expires_at": cast.at + entry.terms.execution_expiry}
        data = {"vote": plain(cast), **{name: value for name, value in changes.items() if name == "execution_expires_at"}}
        note = Note(event, entry.row.id, core_of(entry.row), data, cast.reason)
        if not await self.book.move(entry, move, note, changes, [insert_vote(entry.row.id, cast)]):
            raise state_error(await self.book.row(entry.row.id) or entry.row)
        entry.voters = (*entry.voters, cast.person) if cast.effect == APPROVE else entry.voters
        entry.have = max(entry.have, tally.have) if cast.effect == APPROVE else entry.have

    async def withdraw(self, entry: Entry, cause: str) -> None:
        """Cancel an open approval. The caller holds `entry.lock`."""
        note = Note("cancelled", entry.row.id, core_of(entry.row), {"cause": cause})
        if not await self.book.move(entry, Move.CANCEL, note, {}, cause=cause):
            raise state_error(await self.book.row(entry.row.id) or entry.row)


def is_requester(voter: Voter, row: Approval) -> bool:
    """Who asked, or the person on whose behalf they did: their denial is a withdrawal."""
    return asks_for(voter.key, row.principal_key)


def asks_for(key: str, asker_key: str) -> bool:
    """True when `key` is the asker's own, or that of the person they acted for (Principal.asker_key).

    An agent is the requester of what it asked itself, never of what the person it acts for asked.
    """
    if not key:
        return False
    is_nobodys_agent = key.count("\n") == 1  # issuer and subject, no actor
    return key == asker_key or (is_nobodys_agent and asker_key.startswith(key + "\n"))


def check_shown(entry: Entry, row: Approval) -> None:
    """Nobody approves what could not be shown to them."""
    if entry.terms.body_must_be_visible and not view_of(row)["body"].get("complete", False):
        text = "The body of this request could not be masked and shown in full, so it cannot be approved. Deny it, or ask the operators."
        raise DecisionError(text, code="invalid")


def counted(cast: VoteRow) -> list[Counted]:
    """The vote as the tally sees it; a denial fills no slot."""
    return [Counted(cast.person, cast.via, cast.assurance, cast.groups)] if cast.effect == APPROVE else []


def state_error(row: Approval) -> DecisionError:
    """It is too late, or too early: says what holds now."""
    return DecisionError(f"This approval is {row.state} now.", code="approval-state", extra={"state": str(row.state)})


def unknown() -> GuardhouseError:
    """No such approval, or not this one's to see: one answer for both."""
    return DecisionError("There is no such approval, or it is not yours to see.", code="not-found")


def plain(cast: VoteRow) -> dict[str, object]:
    """The vote as the signed note keeps it; the reason is a field of its own, so that it can be erased."""
    return {
        "person": cast.person,
        "effect": cast.effect,
        "channel": cast.channel,
        "via": cast.via,
        "assurance": cast.assurance,
        "groups": list(cast.groups),
        "at": cast.at,
    }


def core_of(row: Approval) -> dict[str, object]:
    """What every later note says beside its data."""
    core: dict[str, object] = {"service": row.service, "digest": row.digest}
    if row.session_id:
        core["session"] = row.session_id
    if row.trace_id:
        core["trace"] = row.trace_id
    return core
