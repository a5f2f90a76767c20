import pytest

from addons.core.policy.conditions import ConditionError, parse
from addons.core.policy.facts import of, variables
from tests.parts.policy import NOW, operation, record, snapshot

SEEN = variables(of(snapshot(), record(operation(attributes={"content_type": "text/plain", "filters": ["name"]}), session_id="s1"), NOW), operation(attributes={"content_type": "text/plain", "filters": ["name"]}))  # fmt: skip


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("true", True),
        ("not true", False),
        ("operation.verb == 'GET'", True),
        ("operation.protocol != 'http' or operation.exact", True),
        ("operation.attributes.path in ['/customers/7', '/customers/8']", True),
        ("'read' in operation.access", True),
        ("'delete' in operation.access", False),
        ("'/customers/7' in operation.resources", True),
        ("'email' not in operation.attributes.filters", True),
        ("operation.attributes.has_body is false", True),
        ("operation.attributes.method_override is none", True),
        ("not operation.attributes.method_override", True),
        ("operation.attributes.method_override != true", True),
        ("operation.attributes.content_type is string", True),
        ("principal.kind == 'human' and principal.issuer_alias == 'dev'", True),
        ("principal.person == 'dev:alice'", True),
        ("'dev:support' in principal.groups", True),
        ("principal.owner is none", True),
        ("principal.owner == null", True),
        ("purpose == 'support/4711'", True),
        ("session == 's1'", True),
        ("service == 'crm'", True),
        ("now > 1600000000", True),
        ("now.year == 2023 and now.month == 11 and now.day == 14 and now.hour == 22 and now.minute == 13 and now.weekday == 1", True),
        ("8 <= now.hour < 18", False),
        ("now.unix == 1700000000", True),
    ],
)
def test_what_a_condition_can_say(source, said):
    assert parse(source).holds(SEEN) is said


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "cannot be read"),
        ("operation.verb ==", "cannot be read"),
        ("true true", "more than one expression"),
        ("true }} {{ true", "cannot be read|more than one"),
        ("operation.verb.lower() == 'get'", "a call"),
        ("operation.verb | lower", "a filter"),
        ("operation['verb']", "a subscript"),
        ("operation.resources[0]", "a subscript"),
        ("1 + 1 == 2", "arithmetic"),
        ("-1 < now", "arithmetic"),
        ("'a' ~ 'b'", "`~`"),
        ("true if true else false", "an inline if"),
        ("{'a': 1}", "a mapping"),
        ("operation.verb is defined", "the test `is defined`"),
        ("now is divisibleby(2)", "the test `is divisibleby`"),
        ("operation.verb is eq('GET')", "the test `is eq`"),
        ("range", "names `range`"),
        ("self", "names `self`"),
        ("nosuch == 1", "names `nosuch`"),
        ("operation", "alone is not a value"),
        ("operation.nosuch", "has no `nosuch`"),
        ("operation.attributes", "no attribute"),
        ("operation.attributes.a.b", "attribute of a plain value"),
        ("operation.verb.upper", "attribute of a plain value"),
        ("operation.__class__", "has no `__class__`"),
        ("principal.attributes.__class__", "underscore"),
        ("purpose.upper", "has no attributes"),
        ("'a'.upper", "attributes of the variables only"),
        ("now.__class__", "has no `__class__`"),
        ("'" + "a" * 2100 + "'", "longer than 2000"),
        ("(" * 500 + "1" + ")" * 500, "cannot be read"),
        ("[" + ",".join("1" for _ in range(400)) + "]", "too long"),
    ],
)
def test_what_a_condition_may_not_hold(source, why):
    with pytest.raises(ConditionError, match=why):
        parse(source)


@pytest.mark.parametrize(
    "source",
    ["null", "1", "'true'", "operation.verb", "operation.attributes.filters", "operation.attributes.content_type and true and operation.verb", "principal.attributes.dept is none",
     "principal.attributes.dept == 'x'", "now < 'a'", "'a' in now", "1 in 1"],
)  # fmt: skip
def test_anything_but_true_or_false_is_an_error(source):
    with pytest.raises(ConditionError):
        parse(source).holds(SEEN)


def test_a_condition_says_which_attributes_and_variables_it_reads():
    condition = parse(
        "operation.attributes.path == '/' and not (purpose == 'a' or principal.attributes.x == 1) and operation.attributes.has_body"
    )
    assert condition.attributes == {"path", "has_body"}
    assert condition.names == {"operation", "purpose", "principal"}


def test_the_error_of_a_condition_never_holds_a_value_of_the_request():
    with pytest.raises(ConditionError) as failed:
        parse("operation.attributes.path < 1").holds(SEEN)
    assert "/customers" not in str(failed.value)
