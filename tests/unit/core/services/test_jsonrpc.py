import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.errors import CODES, GuardhouseError, ValidationError, problem_of
from addons.core.services import jsonrpc
from addons.core.services.jsonrpc import Message

CALL = b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "run_sql"}}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(CALL, Message("tools/call", 7, {"name": "run_sql"}), id="request"),
        pytest.param(b'{"jsonrpc":"2.0","id":"a-1","method":"ping"}', Message("ping", "a-1", {}), id="text-id"),
        pytest.param(b'{"jsonrpc":"2.0","id":0,"method":"ping","params":null}', Message("ping", 0, {}), id="id-zero"),
        pytest.param(
            b'{"jsonrpc":"2.0","method":"notifications/initialized"}', Message("notifications/initialized", None, {}), id="notification"
        ),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}', Message(None, 1, {}), id="response"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}', Message(None, 1, {}), id="error-response"),
    ],
)
def test_what_is_a_message(body, message):
    assert jsonrpc.read(body) == message
    assert jsonrpc.read(body).is_request == (message.method is not None and message.id is not None)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        pytest.param(b"", "rpc-json", id="empty"),
        pytest.param(CALL[:-1], "rpc-json", id="cut"),
        pytest.param(b"\xef\xbb\xbf" + CALL, "rpc-json", id="byte-order-mark"),
        pytest.param(CALL.decode().encode("utf-16"), "rpc-json", id="utf-16"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', "rpc-json", id="method-twice"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","\\u006eame":"b"}}', "rpc-json", id="name-twice-escaped"
        ),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":NaN}}', "rpc-json", id="nan"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}", "rpc-json", id="deep"),
        pytest.param(b"[" + CALL + b"]", "rpc-batch", id="batch"),
        pytest.param(b"[]", "rpc-batch", id="empty-batch"),
        pytest.param(b'"ping"', "rpc-message", id="a-text"),
        pytest.param(b'{"id":1,"method":"ping"}', "rpc-message", id="no-version"),
        pytest.param(b'{"jsonrpc":"1.0","id":1,"method":"ping"}', "rpc-message", id="another-version"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', "rpc-message", id="key-in-another-case"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', "rpc-message", id="method-and-result"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', "rpc-message", id="result-and-error"),
        pytest.param(b'{"jsonrpc":"2.0","result":{}}', "rpc-message", id="response-without-id"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"result":{},"params":{}}', "rpc-message", id="response-with-params"),
        pytest.param(b'{"jsonrpc":"2.0","id":1}', "rpc-message", id="neither"),
        pytest.param(b'{"jsonrpc":"2.0","id":null,"method":"tools/call"}', "rpc-id", id="null-id"),
        pytest.param(b'{"jsonrpc":"2.0","id":true,"method":"ping"}', "rpc-id", id="id-true"),
        pytest.param(b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', "rpc-id", id="id-fraction"),
        pytest.param(b'{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}', "rpc-id", id="id-beyond-two-to-the-53rd"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":["tools/call"]}', "rpc-method", id="method-list"),
        pytest.param('{"jsonrpc":"2.0","id":1,"method":"tools/c\u0430ll"}'.encode(), "rpc-method", id="method-with-a-look-alike"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["run_sql"]}', "rpc-params", id="params-list"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(body, rule):
    with pytest.raises(ValidationError) as caught:
        jsonrpc.read(body)
    assert caught.value.detail == rule


@pytest.mark.parametrize(
    ("members", "known"),
    [
        pytest.param({"Name": "x"}, ("name",), id="another-case-of-a-known-one"),
        pytest.param({"name": "x", "NAME": "y"}, ("name",), id="both"),
        pytest.param({"table": 1, "Table": 2}, (), id="two-unknown-ones"),
        pytest.param({"argument\u017f": 1}, ("arguments",), id="long-s"),  # Go's decoder folds it to s
        pytest.param({"to\u212aen": 1}, ("token",), id="kelvin-sign"),
    ],
)
def test_keys_that_differ_in_case_only_are_refused(members, known):
    with pytest.raises(ValidationError):
        jsonrpc.check_keys(members, known)


@pytest.mark.parametrize(
    ("body", "blanked"),
    [
        pytest.param(CALL, CALL.replace(b"7", b"null"), id="id"),
        pytest.param(b' {"id" : "a}\\"b" , "x": {"id": 1}}\n', b' {"id" : null , "x": {"id": 1}}\n', id="only-the-outer-id"),
        pytest.param(b'{"\\u0069d":1}', b'{"\\u0069d":null}', id="escaped-key"),
        pytest.param(
            b'{"params":{"_meta":{"a":1,"progressToken":5},"x":"\xc3\xa4"},"id":5}',
            b'{"params":{"_meta":{"a":1,"progressToken":null},"x":"\xc3\xa4"},"id":null}',
            id="progress-token",
        ),
        pytest.param(b'{"params":{"progressToken":5,"_meta":[1]}}', b'{"params":{"progressToken":5,"_meta":[1]}}', id="elsewhere"),
        pytest.param(b"{}", b"{}", id="nothing"),
    ],
)
def test_the_id_is_blanked_and_every_other_byte_stays(body, blanked):
    assert jsonrpc.without_id(body) == blanked


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "params", "_meta", "progressToken", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["id", "params", "method"]), values), st.sampled_from([None, 1]), st.booleans())
def test_two_bodies_are_one_only_when_they_differ_in_the_id_alone(document, indent, ascii_only):
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    expected = json.loads(body)
    if "id" in expected:
        expected["id"] = None
    meta = expected["params"].get("_meta") if isinstance(expected.get("params"), dict) else None
    if isinstance(meta, dict) and "progressToken" in meta:
        meta["progressToken"] = None
    assert jsonrpc.without_id(body).decode() == json.dumps(expected, indent=indent, ensure_ascii=ascii_only)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("policy-denied", jsonrpc.REFUSED), ("approval-denied", jsonrpc.REFUSED), ("token-expired", jsonrpc.REFUSED),
        ("approval-pending", jsonrpc.WAITING), ("too-many-pending", jsonrpc.WAITING), ("request-malformed", jsonrpc.INVALID),
        ("write-back", jsonrpc.INVALID), ("audit-unavailable", jsonrpc.UNAVAILABLE), ("upstream-failed", jsonrpc.UNAVAILABLE),
        ("unmaskable", jsonrpc.UNAVAILABLE),
    ],
)  # fmt: skip
def test_a_refusal_is_an_error_with_our_sentence_and_the_problem_as_data(code, number):
    problem = problem_of(GuardhouseError("Not today.", code=code, extra={"rules": ["r"]}), "0190")
    said = json.loads(jsonrpc.error_of(problem, "a"))
    assert said == {
        "jsonrpc": "2.0",
        "id": "a",
        "error": {
            "code": number,
            "message": "Not today.",
            "data": {
                "type": f"urn:guardhouse:problem:{code}", "title": CODES[code].title, "status": CODES[code].status, "code": code,
                "detail": "Not today.", "instance": "urn:uuid:0190", "rules": ["r"],
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize("code", sorted(CODES))
def test_no_number_is_one_that_mcp_uses_itself(code):
    number = json.loads(jsonrpc.error_of(problem_of(GuardhouseError(code=code)), None))["error"]["code"]
    assert number == jsonrpc.INVALID or -32019 <= number <= -32003
