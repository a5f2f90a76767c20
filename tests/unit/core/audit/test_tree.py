"""The task tree: links, and each thing that does not fit (design/audit.md row 18)."""

import asyncio
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.audit import tree as trees
from addons.core.audit.events import json_field, make
from addons.core.audit.lineage import tree
from addons.core.audit.query import QueryError
from addons.core.audit.reader import Reader, TamperedError
from addons.core.audit.store import StoredEvent
from tests.harness import FakeClock
from tests.parts import audit

ISSUER = "http://127.0.0.1:8445"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FLOW = "018bcfe5-6800-7000-8000-{:012d}"


def principal(subject, *actors, owner=None, kind="human"):
    told = {"issuer": ISSUER, "issuer_alias": "dev", "subject": subject, "kind": kind, "owner": owner}
    told["actors"] = [{"issuer": ISSUER, "subject": one} for one in actors]
    return {name: value for name, value in told.items() if value}


ALICE, PLANNER, BOT, MALLORY = (
    principal("alice"),
    principal("alice", "planner"),
    principal("bot", owner="dev:alice", kind="agent"),
    principal("mallory"),
)


def span(n):
    return f"{n:016x}"


def flow(n, who=ALICE, parent=None, *, ends=True, trace=TRACE, at=0, took=1, session="s1", purpose="support/1", **core):
    """The events of one flow: intent, then its end. Numbers are 2n and 2n+1."""
    told = {"flow": FLOW.format(n), "trace": trace, "span": span(n), "parent": parent, "session": session, "service": "crm", "verb": "GET"}
    told = {name: value for name, value in (told | core).items() if value is not None}
    start = 1_000_000 + (at or n) * 1000
    fields = {"principal": json_field(who), "path": f"/things/{n}".encode(), "purpose": json_field({"label": purpose})}
    yield StoredEvent(2 * n, {"stage": "RequestReceived", "kind": "http", "ts_us": start, **told}, fields)
    if ends:
        end = {"stage": "ResponseComplete", "kind": "http", "ts_us": start + took, "status": 200, "dur_us": 1500, "masked": {"PERSON": 2}}
        yield StoredEvent(2 * n + 1, {**told, **end}, {"principal": fields["principal"]})


def grown(*flows):
    return trees.grow("x", "trace", [event for one in flows for event in one])


def rows_of(forest):
    return [row for branch in forest.branches for row in branch.rows]


def drawn(forest):
    return [(row.depth, int(row.flow[-4:]), row.is_dashed, row.flags) for row in rows_of(forest)]


@pytest.mark.parametrize(
    ("flows", "expected", "branch_flags"),
    [
        pytest.param([flow(1)], [(0, 1, False, ())], (), id="one-root"),
        pytest.param([flow(1), flow(2, PLANNER, span(1))], [(0, 1, False, ()), (1, 2, False, ())], (), id="an-agent-below-its-principal"),
        pytest.param([flow(1), flow(2, BOT, span(1))], [(0, 1, False, ()), (1, 2, False, ())], (), id="an-agent-below-its-owner"),
        pytest.param(
            [flow(1, PLANNER), flow(2, PLANNER, span(1))], [(0, 1, False, ()), (1, 2, False, ())], (), id="an-agent-below-its-own-span"
        ),
        pytest.param(
            [flow(1, PLANNER), flow(2, ALICE, span(1))],
            [(0, 1, False, ()), (1, 2, True, ("unverified-child",))],
            (),
            id="a-principal-is-no-verified-child-of-its-agent",
        ),
        pytest.param(
            [flow(1), flow(2, MALLORY, span(1))],
            [(0, 1, False, ()), (1, 2, True, ("unverified-child", "identity-change"))],
            (),
            id="identity-change",
        ),
        pytest.param([flow(1, parent=span(99))], [(0, 1, True, ("orphan-parent", "unverified-child"))], (), id="orphan"),
        pytest.param([flow(1), flow(2)], [(0, 1, False, ()), (0, 2, False, ())], ("more-than-one-root",), id="two-roots"),
        pytest.param(
            [flow(1), flow(2, parent=span(99))],
            [(0, 1, False, ()), (0, 2, True, ("orphan-parent", "unverified-child"))],
            ("more-than-one-root",),
            id="a-root-and-an-orphan",
        ),
        pytest.param(
            [flow(1, parent=span(99)), flow(2, parent=span(99))],
            [(0, 1, True, ("orphan-parent", "unverified-child")), (0, 2, True, ("orphan-parent", "unverified-child"))],
            (),
            id="two-calls-of-one-foreign-span-have-one-root",
        ),
        pytest.param([flow(1, ends=False)], [(0, 1, False, ("no-terminal",))], (), id="no-terminal"),
        pytest.param([flow(1, took=-5)], [(0, 1, False, ("clock-backwards",))], (), id="ends-before-it-began"),
        pytest.param(
            [flow(1, at=9), flow(2, PLANNER, span(1), at=3)],
            [(0, 1, False, ()), (1, 2, False, ("clock-backwards",))],
            (),
            id="begins-before-its-parent",
        ),
        pytest.param(
            [flow(1, parent=span(2)), flow(2, parent=span(1))],
            [(0, 1, False, ("clock-backwards", "loop")), (0, 2, False, ("loop",))],
            (),
            id="a-loop-is-drawn-and-flagged",
        ),
        pytest.param(
            [flow(1), flow(2, parent=span(1)), flow(3, parent=span(2)), flow(4, parent=span(1))],
            [(0, 1, False, ()), (1, 2, False, ()), (2, 3, False, ()), (1, 4, False, ())],
            (),
            id="depth-first-oldest-first",
        ),
    ],
)
def test_what_hangs_where_and_what_does_not_fit(flows, expected, branch_flags):
    forest = grown(*flows)
    assert drawn(forest) == expected
    assert forest.branches[0].flags == branch_flags


def test_a_row_says_who_what_decision_hold_masks_and_result():
    approval = {"stage": "Mark", "kind": "approval", "ts_us": 1, "flow": FLOW.format(1), "approval": "ap_1"}
    held = [StoredEvent(90 + at, {**approval, "verb": verb}, {}) for at, verb in enumerate(("requested", "approved", "used"))]
    vote = StoredEvent(
        93, {"stage": "Mark", "kind": "approval", "ts_us": 2, "approval": "ap_1", "verb": "voted"}, {"reviewers": b'["dev:bob"]'}
    )
    row = rows_of(grown(flow(1, PLANNER, effect="hold", rules=["deletes-are-held"]), [*held, vote]))[0]
    assert row.reviewers == ("dev:bob",)
    assert (row.principal, row.kind, row.actors, row.operation) == ("dev:alice", "human", ("dev:planner",), "GET /things/1")
    assert (row.effect, row.rules, row.approval, row.hold) == (
        "hold",
        ("deletes-are-held",),
        "ap_1",
        ("requested", "approved", "used", "voted"),
    )
    assert (row.masked, row.stage, row.status, row.dur_us, row.purpose) == ({"PERSON": 2}, "ResponseComplete", 200, 1500, "support/1")


def test_traces_are_filed_by_session_then_purpose():
    forest = grown(
        flow(1, trace="a" * 32, session="s1", purpose="support/1"),
        flow(2, trace="b" * 32, session="s2", purpose="support/1"),
        flow(3, trace="c" * 32, session="s1", purpose="support/2"),
        flow(4, trace="d" * 32, session="s1", purpose="support/1"),
    )
    found = [(branch.session, branch.purpose, branch.trace[0]) for branch in forest.branches]
    assert found == [("s1", "support/1", "a"), ("s1", "support/1", "d"), ("s2", "support/1", "b"), ("s1", "support/2", "c")]


def test_a_chain_of_thousands_is_flat():
    forest = grown(*(flow(n, parent=span(n - 1) if n > 1 else None) for n in range(1, 3001)))
    assert [row.depth for row in rows_of(forest)] == list(range(3000))
    assert asdict(forest)["branches"][0]["rows"][2999]["depth"] == 2999


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12), st.sampled_from([ALICE, PLANNER, BOT, MALLORY, {}])), max_size=12))
def test_every_flow_is_drawn_exactly_once(told):
    unique = {n: (n, parent, who) for n, parent, who in told}
    forest = grown(*(flow(n, who, span(parent) if parent else None) for n, parent, who in unique.values()))
    assert sorted(row.flow for row in rows_of(forest)) == sorted(FLOW.format(n) for n in unique)
    for row in rows_of(forest):
        assert row.is_dashed == ("unverified-child" in row.flags)


def written(n, who=ALICE, parent=None, ends=True, session="s1"):
    told = {"flow": FLOW.format(n), "trace": TRACE, "span": span(n), "parent": parent, "session": session, "service": "crm", "verb": "GET"}
    yield make("RequestReceived", "http", told, {"principal": json_field(who), "path": b"/things"})
    if ends:
        yield make("ResponseComplete", "http", {**told, "status": 200}, {"principal": json_field(who)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")

    async def fill():
        log = await audit.open_log(folder, FakeClock(1_700_000_000.0))
        for events in (written(1), written(2, MALLORY, span(1), session="s2"), written(3, PLANNER, span(77)), written(4)):
            for event in events:
                await log.append(event, reserve=event.is_begin, release=event.is_terminal)
        await log.close()

    asyncio.run(fill())
    return folder


@pytest.mark.parametrize(
    ("id", "what"), [(TRACE, "trace"), (FLOW.format(2), "flow"), ("s1", "session"), ("s2", "session")], ids=["trace", "flow", "s1", "s2"]
)
def test_each_kind_of_id_finds_the_whole_trace(folder, id, what):
    with Reader.open(folder / "audit.db") as reader:
        forest = tree(reader, id)
    assert (forest.what, forest.flags, forest.missing) == (what, (), 0)
    assert drawn(forest) == [
        (0, 1, False, ()),
        (1, 2, True, ("unverified-child", "identity-change")),
        (0, 3, True, ("orphan-parent", "unverified-child")),
        (0, 4, False, ()),
    ]
    assert forest.branches[0].flags == ("more-than-one-root",)


def test_an_id_that_nothing_has_is_said(folder):
    with Reader.open(folder / "audit.db") as reader, pytest.raises(QueryError, match="no trace, session or flow"):
        tree(reader, "nothing")


def test_an_event_taken_out_of_the_range_is_a_gap(folder, tmp_path):
    attack = audit.Attack(audit.copy(folder, tmp_path / "copy"))
    with attack.open() as db:
        db.execute("DELETE FROM event WHERE seq = (SELECT min(seq) + 1 FROM event WHERE trace IS NOT NULL AND stage = 3)")
    with Reader.open(attack.path) as reader:
        forest = tree(reader, TRACE)
    assert (forest.flags, forest.missing) == (("sequence-gap",), 1)


def test_an_event_that_was_changed_is_not_drawn(folder, tmp_path):
    attack = audit.Attack(audit.copy(folder, tmp_path / "copy"))
    with attack.open() as db:
        db.execute("UPDATE event SET leaf = zeroblob(32) WHERE trace IS NOT NULL AND stage = 3")
    with Reader.open(attack.path) as reader, pytest.raises(TamperedError):
        tree(reader, TRACE)


def test_more_than_a_page_is_read_without_bodies(folder, monkeypatch):
    monkeypatch.setattr("addons.core.audit.lineage.PAGE", 2)
    seen = []
    monkeypatch.setattr("addons.core.audit.lineage.grow", lambda id, what, events, missing: seen.extend(events))
    with Reader.open(folder / "audit.db") as reader:
        tree(reader, TRACE)
    assert len([event for event in seen if event.stage != "Mark"]) == 8
    assert {name for event in seen for name in event.fields} <= {"principal", "purpose", "path", "reason"}


def test_a_tree_that_is_no_picture_any_more_is_refused(folder, monkeypatch):
    monkeypatch.setattr("addons.core.audit.lineage.MAX_EVENTS", 3)
    with Reader.open(folder / "audit.db") as reader, pytest.raises(QueryError, match="more than"):
        tree(reader, TRACE)
