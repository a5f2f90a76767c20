"""After a restart: what goes on, what ends, and that nothing is approved by it."""

import asyncio

import pytest

from addons.core.approval.recovery import recover
from addons.core.config import model
from addons.core.errors import ApprovalError
from tests.parts.approval import Keys, Room, fine, one_of, person, snapshot

BOB = person("bob")


async def held(room, at_once):
    task = asyncio.create_task(room.desk.hold(room.asked(at_once=at_once), room.alive()))
    await room.clock.settle()
    if at_once:
        with pytest.raises(ApprovalError):
            await task
    else:
        task.cancel()
    return room.only["id"]


async def restart(room):
    room.desk = room.new_desk()
    return await recover(room.desk, room.config)


async def test_a_pending_hold_without_a_ticket_dies_with_its_connection():
    room = Room()
    await held(room, at_once=False)
    assert await restart(room) == {"gateway_restart": 1}
    assert room.only["state"] == "cancelled"


async def test_a_ticket_survives_and_its_retry_is_used_once():
    room = Room()
    ident = await held(room, at_once=True)
    assert await restart(room) == {"kept": 1}
    await room.desk.decide(room.vote(ident, BOB))
    assert await restart(room) == {"kept": 1}
    hold = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    assert hold.reviewers == ("dev:bob",)
    await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)
    assert await restart(room) == {"unknown": 1}
    assert [(use["outcome"], use["status"]) for use in room.ledger.tables["approval_use"]] == [("unknown", 0)]
    assert room.only["state"] == "consumed"


async def test_what_is_overdue_expires():
    room = Room()
    await held(room, at_once=True)
    await room.clock.advance(3600)
    assert await restart(room) == {"expired": 1}


async def test_another_digest_key_cancels():
    room = Room()
    await held(room, at_once=True)
    room.keys = Mac(bytes(range(32)), bytes(range(1, 33)))
    assert await restart(room) == {"key_changed": 1}


async def test_another_root_key_cancels():
    room = Room()
    await held(room, at_once=True)
    room.keys = Keys(bytes(range(1, 33)))
    assert await restart(room) == {"key_changed": 1}
    assert room.only["state"] == "cancelled"


class Mac(Keys):
    """The digest key was changed, the key of the seals was not."""

    def __init__(self, root, digest):
        super().__init__(root)
        self.digest = digest

    def derive(self, label):
        return self.digest if label == "approval-digest" else self.root


@pytest.mark.parametrize(
    ("config", "went"),
    [
        (snapshot(approvals=one_of(count=2)), "policy_changed"),
        (snapshot(model.Rule("deletes", "hold", services=("crm",), approval="one-sre")), "policy_changed"),
        (snapshot(services={"crm": model.Service("crm", "http", "http", model.Address("127.0.0.1", 1))}), "policy_changed"),
        (snapshot(services={}), "policy_changed"),
        (snapshot(), "kept"),
    ],
    ids=["terms", "rule", "target", "no-service", "the-same"],
)
@pytest.mark.parametrize("state", ["pending", "approved"])
async def test_other_rules_terms_or_targets_cancel(config, went, state):
    room = Room()
    ident = await held(room, at_once=True)
    if state == "approved":
        await room.desk.decide(room.vote(ident, BOB))
    room.config = config
    assert await restart(room) == {went: 1}
    assert room.only["state"] == ("cancelled" if went != "kept" else state)


async def test_a_store_that_cannot_be_read_stops_the_start():
    room = Room()
    await held(room, at_once=True)
    room.ledger.broken = True
    with pytest.raises(ApprovalError):
        await restart(room)


async def test_recovery_approves_nothing():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    ident = await held(room, at_once=True)
    await room.desk.decide(room.vote(ident, BOB))
    for _ in range(3):
        await restart(room)
        assert room.only["state"] == "pending"
