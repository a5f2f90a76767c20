"""Derive an approval again from its signed notes, and say where its rows disagree.

Whoever has the database file can write `state = 'approved'` into a row; they cannot write a signed note. So nothing is
used because a row says so: the notes are folded through the table of states, the votes in them are counted again, and
the rows must agree with the result in every column. An old row put back is caught by the `used` notes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from addons.core.approval import digest as digests
from addons.core.approval import states
from addons.core.approval.ledger import Note
from addons.core.approval.policy import Counted
from addons.core.approval.rows import Approval, UseRow, VoteRow
from addons.core.approval.states import Move, State
from addons.core.wire import jcs


class Mismatch(Exception):
    """The notes do not tell a possible story, or the rows tell another one."""


@dataclass(frozen=True, slots=True)
class Derived:
    """An approval as its notes have it."""

    state: State
    version: int
    opening: Mapping[str, Any]  # the data of the `requested` note
    ticketed: bool = False
    decided_at: int | None = None
    execution_expires_at: int | None = None
    cause: str | None = None
    votes: tuple[VoteRow, ...] = ()
    uses: tuple[UseRow, ...] = field(default_factory=tuple)
    seal: str = ""  # of the newest note

    @property
    def approving(self) -> list[Counted]:
        """The votes that may fill a slot."""
        return [Counted(v.person, v.via, v.assurance, v.groups) for v in self.votes if v.effect == "approve"]


def sealed(note: Note, before: str, key: bytes) -> Note:
    """The note with its seal: a keyed digest over what it says and over the seal before it. The hash of an event is no
    secret, so whoever can write the database could forge a whole event; they have no key for the seal. The reason is
    left out: it may be erased."""
    data = {**note.data, "before": before}
    said = jcs.canonical({"event": note.event, "approval": note.approval, "data": data}).decode()
    return replace(note, data={**data, "seal": digests.seal(key, "note", said)})


def _check_seal(note: Note, before: str, key: bytes) -> str:
    data = {name: value for name, value in note.data.items() if name not in ("seal", "before")}
    expected: str = sealed(replace(note, data=data), before, key).data["seal"]
    if not digests.same(str(note.data.get("seal", "")), expected):
        raise Mismatch(f"the note {note.event!r} is not ours")
    return expected


def fold(notes: Sequence[Note], key: bytes) -> Derived:
    """Tell the story of the notes. Raises Mismatch for one that is not sealed, or that the table of states does not allow."""
    steps = [note for note in notes if note.event != "alert"]
    if not steps or steps[0].event != "requested":
        raise Mismatch("the opening is missing")
    told = Derived(State.NONE, 0, {})
    for note in steps:
        try:
            seal = _check_seal(note, told.seal, key)
            told = replace(_step(told, note), seal=seal)
        except (states.Refused, KeyError, TypeError, ValueError) as error:
            raise Mismatch(f"the note {note.event!r} cannot follow") from error
    return told


def _step(told: Derived, note: Note) -> Derived:
    data = note.data
    if note.event != "requested" and data["digest"] != told.opening["digest"]:
        raise Mismatch("a note has another digest")
    told = replace(told, version=told.version + 1)
    if note.event == "requested":
        return replace(told, state=states.apply(told.state, Move.OPEN), opening=data)
    if note.event in ("voted", "approved", "denied"):
        return _vote(told, note)
    if note.event == "ticketed":
        return replace(told, state=states.apply(told.state, Move.TICKET), ticketed=True)
    if note.event == "expired":
        return replace(told, state=states.apply(told.state, Move.TICK))
    if note.event == "cancelled":
        return replace(told, state=states.apply(told.state, Move.CANCEL, data["cause"]), cause=data["cause"])
    if note.event == "used":
        return _use(told, data)
    if note.event == "outcome":
        return _outcome(told, data)
    raise Mismatch("an unknown note")


def _vote(told: Derived, note: Note) -> Derived:
    move = {"voted": Move.VOTE, "approved": Move.VOTE_FULL, "denied": Move.DENY}[note.event]
    cast = note.data["vote"]
    vote = VoteRow(
        cast["person"],
        cast["effect"],
        note.reason or "",
        cast["channel"],
        cast["via"],
        cast["assurance"],
        tuple(cast["groups"]),
        cast["at"],
    )
    if (vote.effect == "deny") is not (move is Move.DENY) or vote.person in {earlier.person for earlier in told.votes}:
        raise Mismatch("a vote that cannot be")
    told = replace(told, state=states.apply(told.state, move), votes=(*told.votes, vote))
    if move is Move.VOTE:
        return told
    return replace(told, decided_at=vote.at, execution_expires_at=note.data.get("execution_expires_at"))


def _use(told: Derived, data: Mapping[str, Any]) -> Derived:
    n, most = data["n"], told.opening["max_uses"]
    if n != len(told.uses) + 1 or n > most:
        raise Mismatch("a use too many")
    state = states.apply(told.state, Move.USE_LAST if n == most else Move.USE)
    return replace(told, state=state, uses=(*told.uses, UseRow(n, data["flow"], data["at"], "pending", 0)))


def _outcome(told: Derived, data: Mapping[str, Any]) -> Derived:
    states.apply(told.state, Move.OUTCOME)
    uses = list(told.uses)
    at = data["n"] - 1
    if not 0 <= at < len(uses) or uses[at].outcome != "pending":
        raise Mismatch("an outcome of no use")
    uses[at] = replace(uses[at], outcome=data["outcome"], status=data["status"])
    return replace(told, uses=tuple(uses))


def disagreements(row: Approval, votes: Sequence[VoteRow], uses: Sequence[UseRow], told: Derived, key: bytes) -> list[str]:
    """Names of the columns and tables that do not say what the signed notes say."""
    opening = told.opening
    expected = {
        "state": told.state,
        "version": told.version,
        "ticketed": told.ticketed,
        "decided_at": told.decided_at,
        "execution_expires_at": told.execution_expires_at,
        "uses": len(told.uses),
        "rules": tuple(opening["rules"]),
        "excluded": tuple(opening["excluded"]),
        **{name: opening[name] for name in SAME},
    }
    wrong = [name for name, value in expected.items() if getattr(row, name) != value]
    for name in ("view", "members"):
        if not digests.same(opening[name], digests.seal(key, name, getattr(row, name))):
            wrong.append(name)
    if sorted(votes, key=_person) != sorted(told.votes, key=_person):
        wrong.append("votes")
    if sorted(uses, key=_number) != list(told.uses):
        wrong.append("use rows")
    return wrong


SAME = (
    "digest",
    "digest_key_id",
    "principal_key",
    "service",
    "policy_digest",
    "target",
    "requirements",
    "created_at",
    "expires_at",
    "max_uses",
)
"""Columns whose value stands in the opening note as it is."""


def opening_of(row: Approval, key: bytes, more: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the `requested` note that this row is opened with."""
    return {
        **{name: getattr(row, name) for name in SAME},
        "rules": list(row.rules),
        "excluded": list(row.excluded),
        "view": digests.seal(key, "view", row.view),
        "members": digests.seal(key, "members", row.members),
        **more,
    }


def members_of(row: Approval) -> dict[str, str]:
    """The member HMACs of a row."""
    found: dict[str, str] = json.loads(row.members)
    return found


def _person(vote: VoteRow) -> str:
    return vote.person


def _number(use: UseRow) -> int:
    return use.n
