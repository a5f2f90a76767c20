"""Each client message is an operation; a refusal is said in its protocol's own words."""

import json

import pytest

from addons.core.errors import GuardhouseError, PolicyDeniedError, ValidationError, problem_of
from addons.core.exchange import Access, Operation
from addons.core.services import messages

UPGRADE = Operation("http", "GET", "GET /ws", frozenset({Access.CONNECT}), ("/ws",), {"path": "/ws"})
DENIED = problem_of(PolicyDeniedError("No."), "7")


@pytest.mark.parametrize(
    ("content", "verb", "access"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"users/get"}', "users/get", {Access.EXECUTE}),
        (b'{"jsonrpc":"2.0","method":"log"}', "log", {Access.EXECUTE}),
        (b'{"jsonrpc":"2.0","id":1,"method":"users.delete"}', "users.delete", {Access.EXECUTE, Access.DELETE}),
        (b'{"jsonrpc":"2.0","id":1,"method":"removeAll"}', "removeAll", {Access.EXECUTE, Access.DELETE}),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', "response", {Access.WRITE}),
    ],
)
def test_what_a_json_rpc_message_does(content, verb, access):
    operation = messages.operation("jsonrpc", content, UPGRADE, is_text=True)
    assert operation is not None
    assert (operation.protocol, operation.verb, operation.access, operation.resources) == ("jsonrpc", verb, frozenset(access), (verb,))
    assert set(operation.attributes) == messages.ATTRIBUTES["jsonrpc"]
    assert operation.attributes["path"] == "/ws"


@pytest.mark.parametrize(
    "content", [b"x", b"[]", b'[{"jsonrpc":"2.0","method":"a"}]', b'{"method":"a"}', b'{"jsonrpc":"2.0","method":"a","method":"b"}']
)
def test_what_cannot_be_read_is_refused(content):
    with pytest.raises(ValidationError):
        messages.operation("jsonrpc", content, UPGRADE, is_text=True)


def test_a_binary_message_is_refused_and_a_reading_nobody_knows_is_no_reading():
    with pytest.raises(ValidationError):
        messages.operation("graphql", b'{"type":"ping"}', UPGRADE, is_text=False)
    with pytest.raises(GuardhouseError):
        messages.operation("opaque", b"x", UPGRADE, is_text=True)


@pytest.mark.parametrize(
    ("reading", "content", "said"),
    [
        pytest.param("jsonrpc", b'{"jsonrpc":"2.0","id":5,"method":"a"}', {"jsonrpc": "2.0", "id": 5}, id="a-call"),
        pytest.param("jsonrpc", b'{"jsonrpc":"2.0","method":"a"}', None, id="a-notification"),
        pytest.param("jsonrpc", b'{"jsonrpc":"2.0","id":5,"result":1}', None, id="an-answer"),
        pytest.param("jsonrpc", b"broken", {"jsonrpc": "2.0", "id": None}, id="broken"),
        pytest.param(
            "graphql", b'{"id":"q","type":"subscribe","payload":{"query":"nonsense"}}', {"id": "q", "type": "error"}, id="a-subscription"
        ),
        pytest.param("graphql", b'{"type":"connection_init","payload":{}}', None, id="a-session"),
        pytest.param("graphql", b"broken", None, id="graphql-broken"),
        pytest.param("opaque", b"x", None, id="opaque"),
    ],
)
def test_a_refusal_answers_whoever_waits(reading, content, said):
    answer = messages.refusal(reading, content, DENIED)
    found = None if answer is None else json.loads(answer)
    assert (found is None) is (said is None)
    if said is not None:
        assert found is not None
        assert {name: found[name] for name in said} == said
        assert "policy-denied" in json.dumps(found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(
            '{"id":"a","type":"subscribe","payload":{"query":"{x}"}}',
            '{"id":"b","type":"subscribe","payload":{"query":"{x}"}}',
            True,
            id="the-id",
        ),
        pytest.param('{"id":"a","payload":{"id":1}}', '{"id":"a","payload":{"id":2}}', False, id="an-id-inside-is-content"),
        pytest.param('{"id":1,"x":1.0}', '{"id":2,"x":1.00}', False, id="spelling-is-content"),
    ],
)
def test_an_approval_binds_to_everything_but_the_id(one, other, same):
    assert (messages.without_id("graphql", one.encode()) == messages.without_id("graphql", other.encode())) is same
