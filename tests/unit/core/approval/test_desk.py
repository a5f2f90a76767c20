"""A request waits, people decide, one use is made: the way through, and its ends."""

import asyncio

import pytest

from addons.core.errors import ApprovalError, AuditError, DecisionError
from tests.parts.approval import Room, fine, one_of, person, snapshot

BOB, CAROL = person("bob"), person("carol")


async def waiting(room: Room, asked, alive=None):
    task = asyncio.create_task(room.desk.hold(asked, alive or room.alive(asked.flow_id)))
    await room.clock.settle()
    return task


async def test_a_person_approves_and_the_request_goes_on_once():
    room = Room()
    task = await waiting(room, room.asked())
    assert not task.done()
    assert room.only["state"] == "pending"
    card = await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await task
    assert (card.state, hold.state, hold.id, hold.reviewers) == ("approved", "approved", room.only["id"], ("dev:bob",))
    await room.desk.use(hold, hold.digest, room.record(), fine)
    assert (room.only["state"], room.only["uses"]) == ("consumed", 1)
    with pytest.raises(ApprovalError) as again:
        await room.desk.use(hold, hold.digest, room.record(), fine)
    assert again.value.status == 429
    await room.desk.outcome(hold.id, "flow-1", "sent", 204)
    assert room.ledger.events() == ["requested", "approved", "used", "outcome"]
    assert (await room.desk.card(hold.id, BOB)).outcome == "Ran 2023-11-14T22:13:20Z, 204."


async def test_a_denial_ends_it_and_is_repeated_without_asking_again_for_a_while():
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB, "deny"))
    with pytest.raises(ApprovalError) as denied:
        await task
    assert (denied.value.code, denied.value.status) == ("approval-denied", 403)
    with pytest.raises(ApprovalError) as again:
        await room.desk.hold(room.asked("flow-2"), room.alive())
    assert again.value.code == "approval-denied"
    assert len(room.ledger.tables["approval"]) == 1
    await room.clock.advance(601)
    task = await waiting(room, room.asked("flow-3"))
    assert len(room.ledger.tables["approval"]) == 2
    task.cancel()


async def test_after_the_wait_the_caller_gets_a_ticket_and_the_retry_finds_its_row():
    room = Room()
    task = await waiting(room, room.asked())
    await room.clock.advance(50)
    await room.desk.tick()
    with pytest.raises(ApprovalError) as ticket:
        await task
    row = room.only
    assert (ticket.value.code, ticket.value.status, row["ticketed"]) == ("approval-pending", 429, 1)
    assert 5 <= int(ticket.value.headers["Retry-After"]) <= 30
    assert ticket.value.headers["Guardhouse-Approval"] == row["id"]
    extra = ticket.value.extra
    assert extra["status_url"] == f"https://127.0.0.1:8444/v1/approvals/{row['id']}/status"
    assert extra["approve_url"] == f"https://127.0.0.1:8444/approvals/{row['id']}"
    assert (extra["approvals"], extra["rules"], extra["digest"]) == ({"have": 0, "need": 1}, ["deletes"], row["digest"])
    assert extra["expires_at"] == "2023-11-14T23:13:20Z"
    assert str(ticket.value).startswith("One person of dev:sre must agree. Retry after ")
    await room.desk.decide(room.vote(row["id"], BOB))
    hold = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    assert (hold.id, room.views) == (row["id"], 1)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [({"wait": 120.0}, 120), ({"wait": 5000.0}, 900), ({"wait": 0.0}, 0), ({"at_once": True}, 0), ({"wait": None}, 50)],
    ids=["prefer-wait", "at-most-max-hold", "wait-0", "respond-async", "default"],
)
async def test_how_long_a_caller_waits_on_the_socket(asked, seconds):
    room = Room()
    task = await waiting(room, room.asked(**asked))
    if seconds:
        await room.clock.advance(seconds - 1)
        await room.desk.tick()
        await room.clock.settle()
        assert not task.done()
        await room.clock.advance(1)
        await room.desk.tick()
    with pytest.raises(ApprovalError, match="must agree"):
        await task


async def test_silence_means_no():
    room = Room()
    task = await waiting(room, room.asked(wait=900.0))
    await room.clock.advance(3600)
    await room.desk.tick()
    with pytest.raises(ApprovalError) as expired:
        await task
    assert (expired.value.code, room.only["state"]) == ("approval-expired", "expired")


async def test_an_approval_that_nobody_uses_expires():
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await task
    await room.clock.advance(600)
    with pytest.raises(ApprovalError):
        await room.desk.use(hold, hold.digest, room.record(), fine)
    await room.desk.tick()
    assert (room.only["state"], room.only["uses"]) == ("expired", 0)
    assert (await room.desk.card(hold.id, BOB)).outcome == "Never used, expired."


async def test_setting_the_wall_clock_back_prolongs_nothing():
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await task
    await room.clock.advance(601)
    room.clock.wall -= 3600
    with pytest.raises(ApprovalError):
        await room.desk.use(hold, hold.digest, room.record(), fine)
    await room.desk.tick()
    assert room.only["state"] == "expired"


async def test_a_client_that_left_is_never_sent_and_its_retry_uses_the_ticket():
    room = Room()
    task = await waiting(room, room.asked())
    room.gone.add("flow-1")
    room.desk.client_gone("client-flow-1")
    with pytest.raises(ApprovalError, match="left"):
        await task
    assert (room.only["state"], room.only["ticketed"]) == ("pending", 1)
    card = await room.desk.decide(room.vote(room.only["id"], BOB))
    assert card.caller_connected is False
    hold = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)


async def test_a_client_that_left_withdraws_where_the_terms_say_so():
    room = Room(config=snapshot(approvals=one_of(on_client_disconnect="cancel")))
    task = await waiting(room, room.asked())
    room.desk.client_gone("client-flow-1")
    with pytest.raises(ApprovalError):
        await task
    assert room.only["state"] == "cancelled"


async def test_a_stream_that_was_reset_is_noticed_by_the_tick():
    room = Room()
    task = await waiting(room, room.asked())
    room.gone.add("flow-1")
    await room.desk.tick()
    with pytest.raises(ApprovalError, match="left"):
        await task


async def test_a_hundred_parallel_retries_make_one_use():
    room = Room()
    tasks = [asyncio.create_task(room.desk.hold(room.asked(f"flow-{i}"), room.alive(f"flow-{i}"))) for i in range(100)]
    await room.clock.settle()
    assert len(room.ledger.tables["approval"]) == 1
    await room.desk.decide(room.vote(room.only["id"], BOB))
    await room.clock.settle()
    done = [task for task in tasks if task.done()]
    assert len(done) == 1
    hold = done[0].result()
    flow = f"flow-{tasks.index(done[0])}"
    await room.desk.use(hold, hold.digest, room.record(flow), fine)
    await room.clock.settle()
    assert [row["state"] for row in room.ledger.tables["approval"]] == ["consumed", "pending"]
    await room.clock.advance(50)
    await room.desk.tick()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, ApprovalError) for result in results) == 99
    assert {result.extra["approval_id"] for result in results if isinstance(result, ApprovalError)} == {
        room.ledger.tables["approval"][1]["id"]
    }
    assert len(room.ledger.tables["approval_use"]) == 1


async def test_parallel_uses_of_one_hold_commit_once():
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await task
    uses = [room.desk.use(hold, hold.digest, room.record(f"flow-{i}"), fine) for i in range(100)]
    results = await asyncio.gather(*uses, return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert len(room.ledger.tables["approval_use"]) == 1


async def test_a_flow_that_failed_before_its_use_frees_the_approval_for_the_retry():
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))
    await task
    room.gone.add("flow-1")  # the credential could not be had: 502, the use was never committed
    hold = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)
    assert room.only["uses"] == 1


async def test_the_last_check_before_the_commit_can_stop_it():
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await task

    def client_left() -> None:
        raise ApprovalError("gone")

    with pytest.raises(ApprovalError, match="gone"):
        await room.desk.use(hold, hold.digest, room.record(), client_left)
    assert (room.only["state"], room.only["uses"]) == ("approved", 0)


async def test_another_digest_or_principal_at_use_is_refused_with_an_alert():
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await task
    with pytest.raises(ApprovalError) as changed:
        await room.desk.use(hold, room.desk.digest_of(room.facts(path="/customers/8")), room.record(), fine)
    assert (changed.value.code, changed.value.status) == ("request-changed", 403)
    assert (room.ledger.events()[-1], room.only["uses"]) == ("alert", 0)


async def test_a_stop_answers_everybody_with_a_ticket_that_survives():
    room = Room(config=snapshot(approvals=one_of(max_pending_per_principal=200, max_openings_per_hour=200)))
    tasks = [await waiting(room, room.asked(f"flow-{i}", path=f"/customers/{i}")) for i in range(100)]
    await room.desk.drain()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {(error.code, error.status) for error in results} == {("shutting-down", 503)}
    assert len({error.extra["approval_id"] for error in results}) == 100
    assert all(row["ticketed"] for row in room.ledger.tables["approval"])


async def test_a_held_body_has_a_limit():
    room = Room()
    with pytest.raises(ApprovalError) as large:
        await room.desk.hold(room.asked(size=(1 << 20) + 1), room.alive())
    assert (large.value.code, large.value.status) == ("body-too-large-to-hold", 413)
    assert room.ledger.tables["approval"] == []


async def test_the_requester_withdraws_by_denying():
    room = Room()
    task = await waiting(room, room.asked())
    me = person("alice", "dev:support")
    card = await room.desk.decide(room.vote(room.only["id"], me, "deny", reason=""))
    assert card.state == "cancelled"
    with pytest.raises(ApprovalError, match="withdrawn"):
        await task


async def test_a_store_that_fails_refuses_and_approves_nothing():
    room = Room()
    task = await waiting(room, room.asked())
    room.ledger.broken = True
    with pytest.raises(ApprovalError) as refused:
        await room.desk.hold(room.asked("flow-2"), room.alive())
    assert (refused.value.code, refused.value.status) == ("approval-unavailable", 503)
    with pytest.raises(ApprovalError):
        await room.desk.decide(room.vote(room.only["id"], BOB))
    room.ledger.broken = False
    assert room.only["state"] == "pending"
    await room.desk.decide(room.vote(room.only["id"], BOB))
    assert (await task).state == "approved"


async def test_a_long_poll_answers_when_something_changes():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    await waiting(room, room.asked())
    poll = asyncio.create_task(room.desk.card(room.only["id"], BOB, wait=30, version=1))
    await room.clock.settle()
    assert not poll.done()
    await room.desk.decide(room.vote(room.only["id"], CAROL))
    assert ((await poll).version, (await poll).have) == (2, 1)


async def test_a_vote_on_something_unknown():
    room = Room()
    with pytest.raises(DecisionError) as unknown:
        await room.desk.decide(room.vote("ap_none", BOB))
    assert unknown.value.status == 404


async def test_a_client_that_leaves_between_two_waits_is_noticed():
    room = Room(config=snapshot(approvals=one_of(count=2)))
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))  # wakes the wait, which begins anew at the next turn of the loop
    room.desk.client_gone("client-flow-1")
    with pytest.raises(ApprovalError, match="left"):
        await asyncio.wait_for(task, 5)


def hanging(event):
    """The commit of this event ends in an error, once."""
    left = [1]

    def fault(note):
        if note.event == event and left:
            left.pop()
            raise AuditError(detail="the disk hangs")

    return fault


@pytest.mark.parametrize("written", [False, True], ids=["nothing-was-written", "it-was-written-all-the-same"])
async def test_a_use_of_which_nobody_knows_whether_it_was_written_is_not_made_twice(written):
    room = Room()
    task = await waiting(room, room.asked())
    await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await task
    setattr(room.ledger, "after_commit" if written else "before_commit", hanging("used"))
    with pytest.raises(ApprovalError) as doubt:
        await room.desk.use(hold, hold.digest, room.record(), fine)
    assert doubt.value.code == "approval-unavailable"
    room.gone.add("flow-1")
    if not written:
        again = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
        await room.desk.use(again, again.digest, room.record("flow-2"), fine)
    else:
        with pytest.raises(ApprovalError) as refused:
            await room.desk.hold(room.asked("flow-2", at_once=True), room.alive("flow-2"))
        assert refused.value.code == "approval-pending"
        assert [row["state"] for row in room.ledger.tables["approval"]] == ["consumed", "pending"]
    assert len(room.ledger.tables["approval_use"]) == 1


async def test_a_vote_of_which_nobody_knows_whether_it_was_written_counts_once():
    room = Room()
    task = await waiting(room, room.asked())
    room.ledger.after_commit = hanging("approved")
    with pytest.raises(ApprovalError):
        await room.desk.decide(room.vote(room.only["id"], BOB))
    hold = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    await room.desk.use(hold, hold.digest, room.record("flow-2"), fine)
    assert room.only["uses"] == 1
    task.cancel()


async def test_who_waits_learns_of_a_denial_whose_commit_ended_in_an_error():
    room = Room()
    task = await waiting(room, room.asked())
    room.ledger.after_commit = hanging("denied")
    with pytest.raises(ApprovalError):
        await room.desk.decide(room.vote(room.only["id"], BOB, "deny"))
    await room.desk.tick()
    with pytest.raises(ApprovalError) as denied:
        await asyncio.wait_for(task, 5)
    assert denied.value.code == "approval-denied"
