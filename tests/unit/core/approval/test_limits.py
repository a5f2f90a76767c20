"""One agent cannot flood the people who decide."""

import asyncio
from dataclasses import replace

import pytest

from addons.core.errors import ApprovalError
from tests.parts.approval import ALICE, Room, one_of, person, snapshot


async def ask(room, count, principal=ALICE, at_once=True):
    asked = [room.asked(f"flow-{principal.subject}-{i}", principal, at_once=at_once, path=f"/customers/{i}") for i in range(count)]
    results = await asyncio.gather(*(room.desk.hold(one, room.alive(one.flow_id)) for one in asked), return_exceptions=True)
    return [result.code for result in results]


async def test_five_requests_of_one_agent_wait_and_the_rest_is_refused_without_a_row():
    room = Room()
    codes = await ask(room, 500)
    assert (codes.count("approval-pending"), codes.count("too-many-pending")) == (5, 495)
    assert len(room.ledger.tables["approval"]) == 5


async def test_the_same_request_many_times_is_one_row():
    room = Room()
    results = await asyncio.gather(
        *(room.desk.hold(room.asked(f"flow-{i}", at_once=True), room.alive(f"flow-{i}")) for i in range(500)), return_exceptions=True
    )
    assert {result.code for result in results} == {"approval-pending"}
    assert room.views == 1
    assert len(room.ledger.tables["approval"]) == 1


async def test_agents_of_one_owner_share_a_limit():
    room = Room()
    agents = [replace(ALICE, subject=f"agent-{i}", owner="dev:olga") for i in range(3)]
    codes = [code for agent in agents for code in await ask(room, 3, agent)]
    assert (codes.count("approval-pending"), codes.count("too-many-pending")) == (5, 4)


async def test_openings_an_hour_are_limited_also_when_each_is_decided():
    room = Room(config=snapshot(approvals=one_of(deny_cooloff=0.0)))
    for i in range(20):
        with pytest.raises(ApprovalError):
            await room.desk.hold(room.asked(at_once=True, path=f"/customers/{i}"), room.alive())
        await room.desk.decide(room.vote(room.ledger.tables["approval"][-1]["id"], person("bob"), "deny"))
    with pytest.raises(ApprovalError) as refused:
        await room.desk.hold(room.asked(at_once=True, path="/customers/20"), room.alive())
    assert (refused.value.code, refused.value.status) == ("too-many-pending", 429)
    assert 0 < int(refused.value.headers["Retry-After"]) <= 3601
    await room.clock.advance(3601)
    with pytest.raises(ApprovalError) as pending:
        await room.desk.hold(room.asked(at_once=True, path="/customers/20"), room.alive())
    assert pending.value.code == "approval-pending"


async def test_all_together_have_a_limit():
    room = Room(config=snapshot(approvals=one_of(max_pending=3)))
    codes = [code for i in range(5) for code in await ask(room, 1, replace(ALICE, subject=f"agent-{i}"))]
    assert codes == ["approval-pending"] * 3 + ["too-many-pending"] * 2


async def test_the_answer_names_the_header_in_which_a_retry_differs():
    room = Room()
    with pytest.raises(ApprovalError):
        await room.desk.hold(room.asked(at_once=True), room.alive())
    first = room.only["id"]
    with pytest.raises(ApprovalError) as ticket:
        await room.desk.hold(room.asked(at_once=True, headers=(("accept", "application/json"), ("x-request-time", "12:00"))), room.alive())
    assert f"It differs from {first} only in the header x-request-time" in str(ticket.value)
    assert "ignore_headers" in ticket.value.extra["differs"]
