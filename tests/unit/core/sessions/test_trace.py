"""Traces: what is read, whose child a span is, and what cannot be forged."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.config.model import Identity
from addons.core.errors import ValidationError
from addons.core.exchange import Actor, Principal
from addons.core.sessions import trace
from addons.core.sessions.trace import Incoming, Spans
from tests.parts.identity import ISSUER, issuer

IDENTITY = Identity("https://x.example", (issuer(),))
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ALICE = Principal(ISSUER, "corp", "alice")
BOB = Principal(ISSUER, "corp", "bob")


def spans(start: int = 41) -> Spans:
    return Spans(b"k" * 32, start)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(f"00-{TRACE}-{PARENT}-01", Incoming(TRACE, PARENT, "01"), id="right"),
        pytest.param(f"00-{TRACE}-{PARENT}-00", Incoming(TRACE, PARENT, "00"), id="not-sampled"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01-more", Incoming(TRACE, PARENT, "01"), id="higher-version"),
        pytest.param(f"cc-{TRACE}-{PARENT}-ff", Incoming(TRACE, PARENT, "01"), id="higher-version-unknown-flags"),
        pytest.param(f"00-{TRACE}-{PARENT}-01-more", None, id="version-0-with-more"),
        pytest.param(f"ff-{TRACE}-{PARENT}-01", None, id="version-ff"),
        pytest.param(f"00-{TRACE.upper()}-{PARENT}-01", None, id="upper-case"),
        pytest.param(f"00-{'0' * 32}-{PARENT}-01", None, id="zero-trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="zero-parent"),
        pytest.param(f"00-{TRACE}-{PARENT}", None, id="short"),
        pytest.param(f" 00-{TRACE}-{PARENT}-01", None, id="space"),
        pytest.param(f"00-{TRACE}-{PARENT}-01\n", None, id="newline"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01more", None, id="higher-version-run-on"),
        pytest.param("", None, id="empty"),
    ],
)
def test_a_traceparent_is_read_strictly(value, expected):
    assert trace.parse([value]) == expected


def test_two_are_two_readings():
    with pytest.raises(ValidationError):
        trace.parse([f"00-{TRACE}-{PARENT}-01"] * 2)


def start(parents, states=(), principal=ALICE, issued=None):
    return trace.start(parents, states, principal, IDENTITY, issued or spans(), lambda: "a" * 32)


def test_without_one_a_trace_begins():
    started = start([])
    assert (started.trace.trace_id, started.trace.parent_id, started.trace.verified, started.note) == ("a" * 32, None, False, None)
    assert started.traceparent == f"00-{'a' * 32}-{started.trace.span_id}-01"


def test_a_malformed_one_begins_a_new_trace_and_is_noted():
    started = start(["rubbish"], ["vendor=1"])
    assert (started.trace.trace_id, started.note, started.tracestate) == ("a" * 32, "traceparent-malformed", None)


def test_the_upstream_gets_a_span_of_ours_in_the_callers_trace():
    started = start([f"00-{TRACE}-{PARENT}-00"], ["a=1", "b=2"])
    assert (started.trace.trace_id, started.trace.parent_id, started.trace.verified) == (TRACE, PARENT, False)
    assert started.traceparent == f"00-{TRACE}-{started.trace.span_id}-00"
    assert started.trace.span_id != PARENT
    assert started.tracestate == "a=1,b=2"


@pytest.mark.parametrize("states", [["a=" + "x" * 511], [",".join(f"k{n}=1" for n in range(33))], ["a=\n"]])
def test_a_tracestate_that_is_too_much_is_dropped(states):
    started = start([f"00-{TRACE}-{PARENT}-01"], states)
    assert (started.tracestate, started.note) == (None, "tracestate-dropped")


@pytest.mark.parametrize(
    ("child", "verified"),
    [
        pytest.param(ALICE, True, id="the-same-person"),
        pytest.param(replace(ALICE, actors=(Actor(ISSUER, "planner"),)), True, id="an-agent-acting-for-the-parent"),
        pytest.param(replace(BOB, actors=(Actor(ISSUER, "worker"), Actor(ISSUER, "alice"))), True, id="the-parent-is-in-the-chain"),
        pytest.param(replace(BOB, kind="agent", owner="corp:alice"), True, id="an-agent-that-the-parent-owns"),
        pytest.param(BOB, False, id="somebody-else"),
        pytest.param(replace(BOB, owner="other:alice"), False, id="an-owner-of-another-issuer"),
        pytest.param(Principal("https://other/", "other", "alice"), False, id="the-same-name-elsewhere"),
    ],
)
def test_a_child_is_verified_when_its_parent_was_issued_to_whom_it_acts_for(child, verified):
    issued = spans()
    parent = start([], issued=issued).trace
    started = start([f"00-{parent.trace_id}-{parent.span_id}-01"], principal=child, issued=issued)
    assert started.trace.verified is verified


def test_an_agents_span_is_no_parent_of_the_person_it_acted_for():
    issued = spans()
    planner = replace(ALICE, actors=(Actor(ISSUER, "planner"),))
    parent = start([], principal=planner, issued=issued).trace
    assert not start([f"00-{parent.trace_id}-{parent.span_id}-01"], issued=issued).trace.verified


def test_a_span_counts_only_in_its_trace_and_under_our_key():
    issued = spans()
    span = issued.issue(TRACE, ALICE.key)
    assert issued.issued_to(span, TRACE, ALICE.key)
    assert spans().issued_to(span, TRACE, ALICE.key)
    assert not issued.issued_to(span, "b" * 32, ALICE.key)
    assert not Spans(b"x" * 32, 0).issued_to(span, TRACE, ALICE.key)


@given(st.integers(0, (1 << 64) - 1))
def test_a_made_up_span_is_not_ours(number):
    issued = spans()
    mine = issued.issue(TRACE, ALICE.key)
    forged = f"{number:016x}"
    assert forged == mine or not issued.issued_to(forged, TRACE, ALICE.key)


@given(st.integers(0, (1 << 30)), st.text(max_size=20))
def test_every_span_is_new_well_formed_and_ours(first, who):
    issued = Spans(b"k" * 32, first)
    made = [issued.issue(TRACE, who) for _ in range(5)]
    assert len(set(made)) == 5
    assert all(len(span) == 16 and int(span, 16) and issued.issued_to(span, TRACE, who) for span in made)
