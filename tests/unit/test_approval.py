"""The shell: a flow waits, people decide, and what goes on is judged again."""

import json
from dataclasses import replace

import pytest
from mitmproxy import http

from addons.approval import Approval
from addons.core import exchange
from addons.core.config import model
from addons.core.exchange import Effect
from addons.host import gate
from addons.host.fail_closed import guard, settled
from addons.host.runtime import Runtime
from tests import harness
from tests.parts.approval import one_of, person
from tests.parts.approval_shell import Shell

BOB = person("bob")


async def test_a_flow_without_a_hold_goes_on():
    shell = Shell()
    flow = shell.flow("GET", "/customers", effect=Effect.ALLOW)
    await shell.guarded.request(flow)
    assert not settled(flow)
    assert shell.rows == []


async def test_observe_mode_opens_no_row():
    shell = Shell(observe=True)
    flow = shell.flow()
    await shell.guarded.request(flow)
    assert exchange.read(flow.metadata).decision.observed == "hold"
    assert (settled(flow), shell.rows) == (False, [])


async def test_a_held_flow_waits_and_goes_on_when_a_person_agrees():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    assert not task.done()
    await shell.approve(BOB)
    await task
    record = exchange.read(flow.metadata)
    assert (settled(flow), record.hold.state, record.hold.id, record.hold.reviewers) == (
        False,
        "approved",
        shell.rows[0]["id"],
        ("dev:bob",),
    )
    assert record.hold.digest == shell.rows[0]["digest"]


async def test_after_the_wait_it_is_answered_with_a_ticket():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    await shell.clock.advance(50)
    await shell.desk.tick()
    await task
    problem = json.loads(flow.response.content)
    assert (flow.response.status_code, problem["code"], problem["approval_id"]) == (429, "approval-pending", shell.rows[0]["id"])
    assert flow.response.headers["Guardhouse-Approval"] == shell.rows[0]["id"]
    assert "Retry-After" in flow.response.headers


@pytest.mark.parametrize("sent", ["respond-async", "respond-async, wait=10", "return=minimal; x=1, Respond-Async"])
async def test_who_prefers_not_to_wait_gets_202(sent):
    shell = Shell()
    flow = shell.flow(headers=[("Prefer", sent)])
    await shell.guarded.request(flow)
    assert flow.response.status_code == 202
    assert flow.response.headers["Preference-Applied"] == "respond-async"
    assert flow.response.headers["Location"] == f"https://127.0.0.1:8444/v1/approvals/{shell.rows[0]['id']}/status"
    assert settled(flow)


async def test_prefer_wait_is_taken_out_and_other_preferences_stay():
    shell = Shell()
    flow = shell.flow(headers=[("Prefer", 'wait=120, return="minimal,x"'), ("Prefer", "handling=strict")])
    assert flow.request.headers.get_all("prefer") == ['return="minimal,x"', "handling=strict"]
    task = await shell.waiting(flow)
    await shell.clock.advance(119)
    await shell.desk.tick()
    assert not task.done()
    await shell.clock.advance(1)
    await shell.desk.tick()
    await task
    assert flow.response.status_code == 429


async def test_a_client_that_leaves_is_not_sent():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    gate.of(flow).gone = True
    await shell.guarded.client_disconnected(flow.client_conn)
    await task
    assert settled(flow)
    assert (shell.rows[0]["state"], shell.rows[0]["ticketed"]) == ("pending", 1)


async def test_an_identity_that_expires_while_held_is_refused():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    shell.identity.good = False
    await shell.approve(BOB)
    await task
    assert flow.response.status_code == 401
    assert shell.rows[0]["uses"] == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda flow: setattr(flow.request, "path", "/customers/8"), id="path"),
        pytest.param(lambda flow: setattr(flow.request, "raw_content", b"{}"), id="body"),
        pytest.param(lambda flow: flow.request.headers.__setitem__("X-New", "1"), id="header"),
        pytest.param(lambda flow: setattr(flow.request, "method", "PATCH"), id="method"),
    ],
)
async def test_a_request_that_changes_during_the_wait_is_refused_with_an_alert(change):
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    change(flow)
    await shell.approve(BOB)
    await task
    assert (flow.response.status_code, json.loads(flow.response.content)["code"]) == (403, "request-changed")
    assert "alert" in shell.ledger.events()
    assert shell.rows[0]["uses"] == 0


async def test_a_new_deny_wins_over_an_approval():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    shell.reload(model.Rule("never", "deny", services=("crm",), where="rules.yaml:9"))
    await shell.approve(BOB)
    await task
    assert (flow.response.status_code, json.loads(flow.response.content)["code"]) == (403, "policy-denied")


async def test_an_unrelated_rule_leaves_the_approval_as_it_is():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    shell.reload(model.Rule("others", "deny", services=("crm",), paths=("/export/**",), where="rules.yaml:9"))
    await shell.approve(BOB)
    await task
    assert (settled(flow), exchange.read(flow.metadata).hold.state) == (False, "approved")


RULE = model.Rule("deletes", "hold", services=("crm",), access=("delete",), approval="one-sre", where="rules.yaml:3")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"rules": model.Rules("deny", (replace(RULE, reason="Now with a reason."),))}, id="the-rule"),
        pytest.param({"rules": model.Rules("deny", (RULE, replace(RULE, name="again")))}, id="a-second-hold-rule"),
        pytest.param({"terms": one_of(count=2)}, id="the-terms"),
        pytest.param({"service": {"address": model.Address("127.0.0.1", 9999)}}, id="another-url"),
        pytest.param({"service": {"ca": model.Reference("file", "/x.pem", "")}}, id="another-ca"),
        pytest.param({"service": {"credential": model.Credential("bearer", model.Reference("env", "OTHER", ""))}}, id="another-credential"),
        pytest.param({"profile": {"hex": True}}, id="a-mask-profile"),
    ],
)
async def test_what_was_approved_under_other_rules_terms_or_targets_is_asked_again(changed):
    shell = Shell(masks=("pii",))
    flow = shell.flow()
    task = await shell.waiting(flow)
    shell.change(**changed)
    await shell.desk.reconsider(shell.runtime.snapshot)
    await task
    assert (flow.response.status_code, shell.rows[0]["state"]) == (429, "cancelled")
    retry = shell.flow()
    again = await shell.waiting(retry)
    assert [row["state"] for row in shell.rows] == ["cancelled", "pending"]
    again.cancel()


async def test_trailers_on_a_held_request_are_refused():
    shell = Shell()
    flow = shell.flow()
    flow.request.trailers = http.Headers([(b"x-check", b"1")])
    await shell.guarded.request(flow)
    assert flow.response.status_code == 400


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ([("User-Agent", "other")], True),
        ([("Idempotency-Key", "77")], True),
        ([("Guardhouse-Approval", "ap_forged")], False),
        ([("X-Custom", "1")], False),
    ],
    ids=["user-agent", "idempotency-key", "forged-approval", "any-other"],
)
async def test_which_headers_of_a_retry_find_the_same_approval(headers, same):
    shell = Shell()
    first = await shell.waiting(shell.flow())
    second = await shell.waiting(shell.flow(headers=headers))
    assert len(shell.rows) == (1 if same else 2)
    first.cancel()
    second.cancel()


async def test_a_changed_purpose_detail_needs_a_new_approval():
    shell = Shell()
    first = await shell.waiting(shell.flow(detail="delete the old account"))
    second = await shell.waiting(shell.flow(detail="delete the old accounts"))
    assert len(shell.rows) == 2
    first.cancel()
    second.cancel()


async def test_what_the_upstream_answered_is_said_beside_the_use():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    await shell.approve(BOB)
    await task
    await shell.use(flow)
    gate.of(flow).departed = True
    flow.response = http.Response.make(204)
    await shell.guarded.response(flow)
    assert [(use["outcome"], use["status"]) for use in shell.ledger.tables["approval_use"]] == [("sent", 204)]


async def test_a_failure_after_departure_is_unknown_and_one_before_is_nothing():
    shell = Shell()
    flow = shell.flow()
    task = await shell.waiting(flow)
    await shell.approve(BOB)
    await task
    await shell.guarded.error(flow)
    assert shell.ledger.events()[-1] == "approved"
    await shell.use(flow)
    gate.of(flow).departed = True
    await shell.guarded.error(flow)
    assert [(use["outcome"], use["status"]) for use in shell.ledger.tables["approval_use"]] == [("unknown", 0)]


async def test_what_people_see_is_masked_and_the_row_holds_nothing_else():
    shell = Shell()
    flow = shell.flow(
        path="/customers/CANARY-7?q=CANARY-Q",
        body=b'{"name":"CANARY-B"}',
        headers=[("X-Note", "CANARY-H"), ("Content-Type", "application/json")],
    )
    task = await shell.waiting(flow)
    card = await shell.desk.card(shell.rows[0]["id"], BOB)
    assert card.body["text"] == '{\n  "name": "*****"\n}'
    assert (card.request["path"], card.request["query"], card.operation["text"]) == (
        "/customers/*****",
        "?q=*****",
        "DELETE /customers/*****",
    )
    stored = json.dumps([shell.ledger.tables, [[note.core, note.data] for note in shell.ledger.log]], default=str)
    assert "CANARY" not in stored
    task.cancel()


async def test_a_body_that_cannot_be_masked_is_not_shown_and_not_approved():
    shell = Shell()
    flow = shell.flow(body=b"\x1f\x8bCANARY", headers=[("Content-Encoding", "gzip")])
    task = await shell.waiting(flow)
    card = await shell.desk.card(shell.rows[0]["id"], BOB)
    assert (card.body["text"], card.body["complete"]) == ("", False)
    assert card.cannot_approve
    with pytest.raises(Exception, match="cannot be approved"):
        await shell.approve(BOB)
    task.cancel()


async def test_loaded_alone_it_refuses_everything():
    flow = harness.live_flow()
    await guard(Approval(Runtime())).request(flow)
    assert flow.response.status_code == 503
