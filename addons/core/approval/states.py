"""The life of an approval, as a table. Nothing else changes a state.

A hold is opened **pending**. Votes leave it pending until every requirement is met: then it is **approved**, and stays
so until its uses are made (**consumed**) or its time is over. One eligible denial ends it (**denied**). Time ends it
(**expired**), and so does a withdrawal or something we saw change under it (**cancelled**, with a cause). Silence never
approves: no event of time, restart or error leads to *approved*.

denied, expired, cancelled and consumed are final. Every pair that is not in the table is refused and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where an approval stands. NONE is before it was opened."""

    NONE = "none"
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    CONSUMED = "consumed"


class Move(StrEnum):
    """What can happen to an approval. A move is chosen by its guard, so `VOTE` and `VOTE_FULL` are two."""

    OPEN = "open"
    VOTE = "vote"  # an approving vote; something is still missing
    VOTE_FULL = "vote_full"  # an approving vote that meets the last requirement
    DENY = "deny"
    TICKET = "ticket"  # the caller got a ticket, or left: the row survives a restart
    TICK = "tick"  # its deadline has passed
    CANCEL = "cancel"
    USE = "use"  # one of several uses
    USE_LAST = "use_last"
    OUTCOME = "outcome"  # what came of a use; changes no state


FINAL = frozenset({State.DENIED, State.EXPIRED, State.CANCELLED, State.CONSUMED})
OPEN_STATES = frozenset({State.PENDING, State.APPROVED})

TABLE: Mapping[tuple[State, Move], State] = {
    (State.NONE, Move.OPEN): State.PENDING,
    (State.PENDING, Move.VOTE): State.PENDING,
    (State.PENDING, Move.VOTE_FULL): State.APPROVED,
    (State.PENDING, Move.DENY): State.DENIED,
    (State.PENDING, Move.TICKET): State.PENDING,
    (State.PENDING, Move.TICK): State.EXPIRED,
    (State.PENDING, Move.CANCEL): State.CANCELLED,
    (State.APPROVED, Move.TICKET): State.APPROVED,
    (State.APPROVED, Move.USE): State.APPROVED,
    (State.APPROVED, Move.USE_LAST): State.CONSUMED,
    (State.APPROVED, Move.TICK): State.EXPIRED,
    (State.APPROVED, Move.CANCEL): State.CANCELLED,
    (State.APPROVED, Move.OUTCOME): State.APPROVED,
    (State.CONSUMED, Move.OUTCOME): State.CONSUMED,
    (State.EXPIRED, Move.OUTCOME): State.EXPIRED,
    (State.CANCELLED, Move.OUTCOME): State.CANCELLED,
}

CAUSES = {
    State.PENDING: frozenset({"client_disconnected", "requester", "gateway_restart", "policy_changed", "key_changed", "superseded"}),
    State.APPROVED: frozenset({"requester", "policy_changed", "key_changed"}),
}
"""Why each state may be cancelled."""


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """This move is not in the table. Nothing changed."""

    state: State
    move: Move


def apply(state: State, move: Move, cause: str | None = None) -> State:
    """Return the state after `move`; raise Refused for every pair (and every cause) that the table does not have."""
    after = TABLE.get((state, move))
    if after is None or (move is Move.CANCEL and cause not in CAUSES[state]):
        raise Refused(state, move)
    return after
