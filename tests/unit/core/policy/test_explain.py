from addons.core.policy.explain import Step, explain
from tests.parts.policy import AGENT, NOW, operation, record, rule, snapshot


def test_every_criterion_of_every_rule_is_answered():
    rules = [
        rule("reads", methods=("GET",), principals={"kinds": ("human",)}),
        rule("other", "deny", services=("echo",), access=("delete",)),
    ]
    story = explain(snapshot(*rules), record(), NOW)
    assert story.decision.rules == ("reads",)
    assert [(one.rule, one.matched) for one in story.rules] == [("reads", True), ("other", False)]
    assert story.rules[1].steps == (Step("services", False, "echo", "crm"), Step("access", False, "delete", "read"))


def test_a_header_purpose_that_does_not_count_says_why():
    story = explain(snapshot(rule(purposes=("support/*",))), record(source="header"), NOW)
    assert story.rules[0].steps[0].got == "support/4711, but only by header: an allow counts a signed claim only"


def test_a_condition_is_asked_after_the_rest_and_its_error_is_told():
    story = explain(snapshot(rule("a", when="null"), rule("b", services=("echo",), when="null")), record(), NOW)
    assert [step.key for step in story.rules[0].steps] == ["when"]
    assert "neither true nor false" in story.rules[0].steps[0].got
    assert [step.key for step in story.rules[1].steps] == ["services"]


def test_nested_and_heuristic_operations_are_told_one_by_one():
    nested = operation("POST", access="write", exact=False, children=(operation("DELETE", access="delete"),))
    story = explain(snapshot(rule("a", principals={"clients": ("planner-agent",)})), record(nested, AGENT), NOW)
    assert [(one.operation, one.matched) for one in story.rules] == [("POST /customers/7", False), ("DELETE /customers/7", True)]
    assert story.rules[0].steps[-1].key == "exact"


def test_an_attribute_that_is_absent_is_called_absent():
    story = explain(snapshot(rule(attributes={"content_type": ("text/plain", "text/html"), "has_body": ("true",)})), record(), NOW)
    assert story.rules[0].steps == (
        Step("attributes", False, "content_type: text/plain or text/html; has_body: true", "content_type: absent; has_body: false"),
    )
