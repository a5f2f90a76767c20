import base64
import json

import pytest

from addons.core.config.model import Accept, Address, Mcp, Service
from addons.core.errors import GuardhouseError, RouteError, ValidationError
from addons.core.exchange import Access, Operation
from addons.core.services import extract, mcp

TOOLS = Service("tools", "mcp", "http", Address("127.0.0.1", 8000), mcp=Mcp(tools={"wipe": ("delete", "admin")}))
JSON = ("Content-Type", "application/json")


def post(method="tools/call", params=None, id=1, headers=(), body=None, service=TOOLS, path="/mcp", query=""):
    message = {"jsonrpc": "2.0", "method": method} | ({} if id is None else {"id": id}) | ({} if params is None else {"params": params})
    body = json.dumps(message).encode() if body is None else body
    return extract.operation("POST", "http", "127.0.0.1", path, query, [JSON, *headers], body, service)


def test_a_tool_call():
    assert post(params={"name": "run_sql", "arguments": {"query": "SELECT 1", "limit": 5, "dry": True, "tags": ["a", "b"], "more": {"x": 1}}}) == Operation(
        protocol="mcp",
        verb="tools/call",
        text='tools/call run_sql {"query": "SELECT 1", "limit": 5, "dry": true, "tags": ["a", "b"], "more": {"x": 1}}',
        access=frozenset({Access.EXECUTE}),
        resources=("run_sql",),
        attributes={
            "scheme": "http", "host": "127.0.0.1", "method": "POST", "path": "/mcp", "filters": [], "id": 1, "tool": "run_sql", "prompt": None,
            "uri": None, "arguments": ["dry", "limit", "more", "query", "tags"], "has_session": False, "argument.query": "SELECT 1",
            "argument.limit": 5, "argument.dry": True, "argument.tags": ["a", "b"],
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "params", "verb", "access", "resources", "text"),
    [
        ("initialize", {"protocolVersion": "2025-06-18"}, "initialize", "connect", (), "initialize"),
        ("ping", None, "ping", "connect", (), "ping"),
        ("server/discover", {}, "server/discover", "connect", (), "server/discover"),
        ("tools/list", {"cursor": "x"}, "tools/list", "read", (), "tools/list"),
        ("resources/read", {"uri": "file:///a"}, "resources/read", "read", ("file:///a",), "resources/read file:///a"),
        ("prompts/get", {"name": "p", "arguments": {"a": "b"}}, "prompts/get", "read", ("p",), 'prompts/get p {"a": "b"}'),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "p"}},
            "completion/complete",
            "read",
            ("p",),
            "completion/complete p",
        ),
        ("tasks/cancel", {"taskId": "t1"}, "tasks/cancel", "write", ("t1",), "tasks/cancel t1"),
        ("vendor/erase.ann", {}, "unknown", "unknown", ("vendor/erase.ann",), "vendor/erase.ann"),
        ("session/end", {}, "unknown", "unknown", ("session/end",), "session/end"),  # a message is not the DELETE that ends a session
    ],
)
def test_what_each_method_is(method, params, verb, access, resources, text):
    found = post(method, params)
    assert (found.verb, found.access, found.resources, found.text) == (verb, {Access(access)}, resources, text)


def test_a_message_cannot_claim_to_be_a_response():
    assert post("response", {}).verb == "unknown"


def test_a_response_of_the_client_is_a_write():
    found = post(body=b'{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{}}}')
    assert (found.verb, found.access, found.attributes["id"]) == ("response", {Access.WRITE}, 1)


@pytest.mark.parametrize(("method", "verb"), [("GET", "session/listen"), ("DELETE", "session/end")])
def test_the_stream_and_the_end_of_a_session_are_verbs_of_their_own(method, verb):
    found = extract.operation(method, "http", "127.0.0.1", "/mcp", "", [("Mcp-Session-Id", "abc")], b"", TOOLS)
    assert (found.verb, found.text, found.access, found.resources) == (verb, f"{verb} /mcp", {Access.CONNECT}, ())
    assert (found.attributes["has_session"], found.attributes["id"]) == (True, None)
    assert set(found.attributes) == mcp.ATTRIBUTES


def test_what_a_tool_does_is_said_by_its_operator():
    assert post(params={"name": "wipe"}).access == {Access.DELETE, Access.ADMIN}


@pytest.mark.parametrize("params", [{"name": "a"}, {"name": "a", "arguments": None}, {"name": "a", "arguments": {}}])
def test_all_declared_attributes_are_always_set(params):
    assert set(post(params=params).attributes) == mcp.ATTRIBUTES


def test_numbers_that_readers_read_differently_are_no_attributes():
    found = post(params={"name": "a", "arguments": {"big": 9007199254740993, "part": 1.0, "none": None, "mixed": ["a", {}], "empty": []}})
    assert [name for name in found.attributes if name.startswith("argument.")] == []


def test_long_arguments_are_cut_in_the_text_only():
    found = post(params={"name": "a", "arguments": {"x": "y" * 9000}})
    assert len(found.text) < 4100 and found.text.endswith("... (9009 characters)")
    assert "argument.x" not in found.attributes  # no rule writes it out


NAME = {"name": "run_sql", "arguments": {"region": "eu", "n": 5, "on": True}}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Mcp-Method", "tools/call"), ("Mcp-Name", "run_sql")], id="plain"),
        pytest.param([("mcp-name", "=?base64?" + base64.b64encode(b"run_sql").decode() + "?=")], id="coded"),
        pytest.param([("Mcp-Param-Region", "eu"), ("Mcp-Param-N", "5"), ("Mcp-Param-On", "true")], id="parameters"),
        pytest.param([("Mcp-Session-Id", "x"), ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Other", "y")], id="others"),
    ],
)
def test_headers_that_repeat_the_message_may_come(headers):
    assert post(params=NAME, headers=headers).resources == ("run_sql",)


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        pytest.param([("Mcp-Method", "tools/list")], "mcp-header", id="another-method"),
        pytest.param([("Mcp-Name", "echo")], "mcp-header", id="another-name"),
        pytest.param([("Mcp-Name", "=?base64?!!?=")], "mcp-header", id="broken-coding"),
        pytest.param([("Mcp-Param-Region", "us")], "mcp-header", id="another-argument"),
        pytest.param([("Mcp-Name", "run_sql"), ("mcp-name", "echo")], "header-duplicate", id="twice"),
        pytest.param([("Mcp-Session-Id", "a"), ("Mcp-Session-Id", "a")], "header-duplicate", id="two-sessions"),
        pytest.param([("Content-Encoding", "gzip")], "body-coding", id="coded-body"),
    ],
)
def test_a_header_that_says_something_else_is_refused(headers, rule):
    with pytest.raises(ValidationError) as caught:
        post(params=NAME, headers=headers)
    assert caught.value.detail == rule


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"params": {}}, id="no-name"),
        pytest.param({"params": {"name": ""}}, id="empty-name"),
        pytest.param({"params": {"name": 7}}, id="name-a-number"),
        pytest.param({"params": {"name": "a\u202eb"}}, id="name-with-a-direction-mark"),
        pytest.param({"params": {"name": "a", "Name": "b"}}, id="name-in-two-cases"),
        pytest.param({"params": {"name": "a", "Arguments": {"x": 1}}}, id="arguments-in-another-case"),
        pytest.param({"params": {"name": "a", "arguments": []}}, id="arguments-a-list"),
        pytest.param({"params": {"name": "a", "arguments": {"table": "a", "TABLE": "b"}}}, id="argument-in-two-cases"),
        pytest.param({"method": "resources/read", "params": {"name": "a"}}, id="no-uri"),
        pytest.param({"method": "completion/complete", "params": {"ref": "p"}}, id="ref-a-text"),
    ],
)
def test_a_message_that_says_no_one_thing_is_refused(asked):
    with pytest.raises(ValidationError):
        post(**asked)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"])
def test_a_message_is_utf8_json(kind):
    with pytest.raises(ValidationError):
        extract.operation(
            "POST", "http", "127.0.0.1", "/mcp", "", [("Content-Type", kind)], b'{"jsonrpc":"2.0","id":1,"method":"ping"}', TOOLS
        )


@pytest.mark.parametrize(
    ("method", "code"), [("PUT", "method-not-allowed"), ("OPTIONS", "method-not-allowed"), ("PATCH", "method-not-allowed")]
)
def test_other_methods_are_not_allowed(method, code):
    with pytest.raises(GuardhouseError) as caught:
        extract.operation(method, "http", "127.0.0.1", "/mcp", "", [], b"", TOOLS)
    assert (caught.value.code, caught.value.headers) == (code, {"Allow": "POST, GET, DELETE"})


@pytest.mark.parametrize("path", ["/", "/mcp/", "/MCP", "/.well-known/oauth-protected-resource"])
def test_other_paths_of_the_server_are_not_served(path):
    with pytest.raises(RouteError):
        post(params=NAME, path=path)


def test_a_delete_has_no_body():
    with pytest.raises(ValidationError):
        extract.operation("DELETE", "http", "127.0.0.1", "/mcp", "", [], b"{}", TOOLS)


def test_an_accepted_override_is_refused_all_the_same():
    loose = Service("tools", "mcp", "http", Address("127.0.0.1", 8000), accept=Accept(method_override=True), mcp=Mcp())
    with pytest.raises(ValidationError):
        post("ping", service=loose, headers=[("X-HTTP-Method-Override", "DELETE")])


def test_the_query_of_the_address_is_looked_at():
    assert post("ping", query="project=7").attributes["filters"] == ["project"]


@pytest.mark.parametrize(
    "uri",
    [
        "file:///public/a.txt",
        "greeting://Ann%20Lee",
        "db://tables/customers?limit=5#x",
        "file:///a...b/.hidden",
        "file:///{path}",
        "urn:isbn:1",
        "x://a/%E4%BD%A0",
    ],
)
def test_a_plain_uri_is_a_resource(uri):
    assert post("resources/read", {"uri": uri}).resources == (uri,)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///public/../etc/passwd", "file:///public/..", "file:///./a", "file:///public/%2e%2e/etc", "file:///public/%2E./etc", "file:///a%2fb",
        "file:///a%5Cb", "file:///a\\b", "file:///%73ecret", "file:///a%252e", "file:///a%zz", "file:////secret", "file:///a//b", "FILE:///a", "secret",
        "file:///a%00", "https://h//a", "file:///public/..?x", "file:///public/..#x",
    ],
)  # fmt: skip
def test_a_uri_in_another_spelling_is_refused(uri):
    with pytest.raises(ValidationError) as caught:
        post("resources/read", {"uri": uri})
    assert caught.value.detail == "mcp-uri"


def test_what_is_too_much_is_refused():
    with pytest.raises(ValidationError) as caught:
        post(body=b'{"jsonrpc":"2.0","id":1,"method":"ping"}' + b" " * (4 << 20))
    assert caught.value.code == "request-too-large"
    with pytest.raises(ValidationError):
        post(params={"name": "a", "arguments": {str(number): 1 for number in range(1001)}})
