"""GraphQL over WebSocket: the type and the top-level fields of exactly one operation, or a refusal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.errors import ValidationError
from addons.core.exchange import Access, Operation
from addons.core.services import graphql

UPGRADE = Operation(
    "http", "GET", "GET /graphql", frozenset({Access.CONNECT}), ("/graphql",), {"scheme": "http", "host": "h", "path": "/graphql"}
)


def subscribe(query: object, **more: object) -> bytes:
    return json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query, **more}}).encode()


@pytest.mark.parametrize(
    ("document", "type", "name", "fields"),
    [
        pytest.param("{ a }", "query", None, ("a",), id="short-form"),
        pytest.param("query Q { b a b }", "query", "Q", ("a", "b"), id="named"),
        pytest.param("{ harmless: salaries { x } }", "query", None, ("salaries",), id="an-alias-hides-nothing"),
        pytest.param("subscription { tick }", "subscription", None, ("tick",), id="subscription"),
        pytest.param(
            "mutation M($id: [ID!]! = [1] @d) @e(x: $id) { drop(id: $id) }", "mutation", "M", ("drop",), id="variables-and-directives"
        ),
        pytest.param(
            "{ ...F } fragment F on Query { salaries ...G } fragment G on Query { b }", "query", None, ("b", "salaries"), id="fragments"
        ),
        pytest.param("{ ... on Query { a } ... @include(if: true) { b } }", "query", None, ("a", "b"), id="inline-fragments"),
        pytest.param("{ ...F } fragment F on Query { a ...F }", "query", None, ("a",), id="a-fragment-in-itself"),
        pytest.param('{ a(x: "} mutation { b }", y: """ } " \\""" """) }', "query", None, ("a",), id="strings-are-no-syntax"),
        pytest.param("# mutation { b }\n{ a,,, }", "query", None, ("a",), id="comments-and-commas"),
        pytest.param("{ query mutation on }", "query", None, ("mutation", "on", "query"), id="keywords-are-names"),
        pytest.param("{ a(x: {y: [1, -2.5e3, null, ENUM, $v]}) }", "query", None, ("a",), id="values"),
        pytest.param("\ufeff{ a }", "query", None, ("a",), id="byte-order-mark"),
        pytest.param("{ __schema { types } }", "query", None, ("__schema",), id="introspection-is-a-field"),
    ],
)
def test_what_a_document_runs(document, type, name, fields):
    found = graphql.parse(document)
    assert (found.type, found.name, found.fields) == (type, name, fields)


@pytest.mark.parametrize(
    "document",
    [
        "", "{", "{}", "{ a", "{ a } }", "a", "query", "query { }", "{ a( }", "{ a() }", "{ a(x:) }", "{ a(x: 1 }", "{ ...F }", "fragment F on Q { a }",
        "type A { b: C }", "{ a } extend type B { c: D }", "query A { a } query B { b }", "{ a } { b }", "query A { a } query A { b }",
        "subscription { a b }", "{ a(x: 1a) }", '{ a(x: ") }', '{ a(x: """) }', "{ a ; b }", "{ ä }", "{ a } fragment on on Q { b }",
        "{ ...F } fragment F on Q { a } fragment F on Q { b }", "{ a(x: $) }", "query($x: Int = $y) { a }", "{" * 100 + "a" + "}" * 100, "{ a\x00 }",
        "{ a..b }", "{ a: b: c }",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(document):
    with pytest.raises(ValidationError):
        graphql.parse(document)


def test_a_name_chooses_among_several():
    both = "query A { a } mutation B { b }"
    assert graphql.parse(both, "B") == graphql.Document("mutation", "B", ("b",))
    with pytest.raises(ValidationError):
        graphql.parse(both, "C")


@pytest.mark.parametrize(
    ("query", "verb", "access"),
    [
        ("{ a }", "query", {Access.READ}),
        ("subscription { a }", "subscription", {Access.READ}),
        ("mutation { a }", "mutation", {Access.WRITE}),
        ("mutation { a deleteCustomer }", "mutation", {Access.WRITE, Access.DELETE}),
        ("mutation { x: customers_purge }", "mutation", {Access.WRITE, Access.DELETE}),
        ("{ deleted }", "query", {Access.READ}),
    ],
)
def test_what_a_message_does(query, verb, access):
    operation = graphql.operation(subscribe(query, variables={"id": 7}), UPGRADE)
    assert operation is not None
    assert (operation.protocol, operation.verb, operation.access, operation.exact) == ("graphql", verb, frozenset(access), True)
    assert set(operation.attributes) == graphql.ATTRIBUTES
    assert (operation.attributes["path"], operation.attributes["variables"], operation.attributes["method"]) == ("/graphql", ["id"], None)


@pytest.mark.parametrize("kind", ["connection_init", "ping", "pong", "complete"])
def test_what_keeps_the_session_asks_for_nothing(kind):
    assert graphql.operation(json.dumps({"type": kind}).encode(), UPGRADE) is None


def test_a_session_that_brings_parameters_is_judged():
    operation = graphql.operation(b'{"type":"connection_init","payload":{"authToken":"x"}}', UPGRADE)
    assert operation is not None
    assert (operation.verb, operation.access, operation.attributes["variables"]) == ("connection_init", {Access.CONNECT}, ["authToken"])


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x", b"[]", b'{"type":1}', b'{"type":"next","id":"1"}', b'{"type":"subscribe"}', b'{"type":"subscribe","id":"","payload":{"query":"{a}"}}',
        b'{"type":"subscribe","id":"1","type":"ping"}', b'{"type":"subscribe","id":1,"payload":{"query":"{a}"}}', b'{"type":"ping","more":1}',
        b'{"type":"start","id":"1","payload":{"query":"{a}"}}', b'{"id":"1","type":"subscribe","payload":[]}', subscribe(None), subscribe(["{a}"]),
        subscribe("{a}", operationName=1), subscribe("{a}", variables=[]), subscribe("{a}", Query="{b}"),
        subscribe("{a}", extensions={"persistedQuery": {"sha256Hash": "x"}}), b"\xef\xbb\xbf" + subscribe("{a}"), subscribe("{a}").decode().encode("utf-16"),
    ],
)  # fmt: skip
def test_a_message_that_two_readers_could_read_differently_is_refused(content):
    with pytest.raises(ValidationError):
        graphql.operation(content, UPGRADE)


@given(st.text(alphabet="{}()[]:$!@=.|\"'# \nabquerymutationfragmenton1-\\é", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        found = graphql.parse(text)
    except ValidationError:
        return
    assert found.fields
    assert found.type in graphql.ACCESS


@given(st.lists(st.from_regex(r"\A[a-z]{1,6}\Z"), min_size=1, max_size=5), st.sampled_from([" ", "\n", ",", " # c\n", "\t"]))
def test_every_field_is_seen_however_it_is_spaced(names, space):
    fields = space.join(f"z{number}{space}:{space}{name}(x: 1)" for number, name in enumerate(names))
    assert graphql.parse(f"mutation{space}{{{space}{fields}{space}}}").fields == tuple(sorted(set(names)))


@pytest.mark.parametrize(
    ("document", "aliases", "filters"),
    [
        pytest.param("{ a { x: ssn y { z: z } } }", ("x",), (), id="nested-aliases"),
        pytest.param("{ ...F } fragment F on Q { x: a }", ("x",), (), id="aliases-in-fragments"),
        pytest.param(
            '{ a(where: {email: {startsWith: "b"}}, sort: email_ASC) { b } }',
            (),
            ("b", "email", "email_ASC", "sort", "startsWith", "where"),
            id="filters",
        ),
        pytest.param('{ a { b(orderBy: "-ssn", n: 3, t: "two words") } }', (), ("-ssn", "n", "orderBy", "t"), id="nested-filters"),
    ],
)
def test_other_names_and_names_to_choose_by_are_seen_wherever_they_stand(document, aliases, filters):
    found = graphql.parse(document)
    assert (found.aliases, found.filters) == (aliases, filters)


def test_variables_may_choose_too_and_a_mutation_writes():
    query = graphql.operation(subscribe("query($w: W) { a(where: $w) }", variables={"w": {"email": {"eq": "x y"}, "by": ["ssn"]}}), UPGRADE)
    assert query is not None
    assert query.attributes["filters"] == ["by", "email", "eq", "ssn", "w", "where"]
    mutation = graphql.operation(subscribe("mutation { a(email: 1) }"), UPGRADE)
    assert mutation is not None
    assert mutation.attributes["filters"] == []


def test_where_answers_are_masked_a_field_keeps_its_name():
    aliased = graphql.operation(subscribe("{ a { harmless: ssn } }"), UPGRADE)
    plain = graphql.operation(subscribe("{ a { ssn: ssn } }"), UPGRADE)
    assert aliased is not None and plain is not None
    graphql.check_aliases(aliased, ())
    graphql.check_aliases(plain, ("pii",))
    with pytest.raises(ValidationError):
        graphql.check_aliases(aliased, ("pii",))
