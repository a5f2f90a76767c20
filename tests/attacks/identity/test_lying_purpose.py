"""A purpose that anybody can put into a header opens nothing and reveals nothing, unless a rule says that it may."""

from dataclasses import replace

import pytest

from addons.core.config import model
from addons.core.exchange import Access, Effect, Exchange, Operation, Principal
from addons.core.policy.evaluate import decide
from tests import harness

ALICE = Principal("http://127.0.0.1:8445", "dev", "alice", kind="human", groups=("dev:support",))
READ = Operation("http", "GET", "GET /customers", frozenset({Access.READ}), ("/customers",), {})
RULE = model.Rule("reads", "allow", services=("crm",), purposes=("support/*",), mask=("pii",))
FRAUD = model.Rule("no-fraud", "deny", purposes=("fraud/*",))
HELD = model.Rule("held", "hold", purposes=("change/*",), approval="one-sre")


def decided(source: str, *rules: model.Rule, label: str = "support/1", reveal: model.Reveal | None = None):
    base = harness.snapshot()
    profiles = dict(base.masking.profiles)
    if reveal is not None:
        profiles["pii"] = replace(profiles["pii"], reveal=(reveal,))
    snapshot = replace(base, rules=model.Rules("deny", rules), masking=replace(base.masking, profiles=profiles))
    record = Exchange(service="crm", operation=READ, principal=ALICE, purpose=label, purpose_source=source)
    return decide(snapshot, record, 1_700_000_000.0)


@pytest.mark.parametrize(("source", "effect"), [("claim", Effect.ALLOW), ("header", Effect.DENY), ("baggage", Effect.DENY)])
def test_an_allow_rule_believes_only_a_signed_purpose(source, effect):
    assert decided(source, RULE).effect is effect


@pytest.mark.parametrize("source", ["claim", "header"])
def test_unless_the_rule_says_that_a_header_will_do(source):
    assert decided(source, replace(RULE, accept_claimed_by_header=True)).effect is Effect.ALLOW


@pytest.mark.parametrize("source", ["claim", "header", "baggage"])
def test_deny_and_hold_match_whatever_the_source(source):
    everything = model.Rule("all", "allow", services=("crm",))
    assert decided(source, everything, FRAUD, label="fraud/1").effect is Effect.DENY
    assert decided(source, everything, HELD, label="change/1").effect is Effect.HOLD


@pytest.mark.parametrize(
    ("source", "accepted", "masked"),
    [
        pytest.param("claim", False, False, id="signed"),
        pytest.param("header", False, True, id="claimed"),
        pytest.param("header", True, False, id="claimed-and-accepted"),
        pytest.param("baggage", False, True, id="baggage"),
    ],
)
def test_a_mask_is_lifted_only_for_a_signed_purpose(source, accepted, masked):
    everything = model.Rule("all", "allow", services=("crm",), mask=("pii",))
    reveal = model.Reveal(purposes=("support/*",), accept_claimed_by_header=accepted)
    assert ("pii" in decided(source, everything, reveal=reveal).masks) is masked
