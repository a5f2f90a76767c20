"""What a vote needs to count, and what it gets when it does not."""

import asyncio

import pytest

from addons.core.approval.decide import Voter
from addons.core.approval.votes import asks_for
from addons.core.errors import DecisionError
from addons.core.exchange import Actor
from tests.parts.approval import Room, one_of, person, snapshot

BOB, CAROL = person("bob"), person("carol")


async def held(room, **asked):
    task = asyncio.create_task(room.desk.hold(room.asked(**asked), room.alive()))
    await room.clock.settle()
    return task, room.ledger.tables["approval"][-1]["id"]


@pytest.mark.parametrize(
    ("voter", "vote", "code", "status"),
    [
        pytest.param(person("alice"), {}, "self-approval", 403, id="the-requester"),
        pytest.param(person("planner"), {}, "self-approval", 403, id="the-actor"),
        pytest.param(person("bob", "dev:support"), {}, "not-a-reviewer", 403, id="another-group"),
        pytest.param(Voter("dev:bob", "agent", ("dev:sre",)), {}, "not-a-person", 403, id="an-agent-in-the-group"),
        pytest.param(Voter("dev:bob", "human", ("dev:sre",), (Actor("x", "y"),)), {}, "not-a-person", 403, id="through-an-agent"),
        pytest.param(BOB, {"digest": "hmac-sha-256:" + "0" * 64}, "digest-mismatch", 409, id="another-digest"),
        pytest.param(BOB, {"digest": ""}, "digest-mismatch", 409, id="no-digest"),
        pytest.param(BOB, {"digest": "hmac-sha-256:"}, "digest-mismatch", 409, id="a-prefix"),
        pytest.param(BOB, {"reason": ""}, "invalid", 422, id="no-reason"),
        pytest.param(BOB, {"reason": "too short"}, "invalid", 422, id="9-characters"),
        pytest.param(BOB, {"reason": " " * 50}, "invalid", 422, id="blank"),
        pytest.param(BOB, {"reason": "x" * 1001}, "invalid", 422, id="1001-characters"),
        pytest.param(BOB, {"effect": "allow"}, "invalid", 422, id="another-word"),
        pytest.param(BOB, {"assurance": "unheard-of"}, "assurance", 403, id="unknown-assurance"),
    ],
)
async def test_a_vote_that_does_not_count_changes_nothing(voter, vote, code, status):
    room = Room()
    task, ident = await held(room)
    with pytest.raises(DecisionError) as refused:
        await room.desk.decide(room.vote(ident, voter, **vote))
    assert (refused.value.code, refused.value.status) == (code, status)
    assert (room.only["state"], room.only["version"], room.ledger.tables["approval_vote"]) == ("pending", 1, [])
    assert room.ledger.events().count("alert") == (1 if code == "digest-mismatch" else 0)
    task.cancel()


async def test_two_of_a_group_are_two_people():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    task, ident = await held(room)
    card = await room.desk.decide(room.vote(ident, BOB))
    assert (card.state, card.have, card.need, card.waiting_for) == ("pending", 1, 2, "Waiting for 1 more of dev:sre.")
    with pytest.raises(DecisionError) as twice:
        await room.desk.decide(room.vote(ident, BOB, channel="webhook", via="integration:demo", assurance="integration"))
    assert (twice.value.code, twice.value.status, twice.value.extra) == ("approval-state", 409, {"state": "pending"})
    await room.desk.decide(room.vote(ident, CAROL))
    assert (await task).reviewers == ("dev:bob", "dev:carol")


async def test_two_names_of_one_person_are_one_vote():
    room = Room(config=snapshot(approvals=one_of(count=2), identity=aliased(("dev:bob", "dev:bob-admin"))))
    task, ident = await held(room)
    await room.desk.decide(room.vote(ident, BOB))
    with pytest.raises(DecisionError) as twice:
        await room.desk.decide(room.vote(ident, person("bob-admin")))
    assert twice.value.status == 409
    task.cancel()


def aliased(*aliases):
    from dataclasses import replace

    from tests import harness

    return replace(harness.snapshot().gateway.identity, aliases=aliases)


async def test_an_integration_speaks_once_whoever_it_names():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    task, ident = await held(room)
    spoken = {"channel": "webhook", "via": "integration:demo", "assurance": "integration"}
    await room.desk.decide(room.vote(ident, BOB, **spoken))
    card = await room.desk.decide(room.vote(ident, CAROL, **spoken))
    assert (card.state, card.have) == ("pending", 1)
    task.cancel()


async def test_two_channels_without_a_login_stay_pending_and_the_card_says_why():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    task, ident = await held(room)
    await room.desk.decide(room.vote(ident, BOB, channel="webhook", via="integration:demo", assurance="integration"))
    card = await room.desk.decide(room.vote(ident, CAROL, channel="file", via="file:1000", assurance="file"))
    assert (card.state, card.have) == ("pending", 2)
    assert "must come by a login" in card.waiting_for
    await room.desk.decide(room.vote(ident, person("dave")))
    assert (await task).state == "approved"


async def test_one_denial_ends_it_whatever_was_agreed_before():
    room = Room(config=snapshot(approvals=one_of(count=3)))
    task, ident = await held(room)
    await room.desk.decide(room.vote(ident, BOB))
    await room.desk.decide(room.vote(ident, CAROL, "deny", reason="this is the wrong customer"))
    with pytest.raises(Exception, match="denied"):
        await task
    with pytest.raises(DecisionError) as late:
        await room.desk.decide(room.vote(ident, person("dave")))
    assert (late.value.code, late.value.extra) == ("approval-state", {"state": "denied"})


@pytest.mark.parametrize(("expose", "shown"), [(True, "this is the wrong customer"), (False, None)])
async def test_the_reason_of_a_denial_is_told_only_where_the_terms_say_so(expose, shown):
    room = Room(config=snapshot(approvals=one_of(expose_reason=expose)))
    task, ident = await held(room)
    await room.desk.decide(room.vote(ident, BOB, "deny", reason="this is the wrong customer"))
    with pytest.raises(Exception, match="denied") as denied:
        await task
    assert denied.value.extra.get("reason") == shown


async def test_votes_that_arrive_at_once_count_each_once():
    room = Room(config=snapshot(approvals=one_of(count=3)))
    task, ident = await held(room)
    voters = [person(f"u{i}") for i in range(10)]
    results = await asyncio.gather(*(room.desk.decide(room.vote(ident, voter)) for voter in voters), return_exceptions=True)
    assert sum(not isinstance(result, Exception) for result in results) == 3
    assert (await task).state == "approved"
    assert len(room.ledger.tables["approval_vote"]) == 3


async def test_a_body_that_cannot_be_shown_can_be_denied_and_not_approved():
    room = Room(complete=False)
    task, ident = await held(room)
    with pytest.raises(DecisionError, match="cannot be approved"):
        await room.desk.decide(room.vote(ident, BOB))
    await room.desk.decide(room.vote(ident, BOB, "deny"))
    assert room.only["state"] == "denied"
    with pytest.raises(Exception, match="denied"):
        await task


async def test_a_reviewer_does_not_see_the_others_reasons_before_voting():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    task, ident = await held(room)
    await room.desk.decide(room.vote(ident, BOB, reason="looked at the ticket"))
    assert [vote["reason"] for vote in (await room.desk.card(ident, CAROL)).votes] == [None]
    assert [vote["reason"] for vote in (await room.desk.card(ident, BOB)).votes] == ["looked at the ticket"]
    task.cancel()


async def test_who_sees_what():
    room = Room()
    task, ident = await held(room)
    requester = person("alice", "dev:support")
    assert (await room.desk.card(ident, BOB)).can_decide
    assert not (await room.desk.card(ident, requester)).can_decide
    for stranger in (person("eve", "dev:support"), Voter("dev:bob", "agent", ("dev:sre",))):
        with pytest.raises(DecisionError) as hidden:
            await room.desk.card(ident, stranger)
        assert hidden.value.status == 404
    assert [card.id for card in await room.desk.cards(BOB)] == [ident]
    assert [card.id for card in await room.desk.cards(requester, mine=True)] == [ident]
    assert await room.desk.cards(person("eve", "dev:support")) == []
    assert await room.desk.cards(BOB, state="approved") == []
    task.cancel()


async def test_the_status_is_for_the_requester_alone():
    room = Room()
    task, ident = await held(room)
    status = await room.desk.status(ident, "http://127.0.0.1:8445\nalice")
    assert status == {"id": ident, "state": "pending", "have": 0, "need": 1, "retry_after": status["retry_after"]}
    for other in ("http://127.0.0.1:8445\nmallory", ""):
        with pytest.raises(DecisionError) as hidden:
            await room.desk.status(ident, other)
        assert hidden.value.status == 404
    task.cancel()


async def test_only_the_requester_withdraws():
    room = Room()
    task, ident = await held(room)
    with pytest.raises(DecisionError) as refused:
        await room.desk.cancel(ident, BOB)
    assert refused.value.status == 404
    await room.desk.cancel(ident, person("alice"))
    assert room.only["state"] == "cancelled"
    with pytest.raises(Exception, match="withdrawn"):
        await task


@pytest.mark.parametrize(
    ("key", "asker", "is_theirs"),
    [
        pytest.param("idp\nalice", "idp\nalice", True, id="herself"),
        pytest.param("idp\nalice", "idp\nalice\nidp\nplanner", True, id="what-an-agent-asked-for-her"),
        pytest.param("idp\nalice\nidp\nplanner", "idp\nalice\nidp\nplanner", True, id="the-agent-itself"),
        pytest.param("idp\nalice\nidp\nplanner", "idp\nalice", False, id="an-agent-is-not-the-person"),
        pytest.param("idp\nalice\nidp\nplanner", "idp\nalice\nidp\nplanner\nidp\ntool", False, id="nor-another-agent-further-on"),
        pytest.param("idp\nali", "idp\nalice\nidp\nplanner", False, id="half-a-name"),
        pytest.param("", "idp\nalice", False, id="nobody"),
    ],
)
def test_who_is_the_requester(key, asker, is_theirs):
    assert asks_for(key, asker) is is_theirs
