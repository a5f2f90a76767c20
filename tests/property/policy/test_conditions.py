"""A condition gives a bool or a ConditionError, whatever its author wrote."""

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.policy.conditions import ConditionError, parse
from addons.core.policy.facts import of, variables
from tests.parts.policy import NOW, operation, record, snapshot

SEEN = variables(of(snapshot(), record(operation()), NOW), operation())
ATOMS = [
    "true", "false", "none", "null", "1", "1.5", "'GET'", "''", "[]", "['GET', 1]", "now", "now.hour", "purpose", "session", "service", "operation.verb",
    "operation.access", "operation.exact", "operation.attributes.path", "operation.attributes.filters", "operation.attributes.content_type",
    "operation.attributes.has_body", "principal.kind", "principal.groups", "principal.owner", "principal.attributes.dept", "principal.auth_time",
    "operation.attributes.nosuch", "operation.__class__", "nosuch", "range(9)", "operation.verb|upper", "operation['verb']", "{}", "1 + 1", "''.join",
]  # fmt: skip
OPERATORS = ["and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "~", "+", "if true else", "."]
TESTS = ["none", "string", "number", "boolean", "true", "false", "defined", "eq(1)", "callable"]
atoms = st.sampled_from(ATOMS)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda left, operator, right: f"({left} {operator} {right})", inner, st.sampled_from(OPERATORS), inner),
        st.builds(lambda one: f"not {one}", inner),
        st.builds(lambda one, test: f"({one}) is {test}", inner, st.sampled_from(TESTS)),
        st.builds(lambda items: f"[{', '.join(items)}]", st.lists(inner, max_size=3)),
    ),
    max_leaves=8,
)


def answer(source: str) -> None:
    try:
        said = parse(source).holds(SEEN)
    except ConditionError:
        return
    assert said is True or said is False


@settings(max_examples=300, deadline=None)
@given(expressions)
def test_of_generated_expressions(source):
    answer(source)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_of_any_text(source):
    answer(source)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *ATOMS,
                *OPERATORS,
                *TESTS,
                "(",
                ")",
                "[",
                "]",
                "{{",
                "}}",
                "{%",
                "%}",
                "#}",
                "'",
                '"',
                "is",
                "not",
                ",",
                "\n",
                "0x1",
                "1_0",
                "**",
            ]
        ),
        max_size=12,
    ).map(" ".join)
)
def test_of_any_words(source):
    answer(source)
