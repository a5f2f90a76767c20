"""A message of an integration counts once, signed, fresh, and for the people it may speak for."""

import asyncio
import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from addons.core.approval import webhooks
from addons.core.config import model
from addons.core.errors import DecisionError
from tests.parts.approval import Room, one_of, snapshot

OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
OTHER = "whsec_" + base64.b64encode(bytes([9]) * 32).decode()
REFS = (model.Reference("env", NEW, "a"), model.Reference("env", OLD, "b"))


def room_with_integration(**more):
    config = snapshot(approvals=one_of(**more))
    integration = model.Integration("demo", REFS, ("dev:bob",))
    people = {"dev:bob": ("dev:sre",), "dev:carol": ("dev:sre",)}
    return Room(config=replace(config, approvals=replace(config.approvals, integrations={"demo": integration}, people=people)))


async def held(room):
    task = asyncio.create_task(room.desk.hold(room.asked(), room.alive()))
    await room.clock.settle()
    return task, room.only


def body_of(row, **changes):
    data = {
        "approval_id": row["id"],
        "digest": row["digest"],
        "effect": "approve",
        "reason": "agreed in the change board",
        "person": "dev:bob",
    }
    return json.dumps({"type": "approval.decision", "timestamp": "2023-11-14T22:13:20Z", "data": {**data, **changes}}).encode()


def signed(room, body, secret=NEW, ident="msg_1", late=0, text=None):
    """Headers by the reference library."""
    at = datetime.fromtimestamp(int(room.clock.now()) - late, UTC)
    stamp = text or str(int(at.timestamp()))
    return {
        "Webhook-Id": ident,
        "Webhook-Timestamp": stamp,
        "Webhook-Signature": Webhook(secret).sign(ident, at, body.decode("utf-8", "replace")),
    }


@pytest.mark.parametrize("secret", [NEW, OLD], ids=["the-new-secret", "the-old-one-too"])
async def test_a_message_signed_by_the_reference_library_counts(secret):
    room = room_with_integration()
    task, row = await held(room)
    body = body_of(row)
    await room.desk.webhook("demo", signed(room, body, secret), body)
    hold = await task
    assert hold.reviewers == ("dev:bob",)
    (vote,) = room.ledger.tables["approval_vote"]
    assert (vote["channel"], vote["via"], vote["assurance"]) == ("webhook", "integration:demo", "integration")


async def test_one_good_signature_of_two_is_enough():
    room = room_with_integration()
    task, row = await held(room)
    body = body_of(row)
    headers = signed(room, body)
    headers["Webhook-Signature"] = "v1,AAAA v2,unknown " + headers["Webhook-Signature"]
    await room.desk.webhook("demo", headers, body)
    assert (await task).state == "approved"


@pytest.mark.parametrize(
    ("integration", "change"),
    [
        pytest.param("demo", lambda h, b: (h | {"Webhook-Signature": ""}, b), id="no-signature"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Signature": "v1,!!!notbase64"}, b), id="bad-base64"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Signature": "v1,é"}, b), id="signature-not-ascii"),
        pytest.param(
            "demo", lambda h, b: (h | {"Webhook-Signature": h["Webhook-Signature"].replace("v1,", "v1a,")}, b), id="another-version"
        ),
        pytest.param("demo", lambda h, b: (h, b + b" "), id="one-byte-more"),
        pytest.param("demo", lambda h, b: (h, b.replace(b"dev:bob", b"dev:eve")), id="another-person"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Id": "msg_2"}, b), id="another-id"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Id": ""}, b), id="no-id"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Timestamp": h["Webhook-Timestamp"] + ".0"}, b), id="float-time"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Timestamp": "1e9"}, b), id="exponent-time"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Timestamp": "９" * 10}, b), id="other-digits"),
        pytest.param("demo", lambda h, b: (h | {"Webhook-Timestamp": ""}, b), id="no-time"),
        pytest.param("demo", lambda h, b: ({}, b), id="no-headers"),
        pytest.param("unknown", lambda h, b: (h, b), id="unknown-integration"),
    ],
)
async def test_what_is_not_signed_gets_one_and_the_same_answer(integration, change):
    room = room_with_integration()
    task, row = await held(room)
    body = body_of(row)
    headers, sent = change(signed(room, body), body)
    with pytest.raises(DecisionError) as refused:
        await room.desk.webhook(integration, headers, sent)
    assert (refused.value.code, refused.value.status, str(refused.value)) == ("unsigned", 401, "The message does not count.")
    assert room.ledger.tables["approval_vote"] == []
    task.cancel()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xfe", id="not-utf-8"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b'{"type":"approval.decision","type":"x","timestamp":"t","data":{}}', id="duplicate-key"),
        pytest.param(b'{"type":"approval.other","timestamp":"t","data":{}}', id="another-type"),
        pytest.param(b'{"type":"approval.decision","timestamp":"t","data":{"approval_id":1}}', id="wrong-types"),
    ],
)
async def test_a_signed_message_of_another_shape_gets_it_too(body):
    room = room_with_integration()
    import hashlib
    import hmac

    stamp = str(int(room.clock.now()))
    key = webhooks.key_of(NEW.encode())
    signature = base64.b64encode(hmac.new(key, b"m." + stamp.encode() + b"." + body, hashlib.sha256).digest()).decode()
    with pytest.raises(DecisionError) as refused:
        await room.desk.webhook("demo", {"webhook-id": "m", "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}, body)
    assert refused.value.status == 401


@pytest.mark.parametrize("late", [301, -301])
async def test_late_and_early_messages_do_not_count(late):
    room = room_with_integration()
    task, row = await held(room)
    body = body_of(row)
    with pytest.raises(DecisionError) as refused:
        await room.desk.webhook("demo", signed(room, body, late=late), body)
    assert refused.value.code == "unsigned"
    task.cancel()


async def test_a_person_who_is_not_listed_cannot_be_spoken_for():
    room = room_with_integration()
    task, row = await held(room)
    body = body_of(row, person="dev:carol")
    with pytest.raises(DecisionError) as refused:
        await room.desk.webhook("demo", signed(room, body), body)
    assert refused.value.code == "unsigned"
    task.cancel()


async def test_a_repeated_message_does_not_count_also_after_a_restart():
    room = room_with_integration(count=2)
    task, row = await held(room)
    body = body_of(row)
    headers = signed(room, body)
    await room.desk.webhook("demo", headers, body)
    room.desk.client_gone("client-flow-1")
    with pytest.raises(Exception, match="left"):
        await task
    for desk in (room.desk, room.new_desk()):
        with pytest.raises(DecisionError) as refused:
            await desk.webhook("demo", headers, body)
        assert refused.value.code == "unsigned"


async def test_a_secret_that_is_too_short_signs_nothing():
    with pytest.raises(Exception, match="credential"):
        webhooks.key_of(b"whsec_" + base64.b64encode(b"short"))
