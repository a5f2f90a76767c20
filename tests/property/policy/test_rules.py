"""What holds for all rules and all requests, not only for the ones in the tables."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.config.model import Rule
from addons.core.exchange import Access, Actor, Effect
from addons.core.policy.evaluate import decide
from addons.core.policy.explain import explain
from tests.parts.policy import ALICE, NOW, operation, record, snapshot

RANK = {Effect.DENY: 0, Effect.HOLD: 1, Effect.ALLOW: 2}
VERBS, PATHS, KINDS = ["GET", "POST", "DELETE"], ["/a", "/a/b", "/a/b/c"], ["human", "agent"]


def some(values):
    return st.one_of(st.none(), st.lists(st.sampled_from(values), min_size=1, max_size=2).map(tuple))


def maybe(keys):
    return st.one_of(st.none(), st.fixed_dictionaries({}, optional=keys).filter(bool))


CONDITIONS = [
    None,
    None,
    None,
    "operation.verb == 'GET'",
    "operation.attributes.has_body",
    "purpose == 'support/1'",
    "null",
    "principal.attributes.x == 1",
]
rules = st.lists(
    st.builds(
        Rule,
        name=st.uuids().map(str),
        effect=st.sampled_from(["allow", "allow", "hold", "deny"]),
        services=some(["crm", "echo"]),
        methods=some(VERBS),
        paths=some(["/a", "/a/*", "/**", "/a/**"]),
        access=some([str(access) for access in Access][:5]),
        attributes=maybe({"has_body": st.just(("true",)), "content_type": st.just(("text/plain", "None", "null"))}),
        principals=maybe({"kinds": some(KINDS).filter(bool), "groups": st.just(("dev:support",)), "actors": st.just(("dev:planner",))}),
        purposes=some(["support/*", "**", "change/*"]),
        accept_claimed_by_header=st.booleans(),
        when=st.sampled_from(CONDITIONS),
        mask=st.sampled_from([(), ("pii",), ("hr",)]),
        approval=st.just("one-sre"),
    ),
    max_size=6,
)
nodes = st.builds(
    lambda verb, path, access, typed, body, exact: operation(
        verb, path, " ".join(sorted(access)), exact=exact, attributes={"content_type": typed, "has_body": body}
    ),
    st.sampled_from(VERBS),
    st.sampled_from(PATHS),
    st.sets(st.sampled_from(["read", "write", "delete", "unknown"]), min_size=1, max_size=2),
    st.sampled_from([None, "text/plain"]),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)
operations = st.builds(lambda node, children: replace(node, children=tuple(children)), nodes, st.lists(nodes, max_size=2))
principals = st.builds(
    lambda kind, groups, actors: replace(ALICE, kind=kind, groups=groups, actors=actors),
    st.sampled_from(KINDS),
    st.sampled_from([(), ("dev:support",)]),
    st.sampled_from([(), (Actor("http://127.0.0.1:8445", "planner"),)]),
)
records = st.builds(
    lambda asked, principal, purpose, source: record(asked, principal, purpose, source),
    operations,
    principals,
    st.sampled_from(["", "support/1", "change/1/2"]),
    st.sampled_from(["claim", "header", "baggage", "none"]),
)
MANY = settings(max_examples=120, deadline=None)


@MANY
@given(rules, records, rules, st.integers(0, 6))
def test_adding_a_deny_never_allows_more(before, flow, more, at):
    denies = [replace(rule, effect="deny") for rule in more]
    old = decide(snapshot(*before), flow, NOW)
    new = decide(snapshot(*before[:at], *denies, *before[at:]), flow, NOW)
    assert RANK[new.effect] <= RANK[old.effect]


@MANY
@given(rules, records, rules)
def test_adding_any_rule_never_takes_a_mask_away(before, flow, more):
    assert set(decide(snapshot(*before), flow, NOW).masks) <= set(decide(snapshot(*before, *more), flow, NOW).masks)


@MANY
@given(rules, records, st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(some_rules, flow, random):
    shuffled = list(some_rules)
    random.shuffle(shuffled)
    assert decide(snapshot(*some_rules), flow, NOW) == decide(snapshot(*shuffled), flow, NOW)


@MANY
@given(rules, records, st.sampled_from(["content_type", "method_override", "nosuch"]), st.sampled_from(["allow", "hold"]))
def test_an_absent_attribute_does_not_match(some_rules, flow, name, effect):
    nodes = replace(flow.operation, attributes={**flow.operation.attributes, name: None}, children=())
    flow.operation = nodes
    asking = Rule("absent", effect, attributes={name: ("None", "null", "", "none")}, approval="one-sre")
    assert decide(snapshot(*some_rules, asking), flow, NOW) == decide(snapshot(*some_rules), flow, NOW)


@MANY
@given(rules, records)
def test_nothing_is_allowed_without_a_rule_that_says_so(some_rules, flow):
    decision = decide(snapshot(*(rule for rule in some_rules if rule.effect != "allow")), flow, NOW)
    assert decision.effect is not Effect.ALLOW


@MANY
@given(rules, records)
def test_the_explanation_tells_the_same_story(some_rules, flow):
    story = explain(snapshot(*some_rules), flow, NOW)
    matched = {one.rule for one in story.rules if one.matched}
    failed = {one.rule for one in story.rules if any(step.got.endswith("the request is denied") for step in one.steps)}
    assert set(story.decision.rules) <= matched | failed
    denying = {one.rule for one in story.rules if one.matched and one.effect == "deny"}
    assert (story.decision.effect is Effect.DENY) or not (denying | failed)
