"""The control plane in front of the real desk: from a held request to what came of it."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from addons.core.config import model
from addons.core.errors import ApprovalError
from tests.parts.approval import ALICE, Room, fine, one_of, snapshot
from tests.parts.control import DATA, FORM, Bench, bearer, csrf_of

REASON = "CHG-4711 agreed in the change board"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
DEMO = model.Integration("demo", (model.Reference("env", SECRET, "demo"),), ("dev:bob",))


async def held(**parts):
    """A room in which Alice's agent has asked for a delete and got a ticket, and the control plane before it."""
    room = Room(**parts)
    bench = Bench(snapshot=room.config, desk=room.desk, clock=room.clock)
    bench.identity.add("planner-data", ALICE, DATA)
    with pytest.raises(ApprovalError):
        await room.desk.hold(room.asked(at_once=True), room.alive())
    return room, bench


def decision(room, effect="approve", **changes):
    return {"effect": effect, "digest": room.only["digest"], "reason": REASON} | changes


async def page_vote(bench, room, token="bob", effect="approve"):
    path = f"/approvals/{room.only['id']}"
    async with bench.signed_in(token) as browser:
        page = await browser.get(path)
        fields = {"csrf": csrf_of(page.text), "digest": room.only["digest"], "effect": effect, "reason": REASON}
        return page, await browser.post(path, data=fields, headers=FORM), await browser.get(path)


async def test_from_the_page_to_the_outcome():
    room, bench = await held()
    page, answer, after = await page_vote(bench, room)
    assert "DELETE /customers/7" in page.text
    assert "<b>dev:planner</b>, for <b>dev:alice</b>, wants to" in page.text
    assert (answer.status_code, room.only["state"]) == (303, "approved")
    assert "1 of 1 from dev:sre" in after.text
    state = await room.desk.hold(room.asked("flow-2"), room.alive("flow-2"))
    await room.desk.use(state, state.digest, room.record("flow-2"), fine)
    await room.desk.outcome(state.id, "flow-2", "sent", 204)
    async with bench.signed_in("bob") as browser:
        card = (await browser.get(f"/approvals/{state.id}")).text
        listed = (await browser.get("/approvals")).text
    for text in (card, listed):
        assert "approved and used" in text
        assert "Ran 2023-11-14T22:13:20Z, 204." in text


async def test_what_was_approved_and_never_used_says_so():
    room, bench = await held()
    await page_vote(bench, room)
    await room.clock.advance(601)
    await room.desk.tick()
    async with bench.signed_in("bob") as browser:
        card = (await browser.get(f"/approvals/{room.only['id']}")).text
        listed = (await browser.get("/approvals")).text
    async with bench.client() as client:
        told = (await client.get(f"/v1/approvals/{room.only['id']}", headers=bearer("bob"))).json()
    assert "Never used, expired." in card
    assert "Never used, expired." in listed
    assert (told["state"], told["outcome"]) == ("expired", "Never used, expired.")


async def test_what_could_not_be_masked_is_not_shown_and_cannot_be_approved():
    room, bench = await held(complete=False)
    page, answer, _ = await page_vote(bench, room)
    async with bench.client() as client:
        rest = await client.post(f"/v1/approvals/{room.only['id']}/decision", json=decision(room), headers=bearer("bob"))
        denied = await client.post(f"/v1/approvals/{room.only['id']}/decision", json=decision(room, "deny"), headers=bearer("bob"))
    assert 'value="approve" disabled>' in page.text
    assert "could not be masked and shown in full" in page.text
    assert answer.status_code in (403, 409, 422)
    assert rest.status_code == answer.status_code
    assert (denied.status_code, denied.json()["state"]) == (200, "denied")


@pytest.mark.parametrize("effect", ["approve", "deny"])
async def test_an_agent_in_the_group_decides_nothing(effect):
    room, bench = await held()
    async with bench.client() as client:
        answer = await client.post(f"/v1/approvals/{room.only['id']}/decision", json=decision(room, effect), headers=bearer("robot"))
    assert (answer.status_code, answer.json()["code"], room.only["state"]) == (403, "not-a-person", "pending")


@pytest.mark.parametrize(
    ("token", "status"),
    [("planner-data", 200), ("alice-data", 200), ("dave-data", 404), ("bob-data", 404), ("bob", 404), (None, 401)],
)
async def test_the_status_url_answers_its_caller_alone(token, status):
    room, bench = await held()
    async with bench.client() as client:
        answer = await client.get(f"/v1/approvals/{room.only['id']}/status", headers=bearer(token) if token else {})
    assert answer.status_code == status
    if status == 200:
        assert sorted(answer.json()) == ["have", "id", "need", "retry_after", "state"]
        assert answer.headers["retry-after"] == str(answer.json()["retry_after"])


async def test_two_reviewers_are_needed_and_the_same_one_twice_is_not_two():
    room, bench = await held(config=snapshot(approvals=one_of(count=2, assurance="oidc")))
    async with bench.client() as client:
        path = f"/v1/approvals/{room.only['id']}/decision"
        first = await client.post(path, json=decision(room), headers=bearer("bob"))
        again = await client.post(path, json=decision(room), headers=bearer("bob"))
        second = await client.post(path, json=decision(room), headers=bearer("carol"))
    assert (first.json()["state"], first.json()["requirements"]) == ("pending", [{"group": "dev:sre", "need": 2, "have": 1}])
    assert (again.status_code, again.json()["code"]) == (409, "approval-state")
    assert second.json()["state"] == "approved"


async def test_another_reviewers_reason_is_hidden_before_ones_own_vote():
    room, bench = await held(config=snapshot(approvals=one_of(count=2, assurance="oidc")))
    async with bench.client() as client:
        await client.post(f"/v1/approvals/{room.only['id']}/decision", json=decision(room), headers=bearer("bob"))
    async with bench.signed_in("carol") as browser:
        page = (await browser.get(f"/approvals/{room.only['id']}")).text
    assert "dev:bob: <b>approve</b>" in page
    assert REASON not in page


def webhook_of(room, *, ident="msg-1", effect="approve", at=None, body=None):
    data = {"approval_id": room.only["id"], "digest": room.only["digest"], "effect": effect, "reason": REASON, "person": "dev:bob"}
    now = datetime.fromtimestamp(room.clock.now(), UTC) if at is None else at
    raw = json.dumps({"type": "approval.decision", "timestamp": now.isoformat(), "data": data}) if body is None else body
    signature = Webhook(SECRET).sign(ident, now, raw)
    return raw, {"webhook-id": ident, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


async def test_a_webhook_signed_by_the_reference_library_decides_once():
    config = snapshot()
    room, bench = await held(
        config=replace(config, approvals=replace(config.approvals, integrations={"demo": DEMO}, people={"dev:bob": ("dev:sre",)}))
    )
    raw, headers = webhook_of(room)
    async with bench.client() as client:
        changed = await client.post("/v1/webhooks/demo", content=raw.replace("approve", "deny"), headers=headers)
        doubled = await client.post("/v1/webhooks/demo", content=raw, headers=[*headers.items(), ("webhook-id", "other")])
        good = await client.post("/v1/webhooks/demo", content=raw, headers=headers)
        replayed = await client.post("/v1/webhooks/demo", content=raw, headers=headers)
        unknown = await client.post("/v1/webhooks/nobody", content=raw, headers=headers)
    assert [answer.status_code for answer in (changed, doubled, good, replayed, unknown)] == [401, 401, 204, 401, 401]
    assert {answer.text for answer in (changed, doubled, replayed, unknown)} == {changed.text}
    assert room.only["state"] == "approved"
