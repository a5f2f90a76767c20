from dataclasses import replace

import pytest

from addons.core.config import model
from addons.core.errors import GuardhouseError
from addons.core.exchange import Access, Actor, Effect, Exchange
from addons.core.policy.evaluate import decide, denial
from tests.parts.policy import AGENT, NOW, operation, record, rule, snapshot

DELETE = operation("DELETE", access="delete")
OVERRIDDEN = operation("POST", access="write", children=(DELETE,))


def effect_of(record: Exchange, *rules: model.Rule) -> str:
    return str(decide(snapshot(*rules), record, NOW).effect)


@pytest.mark.parametrize(
    ("rules", "effect", "names"),
    [
        pytest.param([], "deny", (), id="no-rule"),
        pytest.param([rule("a")], "allow", ("a",), id="allow"),
        pytest.param([rule("a"), rule("b")], "allow", ("a", "b"), id="all-that-allow"),
        pytest.param([rule("a"), rule("h", "hold")], "hold", ("h",), id="a-hold-beats-an-allow"),
        pytest.param([rule("h", "hold")], "hold", ("h",), id="a-hold-needs-no-allow"),
        pytest.param([rule("a"), rule("h", "hold"), rule("d", "deny")], "deny", ("d",), id="a-deny-beats-all"),
        pytest.param([rule("a", services=("echo",))], "deny", (), id="one-that-does-not-match"),
        pytest.param([rule("h", "hold", approval=None)], "deny", ("h",), id="a-hold-that-nobody-can-release"),
    ],
)
def test_deny_beats_hold_beats_allow_beats_the_default(rules, effect, names):
    decision = decide(snapshot(*rules), record(), NOW)
    assert (str(decision.effect), decision.rules) == (effect, names)


@pytest.mark.parametrize(
    ("match", "asked", "allowed", "denied"),
    [
        pytest.param({"services": ("crm",)}, {}, True, True, id="service"),
        pytest.param({"services": ("echo", "crm")}, {}, True, True, id="values-are-or"),
        pytest.param({"services": ("echo",)}, {}, False, False, id="other-service"),
        pytest.param({"protocols": ("kubernetes",)}, {}, False, False, id="other-protocol"),
        pytest.param({"methods": ("GET",)}, {}, True, True, id="method"),
        pytest.param({"verbs": ("GET",)}, {}, True, True, id="verb-is-the-method"),
        pytest.param({"methods": ("POST",)}, {}, False, False, id="other-method"),
        pytest.param({"methods": ("GET",), "services": ("echo",)}, {}, False, False, id="keys-are-and"),
        pytest.param({"paths": ("/customers/*",)}, {}, True, True, id="path"),
        pytest.param({"paths": ("/Customers/*",)}, {}, False, False, id="paths-are-case-sensitive"),
        pytest.param({"paths": ("/a",)}, {"asked": operation(resources=("/a", "/a;v=1"))}, False, True, id="allow-covers-every-reading-of-the-path"),
        pytest.param({"resources": ("/customers/*",)}, {}, True, True, id="resource"),
        pytest.param({"access": ("read",)}, {}, True, True, id="access"),
        pytest.param({"access": ("write",)}, {}, False, False, id="other-access"),
        pytest.param({"access": ("read",)}, {"asked": operation(access="read delete")}, False, True, id="allow-needs-all-accesses-deny-any"),
        pytest.param({"access": ("read",)}, {"asked": operation(access="unknown")}, False, False, id="unknown-access"),
        pytest.param({"attributes": {"has_body": ("false",)}}, {}, True, True, id="attribute-as-a-text"),
        pytest.param({"attributes": {"content_type": ("None", "null", "")}}, {}, False, False, id="an-absent-attribute-does-not-match"),
        pytest.param({"attributes": {"nosuch": ("x",)}}, {}, False, False, id="nor-one-nobody-declares"),
        pytest.param({"attributes": {"filters": ("a",)}}, {"asked": operation(attributes={"filters": ["a", "b"]})}, False, True, id="of-a-list-allow-needs-all"),
        pytest.param({"attributes": {"filters": ("a",)}}, {}, False, False, id="an-empty-list-does-not-match"),
        pytest.param({"principals": {"issuers": ("dev",)}}, {}, True, True, id="issuer"),
        pytest.param({"principals": {"kinds": ("agent",)}}, {}, False, False, id="other-kind"),
        pytest.param({"principals": {"subjects": ("dev:alice",)}}, {}, True, True, id="subject"),
        pytest.param({"principals": {"subjects": ("alice",)}}, {}, False, False, id="subject-without-alias"),
        pytest.param({"principals": {"groups": ("dev:sre", "dev:support")}}, {}, True, True, id="group"),
        pytest.param({"principals": {"groups": ("support",)}}, {}, False, False, id="group-without-alias"),
        pytest.param({"principals": {"clients": ("planner-agent",)}}, {"principal": AGENT}, True, True, id="client"),
        pytest.param({"principals": {"clients": ("planner-agent",)}}, {}, False, False, id="no-client"),
        pytest.param({"principals": {"actors": ("dev:planner",)}}, {"principal": replace(AGENT, actors=(Actor("http://127.0.0.1:8445", "planner"),))}, True, True, id="actor"),
        pytest.param({"principals": {"actors": ("dev:planner",)}}, {"principal": replace(AGENT, actors=(Actor("http://evil", "planner"),))}, False, False, id="actor-of-another-issuer"),
        pytest.param({"principals": {"owners": ("dev:alice",)}}, {"principal": replace(AGENT, owner="dev:alice")}, True, True, id="owner"),
        pytest.param({"principals": {"kinds": ("human",), "groups": ("dev:sre",)}}, {}, False, False, id="principal-keys-are-and"),
        pytest.param({"principals": {"nosuch": ("x",)}}, {}, False, False, id="a-principal-key-nobody-knows"),
        pytest.param({"purposes": ("support/*",)}, {}, True, True, id="purpose"),
        pytest.param({"purposes": ("support/*",)}, {"purpose": "support/a/b"}, False, False, id="purpose-one-segment"),
        pytest.param({"purposes": ("**",)}, {"purpose": "", "source": "none"}, False, False, id="no-purpose-matches-no-purpose-glob"),
        pytest.param({"purposes": ("support/*",)}, {"source": "header"}, False, True, id="an-allow-counts-a-signed-purpose-only"),
        pytest.param({"purposes": ("support/*",)}, {"source": "baggage"}, False, True, id="baggage-is-not-signed"),
        pytest.param({"purposes": ("support/*",), "accept_claimed_by_header": True}, {"source": "header"}, True, True, id="unless-the-rule-says-so"),
        pytest.param({"purpose_sources": ("header",)}, {"source": "header"}, True, True, id="purpose-source"),
        pytest.param({"purpose_sources": ("claim",)}, {"source": "header"}, False, False, id="other-purpose-source"),
        pytest.param({}, {"asked": operation(exact=False)}, False, True, id="a-heuristic-reading-never-allows"),
        pytest.param({"methods": ("POST",)}, {"asked": OVERRIDDEN}, False, True, id="an-allow-needs-every-nested-operation"),
        pytest.param({"methods": ("DELETE",)}, {"asked": OVERRIDDEN}, False, True, id="a-deny-any-nested-operation"),
        pytest.param({"methods": ("DELETE", "POST")}, {"asked": OVERRIDDEN}, True, True, id="an-allow-that-covers-both"),
        pytest.param({"when": "operation.verb == 'GET'"}, {}, True, True, id="condition"),
        pytest.param({"when": "operation.verb == 'PUT'"}, {}, False, False, id="condition-says-no"),
        pytest.param({"when": "purpose == 'support/4711'"}, {"source": "header"}, False, True, id="a-condition-of-an-allow-reads-a-signed-purpose-only"),
    ],
)  # fmt: skip
def test_what_matches(match, asked, allowed, denied):
    asked = dict(asked)
    flow = record(asked.pop("asked", None), **asked)
    assert effect_of(flow, rule(effect="allow", **match)) == ("allow" if allowed else "deny")
    assert (effect_of(flow, rule("everything"), rule(effect="deny", **match)) == "deny") is (
        denied or not flow.operation.exact or Access.UNKNOWN in flow.operation.access
    )
    assert (effect_of(flow, rule(effect="hold", **match)) == "hold") is denied


def test_two_allows_may_cover_the_nested_operations_between_them():
    assert effect_of(record(OVERRIDDEN), rule("a", methods=("POST",)), rule("b", methods=("DELETE",))) == "allow"


@pytest.mark.parametrize(
    "when",
    [
        "operation.attributes.content_type",
        "null",
        "principal.attributes.dept == 'x'",
        "now < 'a'",
        "1",
        "'true'",
        "[]",
        "operation.nosuch",
        "x(",
    ],
)
def test_a_condition_that_is_not_true_or_false_denies_the_request(when):
    decision = decide(snapshot(rule("a"), rule("broken", when=when)), record(), NOW)
    assert (decision.effect, decision.rules) == (Effect.DENY, ("broken",))
    assert decision.reasons == ("The condition of this rule could not be decided, so the request is denied. Tell the gateway's operators.",)


def test_a_condition_is_asked_only_when_the_rest_matches():
    assert effect_of(record(), rule("a"), rule("broken", when="null", services=("echo",))) == "allow"


def test_masks_of_all_matching_rules_add_up_to_what_the_service_always_has():
    rules = [rule("a", mask=("pii",)), rule("h", "hold", mask=("hr",)), rule("other", services=("echo",), mask=("medical",))]
    assert decide(snapshot(*rules), record(), NOW).masks == ("hr", "pii", "secrets")
    assert decide(snapshot(rule("a")), record(service="unnamed"), NOW).masks == ("pii", "secrets")


def test_a_hold_names_every_approval_and_reason():
    decision = decide(
        snapshot(rule("x", "hold", approval="b", reason="Two."), rule("h", "hold", approval="a", reason="One.")), record(), NOW
    )
    assert (decision.approvals, decision.reasons, decision.rules) == (("a", "b"), ("One.", "Two."), ("h", "x"))


@pytest.mark.parametrize(
    ("service", "rule_level", "level"),
    [
        pytest.param("Metadata", None, "Metadata", id="service"),
        pytest.param("Metadata", "Request", "Request", id="a-rule-raises"),
        pytest.param("RequestResponse", "Metadata", "RequestResponse", id="a-rule-never-lowers"),
        pytest.param("Nosuch", None, "RequestResponse", id="a-level-nobody-knows"),
    ],
)
def test_the_audit_level_is_raised_never_lowered(service, rule_level, level):
    services = {"crm": model.Service("crm", "http", "http", model.Address("127.0.0.1", 1), audit_level=service)}
    assert decide(snapshot(rule(audit=rule_level), services=services), record(), NOW).audit_level == level


def observing(until: float, *rules: model.Rule) -> model.Snapshot:
    service = model.Service("crm", "http", "http", model.Address("127.0.0.1", 1), observe=model.Observe(until, "trying the rules"))
    return snapshot(*rules, services={"crm": service})


@pytest.mark.parametrize(
    ("rules", "effect", "observed"),
    [
        pytest.param([rule("d", "deny", mask=("pii",))], "allow", "deny", id="deny"),
        pytest.param([rule("h", "hold", mask=("pii",))], "allow", "hold", id="hold"),
        pytest.param([rule("a", mask=("pii",))], "allow", None, id="allow"),
        pytest.param([rule("a", mask=("pii",)), rule("b", when="null")], "allow", "deny", id="broken-condition"),
    ],
)
def test_observe_mode_decides_and_does_not_enforce_but_masks_stay(rules, effect, observed):
    decision = decide(observing(NOW + 1, *rules), record(), NOW)
    assert (str(decision.effect), decision.observed, decision.masks) == (effect, observed, ("pii", "secrets"))


def test_observe_mode_ends_by_itself():
    assert decide(observing(NOW, rule("d", "deny")), record(), NOW).effect is Effect.DENY


def test_masks_of_a_rule_with_a_broken_condition_are_owed_when_observe_mode_lets_it_pass():
    assert decide(observing(NOW + 1, rule("b", when="null", mask=("pii",))), record(), NOW).masks == ("pii", "secrets")


@pytest.mark.parametrize("missing", ["operation", "principal", "service"])
def test_a_record_without_its_parts_is_refused(missing):
    flow = record()
    setattr(flow, missing, None)
    with pytest.raises(GuardhouseError) as refused:
        decide(snapshot(rule("a")), flow, NOW)
    assert refused.value.status == 503


def test_a_denial_names_the_rule_and_its_reason():
    decision = decide(snapshot(rule("no-exports", "deny", reason="Agents do not export.")), record(), NOW)
    error = denial(decision, record())
    assert (error.status, error.code, error.extra) == (403, "policy-denied", {"rules": ["no-exports"]})
    assert str(error) == "Policy does not allow this request. Agents do not export."


def test_a_denial_by_default_says_that_no_rule_allows_it():
    error = denial(decide(snapshot(), record(), NOW), record())
    assert "No rule allows GET on crm" in str(error)
    assert "/customers" not in str(error)
