"""Refusals of calls to an MCP server, as its client reads them."""

import json
from dataclasses import replace

import pytest

from addons.core import exchange
from addons.core.approval.digest import content_digest
from addons.core.config import model
from addons.core.errors import ApprovalError, AuthenticationError, GuardhouseError, PolicyDeniedError
from addons.core.services import mcp
from addons.host import fail_closed, gate
from addons.host.facts import request_facts
from addons.host.refusals import refuse
from tests import harness
from tests.parts import policy

TOOLS = model.Service("tools", "mcp", "http", model.Address("127.0.0.1", 8000), mcp=model.Mcp())
SNAPSHOT = harness.snapshot(services={"tools": TOOLS, "crm": harness.snapshot().gateway.services["crm"]})
CALL = '{"jsonrpc": "2.0", "id": %s, "method": "tools/call", "params": {"name": "wipe"}}'


def flow_with(body=None, service="tools", **more):
    """A flow that routing has seen, with its operation when a body came."""
    headers = [("Content-Type", "application/json"), *more.pop("headers", ())]
    flow = harness.live_flow("POST", "/mcp", headers, (body or "").encode(), **more)
    runtime = harness.runtime(SNAPSHOT)
    fail_closed.open_record(runtime, flow)
    record = exchange.read(flow.metadata)
    record.service = service
    if body is not None:
        record.operation = mcp.operation("POST", "http", "127.0.0.1", "/mcp", "", headers, body.encode(), TOOLS)
    exchange.write(flow.metadata, record)
    return flow


DENIED = PolicyDeniedError("No.", extra={"rules": ["r"]})


@pytest.mark.parametrize(
    ("body", "error", "status", "request_id"),
    [
        pytest.param(CALL % 7, DENIED, 200, 7, id="a-call"),
        pytest.param(CALL % '"7"', DENIED, 200, "7", id="an-id-that-is-a-text"),
        pytest.param(CALL % 0, DENIED, 200, 0, id="id-zero"),
        pytest.param(CALL % 7, ApprovalError("Wait.", headers={"Retry-After": "5"}), 200, 7, id="a-ticket"),
        pytest.param(CALL % 7, AuthenticationError(), 401, 7, id="expired-meanwhile"),
        pytest.param('{"jsonrpc": "2.0", "method": "notifications/initialized"}', DENIED, 403, None, id="a-notification"),
        pytest.param('{"jsonrpc": "2.0", "id": 7, "result": {}}', DENIED, 403, None, id="a-response"),
        pytest.param(None, GuardhouseError(code="request-malformed"), 400, None, id="before-it-was-read"),
    ],
)
def test_the_answer_to_a_call_is_its_error(body, error, status, request_id):
    flow = flow_with(body)
    refuse(flow, error)
    said = json.loads(flow.response.content)
    assert (flow.response.status_code, said["id"], said["error"]["data"]["code"]) == (status, request_id, error.code)
    assert said["error"]["data"]["status"] == error.status
    assert flow.response.headers["Content-Type"] == "application/json"
    assert flow.response.headers.get("Retry-After") == error.headers.get("Retry-After")
    assert gate.of(flow).refusal is error


def test_a_challenge_stays():
    flow = flow_with()
    refuse(flow, AuthenticationError(code="credential-required", headers={"WWW-Authenticate": "Bearer"}))
    assert (flow.response.status_code, flow.response.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_other_services_answer_with_a_problem():
    flow = flow_with(service="crm")
    refuse(flow, DENIED)
    assert (flow.response.status_code, flow.response.headers["Content-Type"]) == (403, "application/problem+json")


def facts_of(body, **more):
    flow = flow_with(body, **more)
    record = exchange.read(flow.metadata)
    record.principal, record.decision = policy.AGENT, exchange.Decision(exchange.Effect.HOLD, ("r",), approvals=("one-sre",))
    exchange.write(flow.metadata, record)
    return request_facts(flow, replace(SNAPSHOT, rules=model.Rules("deny", (policy.rule("r", "hold"),))))


def test_the_same_call_with_another_id_is_the_same_to_an_approval():
    assert facts_of(CALL % 7) == facts_of(CALL % '"another"')


@pytest.mark.parametrize(
    "other", [(CALL % 7).replace("wipe", "list"), (CALL % 7).replace(" ", ""), (CALL % 7).replace("2.0", "2.0", 1) + " "]
)
def test_any_other_byte_is_another_request(other):
    assert facts_of(CALL % 7) != facts_of(other)


def test_another_session_is_another_request():
    assert facts_of(CALL % 7, headers=[("Mcp-Session-Id", "a")]) != facts_of(CALL % 7, headers=[("Mcp-Session-Id", "b")])


def test_the_digest_of_a_plain_request_is_over_its_body():
    flow = harness.live_flow("POST", "/customers", (), b'{"id": 1}')
    fail_closed.open_record(harness.runtime(SNAPSHOT), flow)
    record = exchange.read(flow.metadata)
    record.service, record.operation, record.principal = "crm", policy.operation("POST"), policy.AGENT
    record.decision = exchange.Decision(exchange.Effect.HOLD, ("r",), approvals=("one-sre",))
    exchange.write(flow.metadata, record)
    snapshot = replace(SNAPSHOT, rules=model.Rules("deny", (policy.rule("r", "hold"),)))
    assert request_facts(flow, snapshot).content_digest == content_digest(b'{"id": 1}')
