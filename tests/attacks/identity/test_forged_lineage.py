"""A trace, a session or a parent that is somebody else's: nobody joins another's session, and no lie makes a verified child."""

import pytest

from addons.core import exchange
from tests.parts.identity import Front, bearer


async def sent(front: Front, headers=(), **claims):
    flow = await front.send([bearer(front.desk.provider.token(**claims)), *headers])
    assert flow.response is None
    return exchange.read(flow.metadata)


def child_of(record) -> list[tuple[str, str]]:
    return [("traceparent", f"00-{record.trace.trace_id}-{record.trace.span_id}-01"), ("X-Session-Id", "task-1")]


async def test_bob_does_not_join_alices_task():
    front = Front()
    alice = await sent(front, [("X-Session-Id", "task-1")])
    bob = await sent(front, child_of(alice), sub="bob", jti="bob")
    assert bob.session_id != alice.session_id
    assert bob.trace.verified is False


async def test_bob_joins_it_when_he_acts_for_her():
    front = Front()
    alice = await sent(front)
    bob = await sent(front, child_of(alice), act={"sub": "bob"}, jti="bob-for-alice")
    assert bob.trace.verified is True


async def test_an_agent_that_alice_owns_works_below_her_span():
    front = Front(agents={"corp:robot": "corp:alice"})
    alice = await sent(front)
    robot = await sent(front, child_of(alice), sub="robot", jti="robot")
    assert robot.trace.verified is True


@pytest.mark.parametrize("change", [0, 8, 15], ids=["counter", "mac", "last-digit"])
async def test_a_span_that_was_changed_is_not_ours(change):
    front = Front()
    alice = await sent(front)
    span = alice.trace.span_id
    forged = span[:change] + ("0" if span[change] != "0" else "1") + span[change + 1 :]
    child = await sent(front, [("traceparent", f"00-{alice.trace.trace_id}-{forged}-01")])
    assert child.trace.verified is False


async def test_a_span_of_ours_is_no_parent_in_another_trace():
    front = Front()
    alice = await sent(front)
    child = await sent(front, [("traceparent", f"00-{'b' * 32}-{alice.trace.span_id}-01")])
    assert child.trace.verified is False


async def test_two_traceparents_are_two_readings():
    front = Front()
    one = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    flow = await front.send([bearer(front.desk.provider.token()), one, one])
    assert flow.response.status_code == 400
