"""What policy read of an MCP message is what any server reads, or the message is refused.

Three other readers stand for the servers: the official package (pydantic), Python's own decoder (the last of two equal keys
wins), and one like Go's, which takes a key in any case.
"""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from addons.core.config.model import Address, Mcp, Service
from addons.core.errors import ValidationError
from addons.core.exchange import Operation
from addons.core.services import mcp

mcp_types = pytest.importorskip("mcp_types", reason="the official MCP package is not here (Python 3.13: pip install mcp)")
TOOLS = Service("tools", "mcp", "http", Address("127.0.0.1", 8000), mcp=Mcp())


def read(body: bytes) -> Operation | None:
    """The operation, None when it is refused."""
    try:
        return mcp.operation("POST", "http", "127.0.0.1", "/mcp", "", [("Content-Type", "application/json")], body, TOOLS)
    except ValidationError:
        return None


def like_go(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object as Go's decoder fills a struct: keys in any case, the last wins."""
    return {key.casefold(): value for key, value in pairs}


def spelled(word: str) -> st.SearchStrategy[str]:
    """A key as it may be spelled: in other cases, escaped, with letters that fold to it."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in word)
    return st.sampled_from([word, word.title(), word.upper(), escaped, word.replace("s", "\u017f"), word + " "])


def member(key: str, value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(spelled(key), value).map(lambda pair: f'"{pair[0]}": {pair[1]}')


def object_of(sound: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """An object with these members, sometimes with one more that is spelled oddly or comes twice, in any order."""
    plain = st.fixed_dictionaries(sound).map(lambda members: [f'"{key}": {value}' for key, value in members.items()])
    more = st.lists(st.one_of(*(member(key, value) for key, value in sound.items())), max_size=1) | st.just([])
    return (
        st.tuples(plain, more).flatmap(lambda parts: st.permutations(parts[0] + parts[1])).map(lambda found: "{" + ", ".join(found) + "}")
    )


TABLE = st.sampled_from(['"a"', '"\\u0061"', "1", "9007199254740993", "1.0", "true", '["a", "b"]', "{}"])
ARGUMENTS = object_of({"table": TABLE, "Limit": st.just("1")})
TOOL = st.sampled_from(['"find"', '"run_sql"', '"r\\u0075n_sql"', '"find"', "7"])
PARAMS = object_of({"name": TOOL, "arguments": ARGUMENTS, "_meta": st.just("{}")})
METHOD = st.sampled_from(['"tools/call"', '"tools\\/call"', '"tools/call"', '"tools/list"'])
MESSAGE = object_of({"jsonrpc": st.just('"2.0"'), "id": st.sampled_from(["1", '"1"', "0", "null"]), "method": METHOD, "params": PARAMS})


@given(MESSAGE)
@example('{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find", "arguments": {"table": "a"}}}')
@example('{"jsonrpc": "2.0", "id": 1, "method": "ping", "Method": "tools/call"}')
def test_every_reader_reads_the_same_call(text):
    operation = read(text.encode())
    if operation is None or operation.verb == mcp.RESPONSE:
        return
    official = mcp_types.jsonrpc_message_adapter.validate_json(text)
    assert isinstance(official, mcp_types.JSONRPCRequest if operation.attributes["id"] is not None else mcp_types.JSONRPCNotification)
    plain, folded = json.loads(text), json.loads(text, object_pairs_hook=like_go)
    assert official.method == plain["method"] == folded["method"] == operation.verb
    if operation.verb != "tools/call":
        return
    (tool,) = operation.resources
    assert official.params["name"] == plain["params"]["name"] == folded["params"]["name"] == tool
    for reader in (official.params, plain["params"], folded["params"]):
        arguments = reader.get("arguments") or {}
        for name, value in operation.attributes.items():
            if name.startswith(mcp.ARGUMENT) and reader is not folded["params"]:
                assert arguments[name.removeprefix(mcp.ARGUMENT)] == value
            elif name.startswith(mcp.ARGUMENT):
                assert arguments[name.removeprefix(mcp.ARGUMENT).casefold()] == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find"}, "params": {"name": "run_sql"}}', id="twice"
        ),
        pytest.param(
            '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find", "NAME": "run_sql"}}', id="in-capitals"
        ),
        pytest.param(
            '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find"}, "PARAMS": {"name": "run_sql"}}', id="params"
        ),
        pytest.param('[{"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}]', id="batch"),
        pytest.param(
            '{"jsonrpc": "2.0", "id": 1, "method": "ping"}{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}', id="two-documents"
        ),
        pytest.param('{"jsonrpc": "2.0", "id": 1, "method": "ping"} // {"method": "tools/call"}', id="comment"),
        pytest.param('{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find\\u0000"}}', id="zero-byte-in-the-name"),
        pytest.param('{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find\\ud800"}}', id="lone-surrogate"),
    ],
)
def test_a_second_call_inside_the_message_is_refused(text):
    assert read(text.encode()) is None
