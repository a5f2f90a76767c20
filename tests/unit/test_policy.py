import json

import pytest

from addons.core import exchange
from addons.core.exchange import Effect
from addons.host.fail_closed import chain_of, guard, open_record
from addons.host.runtime import Runtime
from addons.policy import Policy
from tests import harness
from tests.parts.policy import operation, record, rule, snapshot


async def decided(*rules, asked=None):
    flow = harness.live_flow()
    (made,) = chain_of(harness.runtime(snapshot(*rules)), [Policy])
    open_record(made.runtime, flow)
    exchange.write(flow.metadata, record(asked))
    await made.request(flow)
    return flow


@pytest.mark.parametrize(
    ("effect", "status"),
    [
        pytest.param("allow", None, id="allow"),
        pytest.param("hold", None, id="hold-is-waited-for-elsewhere"),
        pytest.param("deny", 403, id="deny"),
    ],
)
async def test_the_decision_is_written_and_a_denial_refused(effect, status):
    flow = await decided(rule("r", effect, reason="Because."))
    decision = exchange.read(flow.metadata).decision
    assert (decision.effect, decision.rules) == (Effect(effect), ("r",))
    assert (flow.response and flow.response.status_code) == status


async def test_a_denial_names_rule_and_reason():
    flow = await decided(rule("no-exports", "deny", reason="Agents do not export."))
    body = json.loads(flow.response.text)
    assert (body["code"], body["rules"]) == ("policy-denied", ["no-exports"])
    assert "Agents do not export." in body["detail"]


async def test_a_filter_on_a_masked_field_is_refused():
    flow = await decided(rule("r", mask=("pii",)), asked=operation(attributes={"filters": ["email"]}))
    assert json.loads(flow.response.text)["code"] == "masked-field-filter"


async def test_a_flow_without_a_principal_is_refused():
    flow = harness.live_flow()
    (made,) = chain_of(harness.runtime(snapshot(rule("r"))), [Policy])
    await made.request(flow)
    assert flow.response.status_code == 503


async def test_loaded_alone_it_refuses_everything():
    flow = harness.live_flow()
    await guard(Policy(Runtime())).request(flow)
    assert flow.response.status_code == 503
