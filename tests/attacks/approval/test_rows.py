"""Whoever writes into the database, running or stopped, approves nothing: refused, with an alert, and never used."""

import copy
import json
from dataclasses import replace

import pytest

from addons.core.approval.ledger import Note
from addons.core.approval.recovery import recover
from addons.core.errors import ApprovalError, DecisionError
from tests.parts.approval import Room, fine, one_of, person, snapshot

BOB = person("bob")


async def pending(room, **asked):
    with pytest.raises(ApprovalError):
        await room.desk.hold(room.asked(at_once=True, **asked), room.alive())
    return room.only


async def approved(room):
    row = await pending(room)
    await room.desk.decide(room.vote(row["id"], BOB))
    return row


async def refused(room, status=503):
    """The retry is refused, nobody's use is committed, and the log says so."""
    before = len(room.ledger.tables["approval_use"])
    with pytest.raises(ApprovalError) as error:
        hold = await room.desk.hold(room.asked("flow-9", at_once=True), room.alive("flow-9"))
        await room.desk.use(hold, hold.digest, room.record("flow-9"), fine)
    assert error.value.status == status
    assert len(room.ledger.tables["approval_use"]) == before
    assert "alert" in room.ledger.events()


def set_to(**values):
    return lambda room: room.only.update(values)


def give_votes(room):
    room.only.update(state="approved", execution_expires_at=room.only["expires_at"], decided_at=1)
    room.ledger.tables["approval_vote"].append(
        {"approval": room.only["id"], "person": "dev:bob", "effect": "approve", "reason": "", "channel": "rest", "via": None,
         "assurance": "oidc", "groups": '["dev:sre"]', "at": 1}
    )  # fmt: skip


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(set_to(state="approved", execution_expires_at=9 * 10**15), id="state"),
        pytest.param(give_votes, id="state-and-a-vote"),
        pytest.param(set_to(requirements='{"requirements":[]}'), id="requirements"),
        pytest.param(set_to(excluded="[]"), id="excluded"),
        pytest.param(set_to(principal_key="x\ny"), id="principal"),
        pytest.param(set_to(expires_at=9 * 10**15), id="expiry"),
        pytest.param(set_to(max_uses=5), id="max-uses"),
        pytest.param(set_to(version=7), id="version"),
        pytest.param(set_to(view=json.dumps({"operation": {"text": "GET /harmless"}})), id="what-people-see"),
        pytest.param(set_to(state="nonsense"), id="nonsense"),
    ],
)
async def test_a_pending_row_that_was_edited_can_be_neither_decided_nor_used(edit, restart):
    room = Room()
    row = dict(await pending(room))
    edit(room)
    if restart:
        room.desk = room.new_desk()
        await recover(room.desk, room.config)
    vote = replace(room.vote(row["id"], BOB), digest=row["digest"])
    with pytest.raises((ApprovalError, DecisionError)):
        await room.desk.decide(vote)
    if room.only["principal_key"] == row["principal_key"]:
        shown_other = room.only["view"] != row["view"] and not restart  # a vote proves the view, a waiting caller need not
        await refused(room, 429 if shown_other else 503)
    assert room.ledger.events().count("approved") == 0


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(set_to(uses=-1), id="uses"),
        pytest.param(set_to(max_uses=9), id="max-uses"),
        pytest.param(set_to(execution_expires_at=9 * 10**15), id="execution-expiry"),
        pytest.param(lambda room: room.ledger.tables["approval_vote"].clear(), id="votes-deleted"),
        pytest.param(lambda room: room.ledger.tables["approval_vote"][0].update(person="dev:mallory"), id="another-voter"),
        pytest.param(lambda room: room.ledger.tables["approval_vote"][0].update(assurance="file"), id="assurance"),
        pytest.param(set_to(requirements=""), id="requirements"),
        pytest.param(set_to(policy_digest="sha-256:" + "0" * 64), id="policy-digest"),
        pytest.param(set_to(digest_key_id="0" * 16), id="key-id"),
    ],
)
async def test_an_approved_row_that_was_edited_is_not_used(edit, restart):
    room = Room()
    await approved(room)
    edit(room)
    if restart:
        room.desk = room.new_desk()
        await recover(room.desk, room.config)
    await refused(room)


async def test_an_inserted_approved_row_is_not_used():
    room = Room()
    row = copy.deepcopy(await approved(room))
    room.ledger.tables["approval"].clear()
    room.ledger.log.clear()
    room.ledger.tables["approval_vote"].clear()
    room.desk = room.new_desk()
    await recover(room.desk, room.config)
    room.ledger.tables["approval"].append({**row, "id": "ap_made-up"})
    await refused(room)


async def test_a_deleted_row_is_not_opened_again_quietly():
    room = Room()
    await approved(room)
    room.ledger.tables["approval"].clear()
    await refused(room)


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
async def test_an_old_row_put_back_after_its_use_is_not_used_again(restart):
    room = Room()
    await approved(room)
    before = copy.deepcopy(room.ledger.tables)
    hold = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)
    room.ledger.tables = before
    if restart:
        room.desk = room.new_desk()
        await recover(room.desk, room.config)
    await refused(room)


@pytest.mark.parametrize("seal", [None, "", "0" * 64, "copied"])
async def test_a_forged_event_approves_nothing(seal):
    """The hash of an event is no secret: one with the database can write a whole event. It has no seal of ours."""
    room = Room()
    row = await pending(room)
    vote = {"person": "dev:bob", "effect": "approve", "channel": "rest", "via": None, "assurance": "oidc", "groups": ["dev:sre"], "at": 1}
    opening = room.ledger.log[0]
    data = {"vote": vote, "execution_expires_at": row["expires_at"], "digest": row["digest"], "before": opening.data["seal"]}
    if seal is not None:
        data["seal"] = opening.data["seal"] if seal == "copied" else seal
    room.ledger.log.append(Note("approved", row["id"], {}, data))
    give_votes(room)
    room.only.update(version=2, execution_expires_at=row["expires_at"])
    room.desk = room.new_desk()
    await recover(room.desk, room.config)
    await refused(room)


async def test_a_note_moved_from_another_approval_counts_for_nothing():
    room = Room()
    await approved(room)
    vote = room.ledger.log[-1]
    with pytest.raises(ApprovalError):
        await room.desk.hold(room.asked("flow-2", at_once=True, path="/customers/8"), room.alive())
    other = room.ledger.tables["approval"][1]
    room.ledger.log.append(replace(vote, approval=other["id"], data={**vote.data, "digest": other["digest"]}))
    other.update(state="approved", version=2, decided_at=vote.data["vote"]["at"], execution_expires_at=vote.data["execution_expires_at"])
    room.ledger.tables["approval_vote"].append({**room.ledger.tables["approval_vote"][0], "approval": other["id"]})
    room.desk = room.new_desk()
    counts = await recover(room.desk, room.config)
    assert counts["disagrees"] == 1
    with pytest.raises(ApprovalError) as error:
        await room.desk.hold(room.asked("flow-3", at_once=True, path="/customers/8"), room.alive())
    assert error.value.status == 503


def flips(row):
    """One bit of one column at a time."""
    for name, value in row.items():
        if isinstance(value, int) and not isinstance(value, bool):
            for bit in (0, 1, 7, 31):
                yield name, value ^ (1 << bit)
        elif isinstance(value, str) and value:
            for at in {0, len(value) // 2, len(value) - 1}:
                for bit in (0, 2, 5):
                    yield name, value[:at] + chr(ord(value[at]) ^ (1 << bit)) + value[at + 1 :]


async def test_no_single_bit_of_an_approved_row_can_be_turned():
    room = Room()
    row = dict(await approved(room))
    hold = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    edits = [flip for flip in flips(row) if flip[0] not in ("id", "review_state", "session_id", "trace_id")]
    assert len(edits) > 100
    for name, value in edits:
        room.ledger.tables["approval"][0] = {**row, name: value}
        try:
            await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)
        except ApprovalError:
            continue
        raise AssertionError(f"usable after an edit of {name}")
    room.ledger.tables["approval"][0] = dict(row)
    await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)


async def test_the_store_holds_nothing_that_confirms_a_guess():
    import hashlib

    room = Room()
    body = b'{"pin":"4711"}'
    from addons.core.approval.digest import content_digest

    with pytest.raises(ApprovalError) as ticket:
        await room.desk.hold(
            room.asked(at_once=True, content_digest=content_digest(body), path="/CANARY-P", query="?q=CANARY-Q"), room.alive()
        )
    stored = json.dumps(
        [room.ledger.tables, [[note.core, note.data] for note in room.ledger.log], ticket.value.extra, str(ticket.value)], default=str
    )
    assert "CANARY" not in stored
    for guess in (hashlib.sha256(body).hexdigest(), content_digest(body), hashlib.sha256(b"/CANARY-P").hexdigest()):
        assert guess not in stored


async def test_two_people_are_still_needed_after_a_restart():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    row = await pending(room)
    await room.desk.decide(room.vote(row["id"], BOB))
    room.desk = room.new_desk()
    assert await recover(room.desk, room.config) == {"kept": 1}
    with pytest.raises(DecisionError) as twice:
        await room.desk.decide(room.vote(row["id"], BOB))
    assert twice.value.code == "approval-state"
    await room.desk.decide(room.vote(row["id"], person("carol")))
    hold = await room.desk.hold(room.asked("flow-2"), room.alive())
    await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)


async def test_a_row_that_does_not_follow_its_expiry_is_told_once():
    room = Room()
    await pending(room)
    room.only["state"] = "approved"
    await room.clock.advance(4000)
    for _ in range(10):
        await room.desk.tick()
    assert room.ledger.events().count("alert") == 1
