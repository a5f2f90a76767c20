"""Reading with the real log: role, the event before the answer, what is answered."""

import asyncio
import base64
import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from addons.core.audit import events
from addons.core.audit.log import AuditLog
from addons.core.config import model
from addons.core.recording import skeleton
from addons.core.services.credentials.keyring import KeyRing
from tests import harness
from tests.parts.control import Bench, FakeStore, bearer

FLOW = "018bcfe5-6800-7000-8000-000000000001"
WHO = {"issuer": "http://127.0.0.1:8445", "issuer_alias": "dev", "subject": "alice", "kind": "agent"}
ANSWER = b'{"name":"[MASKED:PERSON]","city":"Z\xc3\xbcrich"}'


async def opened(tmp_path, clock):
    terms = model.AuditTerms(database=tmp_path / "audit.db", origin="guardhouse.example/test/r1", anchor_files=(tmp_path / "notes",))
    (tmp_path / "state").mkdir(mode=0o700)
    return await AuditLog.open(terms, tmp_path / "state", KeyRing(b"r" * 32, {}), clock, "sha-256:0")


def skeleton_of(flow_id):
    flow = harness.live_flow("DELETE", "/customers/7")
    flow.response = harness.http.Response.make(200, b"", {"Content-Type": "application/json"})
    state = flow.get_state()
    state["id"] = flow_id
    return skeleton.strip(state, lambda text: text)


async def write_a_flow(log):
    core = {"flow": FLOW, "service": "crm", "verb": "DELETE", "effect": "hold", "rules": ["customer-deletes-are-held"], "trace": "ab" * 16}
    told = {
        "principal": events.json_field(WHO),
        "purpose": events.json_field({"label": "support/4711", "source": "header"}),
        "path": b"/customers/7",
    }
    await log.append(events.make("RequestReceived", "http", core, told), reserve=True)
    end = {**core, "status": 200, "bytes": 36, "dur_us": 12_500, "masked": {"PERSON": 1}, "masking_complete": True}
    fields = {"principal": told["principal"], "response.body": ANSWER, "skeleton": skeleton_of(FLOW)}
    return await log.append(events.make("ResponseComplete", "http", end, fields), release=True)


@pytest.fixture
async def bench(tmp_path):
    made = Bench(database=tmp_path / "audit.db")
    log = await opened(tmp_path, made.clock)
    await write_a_flow(log)
    yield replace(made, store=log)
    await log.close()


async def reads(bench):
    """The events about reading, as the store has them: verb, who, query, reason."""
    found = await asyncio.to_thread(read_rows, bench.database)
    return [row for row in found if row[0] in ("search", "show", "sessions", "export")]


def read_rows(database):
    from addons.core.audit.reader import Reader

    with Reader.open(database) as reader:
        rows = reader.events("kind IN (13, 14)", ())
    kinds = {events.KINDS["read"], events.KINDS["export"]}
    assert kinds == {13, 14}
    return [
        (
            row.core["verb"],
            json.loads(row.fields["principal"])["subject"],
            row.fields.get("query", b"").decode(),
            row.fields.get("reason", b"").decode(),
        )
        for row in rows
    ]


async def test_search_finds_the_flow_and_was_written_down_first(bench):
    async with bench.client() as client:
        answer = await client.get("/v1/search", params={"q": "principal:dev:alice status:200", "reason": "CASE-1"}, headers=bearer("carol"))
    found = answer.json()["events"]
    assert [(hit["stage"], hit["principal"], hit["service"], hit["verb"], hit["status"], hit["masked"]) for hit in found] == [
        ("ResponseComplete", "dev:alice", "crm", "DELETE", 200, {"PERSON": 1})
    ]
    assert answer.json()["next"] is None
    assert await reads(bench) == [("search", "carol", "principal:dev:alice status:200", "CASE-1")]


async def test_pages_of_a_search_follow_each_other(bench):
    async with bench.client() as client:
        first = (await client.get("/v1/search?q=kind:http&limit=1", headers=bearer("carol"))).json()
        second = (await client.get(f"/v1/search?q=kind:http&limit=1&before={first['next']}", headers=bearer("carol"))).json()
    assert [first["events"][0]["stage"], second["events"][0]["stage"]] == ["ResponseComplete", "RequestReceived"]


async def test_what_was_searched_for_is_masked_before_it_is_written(bench):
    async with bench.client() as client:
        await client.get("/v1/search", params={"q": "jane@example.com", "reason": "jane@example.com complained"}, headers=bearer("carol"))
    assert await reads(bench) == [("search", "carol", "[MASKED]", "[MASKED] complained")]
    assert not [file.name for file in bench.database.parent.iterdir() if file.is_file() and b"jane@example.com" in file.read_bytes()]


@pytest.mark.parametrize("path", ["/v1/search", f"/v1/flows/{FLOW}", "/v1/sessions", "/v1/export"])
async def test_only_investigators_read(bench, path):
    async with bench.client() as client:
        for token, status in (("bob", 403), ("alice", 403), ("alice-data", 401), (None, 401)):
            answer = await client.get(path, headers=bearer(token) if token else {})
            assert answer.status_code == status
            assert "customers" not in answer.text
    assert await reads(bench) == []


@pytest.mark.parametrize("path", ["/v1/search", f"/v1/flows/{FLOW}", "/v1/sessions", "/v1/export"])
async def test_what_cannot_be_recorded_is_not_shown(bench, path):
    broken = FakeStore()
    broken.is_broken = True
    bench = replace(bench, store=broken)
    async with bench.client() as client:
        answer = await client.get(path, headers=bearer("carol"))
    assert (answer.status_code, answer.json()["code"]) == (503, "audit-unavailable")
    assert "customers" not in answer.text


@pytest.mark.parametrize(("reason", "status"), [("", 422), ("  ", 422), ("CASE-1", 200)])
async def test_a_reason_may_be_required(bench, reason, status):
    control = replace(bench.snapshot.gateway.control, require_reason=True)
    bench = replace(bench, snapshot=harness.snapshot(control=control))
    async with bench.client() as client:
        answer = await client.get("/v1/search", params={"reason": reason}, headers=bearer("carol"))
    assert answer.status_code == status


async def test_a_flow_is_shown_whole_by_its_id_or_a_number_of_its_events(bench):
    async with bench.client() as client:
        by_id = (await client.get(f"/v1/flows/{FLOW}", headers=bearer("carol"))).json()
        seq = by_id["events"][0]["seq"]
        by_number = (await client.get(f"/v1/flows/{seq}", headers=bearer("carol"))).json()
    assert by_id == by_number
    assert (by_id["id"], by_id["stage"]) == (FLOW, "ResponseComplete")
    assert [event["stage"] for event in by_id["events"]] == ["RequestReceived", "ResponseComplete"]
    assert by_id["events"][1]["fields"]["response.body"] == {"name": "[MASKED:PERSON]", "city": "Zürich"}


@pytest.mark.parametrize("flow_id", ["018bcfe5-6800-7000-8000-00000000000f", "999999", "nothing", "x" * 65, "'; DROP TABLE event"])
async def test_a_flow_that_is_not_there_is_404(bench, flow_id):
    async with bench.client() as client:
        answer = await client.get(f"/v1/flows/{flow_id}", headers=bearer("carol"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "path",
    ["/v1/search?q=colour:red", "/v1/sessions?q=colour:red", "/v1/export?q=colour:red", "/v1/search?limit=0", "/v1/export?format=xml"],
)
async def test_a_query_that_cannot_be_understood_says_so(bench, path):
    async with bench.client() as client:
        answer = await client.get(path, headers=bearer("carol"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_an_export_streams_every_event_as_a_line(bench):
    async with bench.client() as client:
        answer = await client.get("/v1/export?q=kind:http", headers=bearer("carol"))
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [row["core"]["stage"] for row in rows] == ["ResponseComplete", "RequestReceived"]
    assert all(len(row["leaf"]) == 64 and "skeleton" not in row["fields"] for row in rows)
    assert await reads(bench) == [("export", "carol", "kind:http", "")]


async def test_a_flow_export_carries_what_a_flow_file_needs(bench):
    async with bench.client() as client:
        answer = await client.get("/v1/export?format=flows", headers=bearer("carol"))
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["flow"] for row in rows] == [FLOW]
    assert base64.b64decode(rows[0]["response_body"]) == ANSWER
    assert rows[0]["facts"]["guardhouse-principal"] == "dev:alice"
    assert rows[0]["facts"]["guardhouse-purpose"] == "support/4711"
    assert skeleton.inflate(base64.b64decode(rows[0]["skeleton"]), b"", ANSWER)["id"] == FLOW


async def test_an_edited_event_is_not_shown_as_evidence(bench):
    await bench.store.close()
    with closing(sqlite3.connect(bench.database)) as db, db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE event SET core = CAST(replace(CAST(core AS TEXT), 'hold', 'deny') AS BLOB) WHERE flow IS NOT NULL")
    bench = replace(bench, store=FakeStore())
    async with bench.client() as client:
        answer = await client.get(f"/v1/flows/{FLOW}", headers=bearer("carol"))
    assert (answer.status_code, answer.json()["code"]) == (503, "audit-unavailable")
    assert "guardhouse verify" in answer.json()["detail"]
