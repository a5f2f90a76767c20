"""What people see: everything, and nothing that hides."""

import asyncio
from dataclasses import replace

import pytest

from addons.core.approval.cards import shown
from addons.core.approval.hold import View
from addons.core.errors import ApprovalError
from tests.parts.approval import ALICE, Room, fine, person

BOB = person("bob")


async def card_of(room, **view):
    base = await room._view()

    async def other():
        return replace(base, **view)

    asked = replace(room.asked(at_once=True), view=other)
    with pytest.raises(ApprovalError):
        await room.desk.hold(asked, room.alive())
    return await room.desk.card(room.ledger.tables["approval"][-1]["id"], BOB)


async def test_a_card_says_who_wants_what_why_and_what_is_missing():
    card = await card_of(Room())
    plain = card.plain()
    assert plain["operation"] == {"protocol": "http", "verb": "DELETE", "text": "DELETE /customers/7", "access": ["delete"]}
    assert plain["principal"] == {"subject": "alice", "issuer": "dev", "kind": "agent", "client_id": "planner-agent", "owner": None}
    assert plain["actors"] == ({"issuer": "http://127.0.0.1:8445", "subject": "planner"},)
    assert plain["purpose"] == {"value": "demo/tour", "source": "header", "detail": None}
    assert plain["requirements"] == ({"group": "dev:sre", "need": 1, "have": 0},)
    assert (plain["waiting_for"], plain["caller_connected"]) == ("Waiting for 1 more of dev:sre.", False)
    assert plain["reasons"] == ("Deleting a customer cannot be undone.",)
    assert (plain["created_at"], plain["expires_at"]) == ("2023-11-14T22:13:20Z", "2023-11-14T23:13:20Z")
    assert card.short_digest.replace(" ", "") == card.digest.removeprefix("hmac-sha-256:")[:12]


HOSTILE = "a\u202egpj.exe\u200b\x1b[31m<script>{{7*7}}"


async def test_hidden_characters_are_written_out_in_every_place():
    room = Room()
    view = {
        "operation": {"protocol": "http", "verb": "DELETE", "text": HOSTILE, "access": ["delete"]},
        "request": {"method": "DELETE", "scheme": "http", "authority": HOSTILE, "path": HOSTILE, "query": HOSTILE},
        "body": {"text": HOSTILE, "size": 9, "complete": True, "note": HOSTILE},
        "purpose_detail": HOSTILE,
        "reasons": (HOSTILE,),
    }
    card = await card_of(room, **view)
    told = str(card.plain())
    for hidden in "\u202e\u200b\x1b":
        assert hidden not in told
    assert told.count("\\u202e") >= 8


async def test_json_is_indented_and_nothing_of_it_is_lost():
    text = '{"a":1,"a":2,"n":1.00000000000000000001,"s":"x, {y} \\" z","l":[1,[]],"big":123456789012345678901234567890}'
    without_duplicate = text.replace('"a":2,', "")
    card = await card_of(Room(), body={"text": without_duplicate, "size": 9, "complete": True, "note": ""})
    assert '"n": 1.00000000000000000001' in card.body["text"]
    assert '"s": "x, {y} \\" z"' in card.body["text"]
    assert "123456789012345678901234567890" in card.body["text"]
    assert card.body["text"].startswith('{\n  "a": 1,\n  "n"')
    duplicate = await card_of(Room(), body={"text": text, "size": 9, "complete": True, "note": ""})
    assert duplicate.body["text"] == text  # two readers would read it differently: shown as it came


async def test_a_long_line_and_the_newline_stay():
    card = await card_of(Room(), body={"text": "x" * (1 << 20) + "\nsecond", "size": 1, "complete": True, "note": ""})
    assert card.body["text"].endswith("\nsecond")


async def test_what_came_of_it():
    room = Room()
    task = asyncio.create_task(room.desk.hold(room.asked(), room.alive()))
    await room.clock.settle()
    ident = room.only["id"]
    assert (await room.desk.card(ident, BOB)).caller_connected
    await room.desk.decide(room.vote(ident, BOB))
    hold = await task
    await room.desk.use(hold, hold.digest, room.record(), fine)
    assert (await room.desk.card(ident, BOB)).outcome == "Used 2023-11-14T22:13:20Z; it is on its way."
    await room.desk.outcome(ident, "flow-1", "unknown", 0)
    await room.desk.outcome(ident, "flow-1", "sent", 200)
    card = await room.desk.card(ident, BOB)
    assert card.outcome.endswith("nobody could say.")
    assert card.uses == ({"n": 1, "at": "2023-11-14T22:13:20Z", "outcome": "unknown", "status": 0},)
    assert [one.outcome for one in await room.desk.cards(BOB)] == [card.outcome]


async def test_lists_come_newest_first_and_in_pages():
    room = Room()
    for i in range(4):
        with pytest.raises(ApprovalError):
            await room.desk.hold(room.asked(at_once=True, path=f"/customers/{i}"), room.alive())
        await room.clock.advance(1)
    ids = [row["id"] for row in room.ledger.tables["approval"]]
    first = await room.desk.cards(BOB, limit=3)
    assert [card.id for card in first] == ids[:0:-1]
    assert [card.id for card in await room.desk.cards(BOB, limit=3, before=first[-1].id)] == ids[:1]
    assert await room.desk.cards(BOB, service="other") == []


def test_plain_data_goes_through_unchanged():
    assert shown({"a": [1, None, True, "x"]}) == {"a": [1, None, True, "x"]}
    assert isinstance(View({}, {}, {}), View)
    assert ALICE.person == "dev:alice"
