"""The session shell: purpose, session and trace are read, recorded and removed."""

from dataclasses import replace

import pytest

from addons.core import exchange
from addons.core.exchange import Principal
from addons.core.services.credentials.keyring import KeyRing
from addons.host import gate
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime
from addons.session import Session
from tests import harness

ALICE = Principal("http://127.0.0.1:8445", "dev", "alice", kind="human")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def stage(**gateway) -> tuple[Runtime, object]:
    runtime = harness.runtime(harness.snapshot(**gateway))
    runtime.keys = KeyRing(b"k" * 32, {})
    return runtime, guard(Session(runtime))


async def send(runtime: Runtime, shell, headers, principal: Principal = ALICE):
    """Pass one request of this principal, as `identity` would hand it on."""
    flow = harness.live_flow(headers=headers)
    from addons.host.fail_closed import open_record

    open_record(runtime, flow)
    record = exchange.read(flow.metadata)
    record.principal = principal
    exchange.write(flow.metadata, record)
    await shell.requestheaders(flow)
    return flow, exchange.read(flow.metadata)


@pytest.mark.parametrize(
    ("claim", "sent", "label", "source", "status"),
    [
        pytest.param(None, ["support/4711"], "support/4711", "header", None, id="header"),
        pytest.param("change/7", [], "change/7", "claim", None, id="claim"),
        pytest.param("change/7", ["support/1"], "change/7", "claim", None, id="claim-wins"),
        pytest.param(None, [], "", "none", 403, id="missing"),
        pytest.param(None, ["fraud/1"], "", "none", 403, id="not-in-the-catalogue"),
        pytest.param(None, ["Support/1"], "", "none", 400, id="upper-case"),
        pytest.param(None, ["support/1", "change/1"], "", "none", 400, id="two-labels"),
        pytest.param("change/7", ["DROP"], "", "none", 400, id="malformed-though-the-claim-would-win"),
        pytest.param(["change/7"], [], "", "none", 400, id="claim-of-another-type"),
    ],
)
async def test_every_request_says_why(claim, sent, label, source, status):
    runtime, shell = stage()
    principal = replace(ALICE, attributes={} if claim is None else {"purpose": claim})
    flow, record = await send(runtime, shell, [("X-Purpose", one) for one in sent], principal)
    assert (record.purpose, record.purpose_source) == (label, source)
    assert (flow.response and flow.response.status_code) == status
    assert "X-Purpose" not in flow.request.headers


async def test_a_header_that_a_claim_overrules_is_recorded():
    runtime, shell = stage()
    _, record = await send(runtime, shell, [("X-Purpose", "support/1")], replace(ALICE, attributes={"purpose": "change/7"}))
    assert record.purpose_conflict == "support/1"


async def test_baggage_names_purpose_and_session_and_does_not_travel_on():
    runtime, shell = stage()
    flow, record = await send(runtime, shell, [("baggage", "purpose=support%2F1,session.id=task-1")])
    assert (record.purpose, record.purpose_source) == ("support/1", "baggage")
    _, named = await send(runtime, shell, [("X-Purpose", "support/1"), ("X-Session-Id", "task-1")])
    assert record.session_id == named.session_id
    assert "baggage" not in flow.request.headers


async def test_baggage_travels_on_where_the_file_says_so():
    runtime, shell = stage(forward_baggage=True)
    flow, _ = await send(runtime, shell, [("baggage", "a=1"), ("X-Purpose", "support/1")])
    assert flow.request.headers["baggage"] == "a=1"


async def test_the_upstream_gets_our_span_and_nothing_else_of_ours():
    runtime, shell = stage()
    headers = [
        ("X-Purpose", "support/1"), ("X-Purpose-Detail", "Ticket 4711"), ("X-Session-Id", "task-1"), ("traceparent", f"00-{TRACE}-{PARENT}-01"),
        ("tracestate", "a=1"),
    ]  # fmt: skip
    flow, record = await send(runtime, shell, headers)
    assert record.purpose_detail == "Ticket 4711"
    assert (record.trace.trace_id, record.trace.parent_id, record.trace.verified) == (TRACE, PARENT, False)
    assert dict(flow.request.headers.items()) == {
        "Host": "127.0.0.1", "traceparent": f"00-{TRACE}-{record.trace.span_id}-01", "tracestate": "a=1",
    }  # fmt: skip


async def test_a_foreign_session_and_parent_are_not_joined():
    """Row 16: B sends A's session id and parent span; then B is owned by A."""
    runtime, shell = stage()
    _, first = await send(runtime, shell, [("X-Purpose", "support/1"), ("X-Session-Id", "task-1")])
    headers = [
        ("X-Purpose", "support/1"),
        ("X-Session-Id", "task-1"),
        ("traceparent", f"00-{first.trace.trace_id}-{first.trace.span_id}-01"),
    ]
    bob = replace(ALICE, subject="bob")
    _, foreign = await send(runtime, shell, headers, bob)
    assert foreign.session_id != first.session_id
    assert foreign.trace.verified is False
    _, owned = await send(runtime, shell, headers, replace(bob, kind="agent", owner="dev:alice"))
    assert owned.session_id != first.session_id
    assert owned.trace.verified is True


@pytest.mark.parametrize(
    ("headers", "note"),
    [([("traceparent", "rubbish")], "traceparent-malformed"), ([("X-Session-Id", "a b")], "session-malformed")],
    ids=["traceparent", "session"],
)
async def test_a_malformed_trace_or_session_is_noted_and_the_request_goes_on(headers, note):
    runtime, shell = stage()
    flow, record = await send(runtime, shell, [("X-Purpose", "support/1"), *headers])
    assert flow.response is None
    assert record.notes == [note]
    assert len(record.session_id) == 32


async def test_a_refusal_has_a_session_and_a_trace_for_the_audit():
    runtime, shell = stage()
    flow, record = await send(runtime, shell, [])
    assert gate.of(flow).refusal.code == "purpose-missing"
    assert record.session_id and record.trace


async def test_loaded_alone_it_refuses_everything():
    flow = harness.live_flow(headers=[("X-Purpose", "support/1")])
    await guard(Session(Runtime())).requestheaders(flow)
    assert flow.response.status_code == 503
