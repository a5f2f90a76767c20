"""Whose session it is: nobody joins another's."""

import pytest

from addons.core.exchange import Actor, Principal
from addons.core.sessions import baggage, session
from addons.core.sessions.session import Named, Quiet

ALICE = Principal("https://idp/", "corp", "alice", client_id="cli")
BOB = Principal("https://idp/", "corp", "bob", client_id="cli")
PLANNER = Principal("https://idp/", "corp", "alice", client_id="cli", actors=(Actor("https://idp/", "planner"),))


@pytest.mark.parametrize(
    ("header", "members", "expected"),
    [
        pytest.param([], [], Named(None), id="none"),
        pytest.param(["task-1"], [], Named("task-1"), id="header"),
        pytest.param([], ["task-2"], Named("task-2"), id="baggage"),
        pytest.param(["task-1"], ["task-2"], Named("task-1"), id="header-wins"),
        pytest.param(["a b"], [], Named(None, True), id="malformed"),
        pytest.param(["a" * 129], [], Named(None, True), id="long"),
        pytest.param(["a", "b"], [], Named(None, True), id="two"),
        pytest.param(["a\n"], [], Named(None, True), id="newline"),
    ],
)
def test_a_name_is_one_short_word(header, members, expected):
    assert session.named(header, members) == expected


def test_one_name_is_another_session_for_everybody_else():
    ids = [session.bound(who, "task-1") for who in (ALICE, BOB, PLANNER)]
    assert len(set(ids)) == 3
    assert session.bound(ALICE, "task-1") == ids[0]
    assert session.bound(ALICE, "task-2") != ids[0]


def test_a_caller_that_names_none_has_one_until_it_is_quiet():
    quiet = Quiet()
    first = quiet.of(ALICE, 1800.0, 0.0)
    assert quiet.of(ALICE, 1800.0, 1799.0) == first
    assert quiet.of(ALICE, 1800.0, 3598.0) == first
    second = quiet.of(ALICE, 1800.0, 3598.0 + 1800.0)
    assert second != first
    assert quiet.of(BOB, 1800.0, 3598.0) not in (first, second)
    assert quiet.of(PLANNER, 1800.0, 3598.0) not in (first, second)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(["purpose=support%2F1"], {"purpose": ["support/1"]}, id="decoded"),
        pytest.param(["a=1, purpose = x ;p=1", "b=2"], {"a": ["1"], "purpose": ["x"], "b": ["2"]}, id="members-and-properties"),
        pytest.param(["purpose=a,purpose=b"], {"purpose": ["a", "b"]}, id="twice"),
        pytest.param(["purpose"], {}, id="no-value"),
        pytest.param(['purpose="a"'], {}, id="quotes"),
        pytest.param(["a=" + "x" * 8200], {}, id="too-long"),
        pytest.param([",".join(f"k{n}=1" for n in range(65))], {}, id="too-many"),
        pytest.param([], {}, id="none"),
    ],
)
def test_baggage_is_read_or_nothing(values, expected):
    assert baggage.parse(values) == expected
