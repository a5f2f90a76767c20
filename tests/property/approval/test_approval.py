"""Whatever happens in whatever order: an approval is used at most once, only after the votes it needs, and the rows tell what the log tells."""

import asyncio
import contextlib
import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.approval import derive, digest, policy, states
from addons.core.approval.recovery import recover
from addons.core.approval.rows import approval_of, use_of, vote_of
from addons.core.approval.terms import thaw
from addons.core.errors import AuditError, GuardhouseError
from addons.core.exchange import Actor
from tests.parts.approval import Room, fine, one_of, person, snapshot
from tests.unit.core.approval.test_digest import FACTS, KEY

text = st.text(st.characters(codec="utf-8"), max_size=12)
wire = st.text(st.characters(max_codepoint=255), max_size=12)
facts = st.builds(
    replace,
    st.just(FACTS),
    path=wire,
    query=wire,
    headers=st.lists(st.tuples(wire, wire), max_size=3).map(tuple),
    subject=text,
    client_id=st.none() | text,
    actors=st.lists(st.builds(Actor, text, text), max_size=2).map(tuple),
    purpose=st.none() | text,
    rules=st.lists(text, max_size=2, unique=True).map(sorted).map(tuple),
)


@given(facts, facts)
def test_two_requests_have_one_digest_only_when_they_are_the_same(one, other):
    assert (digest.digest(one, KEY) == digest.digest(other, KEY)) is (one == other)


@given(facts, facts)
def test_members_differ_exactly_where_the_requests_do(one, other):
    one, other = (replace(made, headers=digest.covered_headers(made.headers)) for made in (one, other))
    same = digest.differing(digest.member_hmacs(one, KEY), digest.member_hmacs(other, KEY)) == []
    assert same is (digest.digest(one, KEY) == digest.digest(other, KEY))


@given(facts)
def test_the_canonical_form_is_json_that_says_the_members(one):
    assert json.loads(digest.canonical(one)) == json.loads(json.dumps(digest.members(one)))


@given(wire)
def test_a_target_is_split_without_loss(target):
    path, query = digest.split_target(target)
    assert path + query == target and "?" not in path


@given(st.lists(st.sampled_from(list(states.Move)), max_size=12))
def test_no_way_through_the_table_leaves_a_final_state_or_approves_without_a_full_vote(moves):
    state, voted = states.State.NONE, False
    for move in moves:
        before = state
        with contextlib.suppress(states.Refused):
            state = states.apply(state, move, "policy_changed" if move is states.Move.CANCEL else None)
            voted = voted or move is states.Move.VOTE_FULL
        assert before not in states.FINAL or state is before
        assert state not in (states.State.APPROVED, states.State.CONSUMED) or voted


VOTERS = ["bob", "carol", "dave", "alice", "planner"]
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2)),
    st.tuples(st.just("approve"), st.sampled_from(VOTERS)),
    st.tuples(st.just("deny"), st.sampled_from(VOTERS)),
    st.tuples(st.just("by-file"), st.sampled_from(VOTERS)),
    st.tuples(st.just("use"), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 700, 4000])),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("outcome"), st.just(0)),
    st.tuples(st.just("lose-the-store"), st.integers(1, 3)),
    st.tuples(st.just("change-the-terms"), st.integers(1, 2)),
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 2), st.lists(STEPS, max_size=25))
def test_any_order_of_events_keeps_the_promises(need, steps):
    asyncio.run(story(need, steps))


async def story(need, steps):
    room = Room(config=snapshot(approvals=one_of(count=need, deny_cooloff=5.0, max_pending_per_principal=50, max_openings_per_hour=500)))
    holds, flow = [], 0
    for step, what in steps:
        with contextlib.suppress(GuardhouseError):
            flow += 1
            if step == "ask":
                holds.append(
                    (await room.desk.hold(room.asked(f"f{flow}", at_once=True, path=f"/{what}"), room.alive(f"f{flow}")), f"f{flow}")
                )
            elif step in ("approve", "deny", "by-file"):
                more = {"channel": "file", "via": "file:1", "assurance": "file"} if step == "by-file" else {}
                for row in list(room.ledger.tables["approval"]):
                    await room.desk.decide(room.vote(row["id"], person(what), "deny" if step == "deny" else "approve", **more))
            elif step == "use" and holds:
                hold, by = holds[what % len(holds)]
                await room.desk.use(hold, hold.digest, room.record(by), fine)
            elif step == "wait":
                await room.clock.advance(what)
                await room.desk.tick()
            elif step == "restart":
                room.desk = room.new_desk()
                await recover(room.desk, room.config)
            elif step == "outcome" and holds:
                await room.desk.outcome(holds[-1][0].id, holds[-1][1], "sent", 200)
            elif step == "change-the-terms":
                room.config = replace(room.config, approvals=replace(room.config.approvals, terms=one_of(count=what)))
                await room.desk.reconsider(room.config)
            elif step == "lose-the-store":
                lose(room, what)
        check(room)


def lose(room, how_often):
    """The next commits end in an error: in turn before and after they were written."""
    left = [how_often]

    def fault(note):
        if left[0]:
            left[0] -= 1
            raise AuditError(detail="the disk hangs")

    if how_often % 2:
        room.ledger.before_commit = fault
    else:
        room.ledger.after_commit = fault


def check(room):
    """What must hold after every step."""
    people = room.desk.people()
    for plain in room.ledger.tables["approval"]:
        row = approval_of(plain)
        told = derive.fold([note for note in room.ledger.log if note.approval == row.id], room.keys.derive(""))
        votes = [vote_of(one) for one in room.ledger.tables["approval_vote"] if one["approval"] == row.id]
        uses = [use_of(one) for one in room.ledger.tables["approval_use"] if one["approval"] == row.id]
        assert derive.disagreements(row, votes, uses, told, room.keys.derive("")) == []
        assert len(uses) <= 1
        assert not {vote.person for vote in votes if vote.effect == "approve"} & {"dev:alice", "dev:planner"}
        if row.state == "approved" or uses:
            assert policy.tally(thaw(row.requirements), told.approving, people).is_enough
