"""Every state against every move: only what the design's table has happens."""

import pytest

from addons.core.approval.states import CAUSES, FINAL, Move, Refused, State, apply

ALLOWED = {
    ("none", "open"): "pending",
    ("pending", "vote"): "pending",
    ("pending", "vote_full"): "approved",
    ("pending", "deny"): "denied",
    ("pending", "ticket"): "pending",
    ("pending", "tick"): "expired",
    ("pending", "cancel"): "cancelled",
    ("approved", "ticket"): "approved",
    ("approved", "use"): "approved",
    ("approved", "use_last"): "consumed",
    ("approved", "tick"): "expired",
    ("approved", "cancel"): "cancelled",
    ("approved", "outcome"): "approved",
    ("consumed", "outcome"): "consumed",
    ("expired", "outcome"): "expired",
    ("cancelled", "outcome"): "cancelled",
}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("move", list(Move))
def test_only_the_moves_of_the_table_happen(state, move):
    cause = "requester" if move is Move.CANCEL else None
    if (state, move) in ALLOWED:
        assert apply(state, move, cause) == ALLOWED[state, move]
        return
    with pytest.raises(Refused):
        apply(state, move, cause)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_is_final_never_becomes_usable(state):
    for move in Move:
        try:
            after = apply(state, move)
        except Refused:
            continue
        assert after is state


def test_only_people_approve():
    assert [(s, m) for s in State for m in Move if ALLOWED.get((s, m)) == "approved" and s is not State.APPROVED] == [
        (State.PENDING, Move.VOTE_FULL)
    ]


@pytest.mark.parametrize(
    ("state", "cause", "allowed"),
    [
        (State.PENDING, "client_disconnected", True),
        (State.PENDING, "gateway_restart", True),
        (State.APPROVED, "client_disconnected", False),
        (State.APPROVED, "gateway_restart", False),
        (State.APPROVED, "policy_changed", True),
        (State.PENDING, "because", False),
        (State.PENDING, None, False),
    ],
)
def test_a_cancellation_has_a_cause_that_its_state_knows(state, cause, allowed):
    assert (cause in CAUSES[state]) is allowed
    if allowed:
        assert apply(state, Move.CANCEL, cause) is State.CANCELLED
        return
    with pytest.raises(Refused):
        apply(state, Move.CANCEL, cause)
