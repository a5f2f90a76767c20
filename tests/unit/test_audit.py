"""The shells Intent and Outcome: one begin, one end of the right stage, and nothing unmasked (acceptance row 7)."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from mitmproxy import flow as mitmflow
from mitmproxy import http

from addons.audit import Intent, Outcome
from addons.core import exchange
from addons.core.errors import (
    ApprovalError,
    AuditError,
    GuardhouseError,
    MaskingError,
    PolicyDeniedError,
    TokenInvalid,
    UpstreamError,
    ValidationError,
)
from addons.core.exchange import Access, Decision, Effect, HoldState, Operation, Principal, Redacted, Trace
from addons.host import gate
from addons.host.fail_closed import guard, open_record, refuse
from addons.host.runtime import Runtime
from tests import harness
from tests.parts import audit

EMAIL = "ana.canary@corp.example"


class Redactor:
    """Masks the one value that these tests send."""

    complete = True

    def redact(self, data, media_type, service):
        return Redacted(data.replace(EMAIL.encode(), b"<EMAIL>"), complete=self.complete)

    def is_quick(self, data, media_type, service):
        return True

    def redact_text(self, text, service):
        return text.replace(EMAIL, "<EMAIL>")


@asynccontextmanager
async def audited(folder, **values):
    """A runtime with an open log, and both shells guarded."""
    runtime = harness.runtime()
    runtime.chain = ("guardhouse-intent", "guardhouse-outcome")
    runtime.keys = audit.Ring()
    runtime.redactor = Redactor()
    runtime.store = await audit.open_log(folder, runtime.clock, **values)
    try:
        yield runtime, guard(Intent(runtime)), guard(Outcome(runtime))
    finally:
        await runtime.store.close()


def asked(runtime, principal=True, decision=Effect.ALLOW, level="RequestResponse", **flow):
    """A flow as it stands before the intent."""
    told = {
        "method": "POST",
        "path": f"/customers/42?q={EMAIL}",
        "headers": [("User-Agent", EMAIL), ("X-Api-Key", "k3y")],
        "body": EMAIL.encode(),
    }
    live = harness.live_flow(**(told | flow))
    live.client_conn.timestamp_end = None
    live.client_conn.state = live.client_conn.state.OPEN
    open_record(runtime, live)
    record = exchange.read(live.metadata)
    if principal:
        record.principal = Principal("http://127.0.0.1:8445", "dev", "ana", kind="agent", attributes={"run_id": "17"})
        record.session_id, record.purpose, record.purpose_source = "s1", "support/4711", "header"
        record.trace = Trace("ab" * 16, "cd" * 8)
        record.service = "crm"
        record.operation = Operation(
            "http", "POST", f"POST /customers/42 {EMAIL}", frozenset({Access.WRITE}), ("/customers/42",), {"query": EMAIL}
        )
        record.decision = Decision(decision, ("writes-crm",), ("pii",), audit_level=level, policy_digest=runtime.snapshot.digest)
    exchange.write(live.metadata, record)
    return live


def answered(flow, status=200, body=b'{"email": "ana.canary@corp.example"}'):
    """The upstream's answer, as masking and arrival left it."""
    gate.of(flow).departed = gate.of(flow).receipt = True
    gate.of(flow).received = {"hmac": "hmac-sha-256:" + "0" * 64, "bytes": 99}
    flow.response = http.Response.make(status, body, {"Content-Type": "application/json", "Set-Cookie": "s=1"})


async def events_of(runtime, flow):
    return await runtime.store.events(flow=exchange.read(flow.metadata).id)


async def test_the_intent_is_durable_and_says_what_is_asked(tmp_path):
    async with audited(tmp_path) as (runtime, intent, _):
        flow = asked(runtime)
        await intent.request(flow)
        (event,) = await events_of(runtime, flow)
        assert gate.of(flow).intent_seq == event.seq
        told = {name: value for name, value in event.core.items() if name not in ("boot", "mono_us", "flow", "snapshot", "policy_digest")}
        assert told == {
            "v": 1, "ts_us": 1_700_000_000_000_000, "stage": "RequestReceived", "kind": "http", "replica": "r1", "session": "s1",
            "trace": "ab" * 16, "span": "cd" * 8, "service": "crm", "protocol": "http", "verb": "POST", "access": ["write"], "effect": "allow",
            "rules": ["writes-crm"], "obligations": ["pii"], "masking_complete": True,
        }  # fmt: skip
        assert event.fields["path"] == b"/customers/42"
        assert event.fields["query"] == b"q=<EMAIL>"
        assert event.fields["request.body"] == b"<EMAIL>"
        assert json.loads(event.fields["purpose"]) == {"label": "support/4711", "source": "header"}
        assert json.loads(event.fields["principal"]) == {
            "issuer": "http://127.0.0.1:8445", "issuer_alias": "dev", "subject": "ana", "kind": "agent", "method": "jwt", "attributes": {"run_id": "17"},
        }  # fmt: skip
        assert json.loads(event.fields["request.headers"])["x-api-key"] == ["<withheld>"]


async def test_the_end_says_what_was_sent_received_and_given(tmp_path):
    async with audited(tmp_path) as (runtime, intent, outcome):
        flow = asked(runtime)
        await intent.request(flow)
        answered(flow)
        await outcome.response(flow)
        _, event = await events_of(runtime, flow)
        assert (event.stage, event.core["status"], event.core["bytes"]) == ("ResponseComplete", 200, 36)
        assert event.fields["response.body"] == b'{"email": "<EMAIL>"}'
        assert json.loads(event.fields["response.received"]) == {"hmac": "hmac-sha-256:" + "0" * 64, "bytes": 99}
        assert json.loads(event.fields["request.sent"])["bytes"] == len(EMAIL)
        assert json.loads(event.fields["response.digest"])["length"] == 20
        assert event.fields["skeleton"]
        assert gate.of(flow).terminal
        assert exchange.read(flow.metadata).outcome == exchange.Outcome(200, None, 36)
    assert audit.verdict(tmp_path).exit_code == 0


async def test_nothing_unmasked_reaches_the_file(tmp_path):
    async with audited(tmp_path) as (runtime, intent, outcome):
        flow = asked(runtime)
        await intent.request(flow)
        answered(flow)
        await outcome.response(flow)
        await runtime.store.close()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert EMAIL.encode() not in data
            assert b"k3y" not in data


@pytest.mark.parametrize(
    ("level", "bodies"), [("Metadata", set()), ("Request", {"request.body"}), ("RequestResponse", {"request.body", "response.body"})]
)
async def test_the_level_says_which_bodies_are_kept(tmp_path, level, bodies):
    async with audited(tmp_path) as (runtime, intent, outcome):
        flow = asked(runtime, level=level)
        await intent.request(flow)
        answered(flow)
        await outcome.response(flow)
        found = {name for event in await events_of(runtime, flow) for name in event.fields}
        assert found & {"request.body", "response.body"} == bodies
        assert "response.digest" in found


REFUSALS = [
    pytest.param(ValidationError(), "Denied", 400, id="malformed"),
    pytest.param(TokenInvalid(), "Denied", 401, id="identity"),
    pytest.param(PolicyDeniedError(detail="rule x"), "Denied", 403, id="policy"),
    pytest.param(ApprovalError(), "Denied", 429, id="approval-pending"),
    pytest.param(GuardhouseError(detail="boom"), "Panic", 503, id="ours"),
    pytest.param(MaskingError(), "Panic", 502, id="masking"),
    pytest.param(UpstreamError(), "Failed", 502, id="upstream"),
    pytest.param(GuardhouseError(code="shutting-down"), "Interrupted", 503, id="stopping"),
]


@pytest.mark.parametrize(("error", "stage", "status"), REFUSALS)
@pytest.mark.parametrize("begun", [False, True], ids=["before-the-intent", "after-the-intent"])
async def test_a_refusal_is_one_end_of_the_right_stage(tmp_path, error, stage, status, begun):
    async with audited(tmp_path) as (runtime, intent, outcome):
        flow = asked(runtime, principal=begun)
        if begun:
            await intent.request(flow)
        refuse(flow, error)
        await outcome.response(flow)
        await outcome.response(flow)
        await outcome.error(flow)
        events = await events_of(runtime, flow)
        assert [event.stage for event in events] == ["RequestReceived"] * begun + [stage]
        assert (events[-1].core["status"], events[-1].fields["reason"]) == (status, error.code.encode())
        assert "response.body" not in events[-1].fields  # our own page is no evidence
        assert not begun or runtime.store.health()["reserved"] == 0


async def test_a_ticket_is_the_gateways_answer(tmp_path):
    async with audited(tmp_path) as (runtime, intent, outcome):
        from addons.host.fail_closed import answer

        flow = asked(runtime, decision=Effect.HOLD)
        await intent.request(flow)
        record = exchange.read(flow.metadata)
        record.hold = HoldState("ap_1", "pending", "digest")
        exchange.write(flow.metadata, record)
        answer(flow, http.Response.make(202, b"{}"))
        await outcome.response(flow)
        event = (await events_of(runtime, flow))[-1]
        assert (event.stage, event.core["status"], event.core["approval"]) == ("Denied", 202, "ap_1")


@pytest.mark.parametrize(
    ("begun", "departed", "connected", "text", "stage", "status"),
    [
        pytest.param(False, False, True, "invalid header", "Denied", 400, id="mitmproxy-refuses-the-request"),
        pytest.param(False, False, False, "peer closed connection", "Interrupted", None, id="client-leaves-in-its-body"),
        pytest.param(True, False, False, "Client disconnected.", "Interrupted", None, id="client-leaves-while-held"),
        pytest.param(True, True, False, "Client disconnected.", "Interrupted", None, id="client-leaves-while-upstream-works"),
        pytest.param(True, True, True, "connection refused", "Failed", 502, id="upstream-refuses"),
        pytest.param(True, True, True, "server disconnected", "Failed", 502, id="upstream-resets"),
        pytest.param(True, True, True, "timeout", "Failed", 504, id="upstream-is-slow"),
    ],
)
async def test_an_error_is_one_end_of_the_right_stage(tmp_path, begun, departed, connected, text, stage, status):
    async with audited(tmp_path) as (runtime, intent, outcome):
        flow = asked(runtime, principal=begun)
        if begun:
            await intent.request(flow)
        gate.of(flow).departed = departed
        if not connected:
            flow.client_conn.state = flow.client_conn.state.CLOSED
        flow.error = mitmflow.Error(text)
        await outcome.error(flow)
        await outcome.client_disconnected(flow.client_conn)
        events = await events_of(runtime, flow)
        assert [event.stage for event in events] == ["RequestReceived"] * begun + [stage]
        assert events[-1].core.get("status") == status


async def test_a_client_that_leaves_without_a_hook_is_interrupted(tmp_path):
    async with audited(tmp_path) as (runtime, intent, outcome):
        flow = asked(runtime)
        await intent.request(flow)
        await outcome.client_disconnected(flow.client_conn)
        assert [event.stage for event in await events_of(runtime, flow)] == ["RequestReceived", "Interrupted"]
        assert await every_kind(runtime, "connection") == []


async def every_kind(runtime, kind):
    return [e for e in await runtime.store._read(lambda reader: reader.events("seq > 0", ())) if e.kind == kind]


async def test_a_connection_without_a_request_is_a_row_and_many_are_a_summary(tmp_path):
    async with audited(tmp_path, heartbeat=1e9, anchor_every=1e9) as (runtime, _, outcome):
        for _ in range(25):
            await outcome.client_disconnected(harness.live_flow().client_conn)
        rows = await every_kind(runtime, "connection")
        assert len(rows) == 20
        assert json.loads(rows[0].fields["client"])["ip"] == "127.0.0.1"
        await runtime.clock.advance(61)
        await asyncio.sleep(0.05)
        (summary,) = await every_kind(runtime, "suppressed")
        assert json.loads(summary.fields["note"]) == {"codes": {"no-request": 5}, "count": 5, "peer_count": 1, "peers": [["127.0.0.1", 5]]}


async def test_refusals_before_identity_are_summarised_and_others_never(tmp_path):
    async with audited(tmp_path) as (runtime, _, outcome):
        for at in range(30):
            flow = asked(runtime, principal=at % 2 == 1)
            refuse(flow, TokenInvalid() if at % 2 == 0 else PolicyDeniedError())
            await outcome.response(flow)
            assert gate.of(flow).terminal
        for _ in range(10):
            flow = asked(runtime, principal=False)
            refuse(flow, TokenInvalid())
            await outcome.response(flow)
        codes = [e.fields["reason"] for e in await every_kind(runtime, "http")]
        assert (codes.count(b"token-invalid"), codes.count(b"policy-denied")) == (20, 15)


async def test_without_a_durable_intent_the_request_is_refused(tmp_path):
    async with audited(tmp_path) as (runtime, intent, outcome):
        await runtime.store.close()
        flow = asked(runtime)
        await intent.request(flow)
        assert (flow.response.status_code, gate.of(flow).intent_seq) == (503, None)
        await outcome.response(flow)
        assert flow.response.status_code == 503


@pytest.mark.parametrize("refused", [False, True], ids=["answer", "refusal"])
async def test_an_end_that_cannot_be_written_is_503(tmp_path, refused):
    async with audited(tmp_path, store=audit.HungStore, queue_deadline=0.1) as (runtime, intent, outcome):
        flow = asked(runtime)
        await intent.request(flow)
        if refused:
            refuse(flow, PolicyDeniedError())
        else:
            answered(flow)
        runtime.store._store.works.clear()
        await outcome.response(flow)
        assert flow.response.status_code == 503
        assert not gate.of(flow).terminal
        runtime.store._store.works.set()


async def test_what_the_storage_mask_withholds_is_said(tmp_path):
    async with audited(tmp_path) as (runtime, intent, _):
        runtime.redactor.complete = False
        flow = asked(runtime)
        await intent.request(flow)
        (event,) = await events_of(runtime, flow)
        assert event.core["masking_complete"] is False


async def test_a_body_that_cannot_be_decoded_is_withheld(tmp_path):
    async with audited(tmp_path) as (runtime, intent, _):
        flow = asked(runtime, headers=[("Content-Encoding", "gzip")], body=b"not gzip " + EMAIL.encode())
        await intent.request(flow)
        (event,) = await events_of(runtime, flow)
        assert "request.body" not in event.fields
        assert event.core["masking_complete"] is False
        assert json.loads(event.fields["note"]) == {"request.body": {"withheld": True}}


async def test_a_large_body_is_cut_and_says_so(tmp_path):
    async with audited(tmp_path) as (runtime, intent, outcome):
        flow = asked(runtime)
        await intent.request(flow)
        answered(flow, body=b"a" * (9 << 20))
        await outcome.response(flow)
        _, event = await events_of(runtime, flow)
        assert len(event.fields["response.body"]) == 64 << 10
        assert json.loads(event.fields["response.digest"]) | {"sha256": ""} == {"length": 9 << 20, "sha256": "", "truncated": True}


async def test_a_reload_is_an_event(tmp_path):
    async with audited(tmp_path) as (runtime, intent, _):
        newer = harness.snapshot()
        intent.addon.reloaded(newer)
        await asyncio.sleep(0.1)
        (event,) = await every_kind(runtime, "config")
        assert (event.core["verb"], event.core["policy_digest"]) == ("reload", newer.digest)


async def test_the_shell_opens_the_log_and_registers_its_end(tmp_path):
    runtime = harness.runtime(harness.snapshot(home=tmp_path))
    runtime.keys = audit.Ring()
    await guard(Intent(runtime)).running()
    assert (tmp_path / "audit.db").exists()
    ((name, close),) = runtime.closers
    assert name == "audit"
    assert len(runtime.reloaders) == 1
    await close()


async def test_a_log_that_cannot_be_continued_stops_the_start(tmp_path):
    (tmp_path / "audit.db").write_bytes(b"not a database" * 500)
    runtime = harness.runtime(harness.snapshot(home=tmp_path))
    runtime.keys = audit.Ring()
    with pytest.raises(AuditError):
        await guard(Intent(runtime)).running()
    assert runtime.store is None
    assert "guardhouse-intent" not in runtime.running


@pytest.mark.parametrize("shell", [Intent, Outcome])
async def test_loaded_alone_it_refuses_everything(shell):
    flow = harness.live_flow()
    await guard(shell(Runtime())).requestheaders(flow)
    assert flow.response.status_code == 503
