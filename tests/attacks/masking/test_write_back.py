"""A mask never travels back: every way to write one in is refused, and what only looks like one passes."""

import base64
import gzip
import json
import time
import urllib.parse
import zlib

import brotli
import pytest
import zstandard

from addons.core.errors import Unmaskable, WriteBackError
from addons.core.masking import write_back
from addons.core.masking.transforms import Transformer
from tests.parts import masking as parts

MARKS = Transformer(parts.KEY).marks
MARK = MARKS.make("EMAIL_ADDRESS", body="JFY6ISSXQ2")
EMAIL = MARKS.make_email("JFY6ISSXQ2")
VIEW = parts.view()
JSON_HEADERS = ((b"Content-Type", b"application/json"),)


def refuse(body: bytes = b"", target: bytes = b"/customers/1", fields=JSON_HEADERS):
    write_back.refuse_marks(target, fields, body, VIEW, MARKS, parts.warm_engine().would_mask(VIEW))


WRAPPINGS = {
    "plain": lambda m: m,
    "in-a-sentence": lambda m: f"contact {m} today",
    "json": lambda m: json.dumps({"a": {"b": [m]}}),
    "json-escaped": lambda m: '{"a": "' + "".join(f"\\u{ord(char):04x}" for char in m) + '"}',
    "json-escaped-upper": lambda m: '{"a": "' + "".join(f"\\u{ord(char):04X}" for char in m) + '"}',
    "json-in-json": lambda m: json.dumps({"a": json.dumps({"b": m})}),
    "escaped-json-in-json": lambda m: json.dumps({"a": '{"b": "' + "".join(f"\\u{ord(char):04x}" for char in m) + '"}'}),
    "as-a-key": lambda m: json.dumps({m: 1}),
    "percent": lambda m: urllib.parse.quote(m, safe=""),
    "percent-twice": lambda m: urllib.parse.quote(urllib.parse.quote(m, safe=""), safe=""),
    "percent-every-byte": lambda m: "".join(f"%{byte:02X}" for byte in m.encode()),
    "form": lambda m: "a=b&c=" + urllib.parse.quote_plus(m),
    "html-decimal": lambda m: "".join(f"&#{ord(char)};" for char in m),
    "base64": lambda m: base64.b64encode(m.encode()).decode(),
    "base64-second-alignment": lambda m: base64.b64encode(b"x" + m.encode()).decode(),
    "base64-third-alignment": lambda m: base64.b64encode(b"xy" + m.encode() + b"z").decode(),
    "base64-in-a-manifest": lambda m: json.dumps({"kind": "Secret", "data": {"x": base64.b64encode(b"pw: " + m.encode()).decode()}}),
    "base64url": lambda m: base64.urlsafe_b64encode(b"?>" + m.encode()).decode().rstrip("="),
    "base64-twice": lambda m: base64.b64encode(base64.b64encode(m.encode())).decode(),
    "base64-wrapped-lines": lambda m: base64.encodebytes(b"line one of this text\n" * 4 + m.encode() + b"\nand more of it" * 4).decode(),
    "escape-in-base64": lambda m: base64.b64encode(("{" + "".join(f"\\u{ord(char):04x}" for char in m) + "}").encode()).decode(),
    "utf-16": lambda m: m.encode("utf-16-le"),
    "in-protobuf": lambda m: b"\x0a\x22" + m.encode() + b"\x12\x00\xff",
}


@pytest.mark.parametrize(
    "mark", [MARK, EMAIL, MARKS.make("US_SSN"), MARKS.make("CREDIT_CARD", kept="1111")], ids=["pseudonym", "email", "redact", "kept"]
)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_mark_in_a_body_is_refused_however_it_is_written(wrapping, mark):
    body = WRAPPINGS[wrapping](mark)
    with pytest.raises(WriteBackError):
        refuse(body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_mark_in_an_encoded_body_is_refused(coding):
    encode = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}[coding]
    with pytest.raises(WriteBackError):
        refuse(encode(MARK.encode()), fields=(*JSON_HEADERS, (b"Content-Encoding", coding.encode())))
    with pytest.raises(Unmaskable) as caught:
        refuse(b"\x00broken", fields=((b"Content-Encoding", coding.encode()),))
    assert (caught.value.status, caught.value.code) == (400, "request-unmaskable")


@pytest.mark.parametrize("wrapping", ["plain", "percent", "percent-twice", "base64"])
def test_a_mark_in_the_url_or_a_header_is_refused(wrapping):
    text = WRAPPINGS[wrapping](MARK).encode()
    with pytest.raises(WriteBackError) as caught:
        refuse(target=b"/customers?email=" + text)
    assert caught.value.extra == {"field": "url"}
    with pytest.raises(WriteBackError) as caught:
        refuse(fields=((b"X-Note", text),))
    assert caught.value.extra == {"field": "header:x-note"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(MARK[:-2] + ("A" if MARK[-2] != "A" else "B") + "]", id="one-character-changed"),
        pytest.param("[MASKED:", id="bare"),
        pytest.param(MARK[:-1], id="cut"),
        pytest.param("[MASKED:EMAIL_ADDRESS:AAAAAAAAAAAAAA]", id="forged"),
        pytest.param("p-aaaaaaaaaaaaaa@masked.invalid", id="forged-email"),
        pytest.param("ann@corp.example", id="a-plain-value"),
        pytest.param("W01BU0tFRDo=", id="bare-in-base64"),
    ],
)
def test_what_only_looks_like_a_mark_passes(text):
    refuse(json.dumps({"a": text}).encode(), target=b"/x?q=" + urllib.parse.quote(text).encode(), fields=((b"X-Note", text.encode()),))


def test_the_refusal_names_the_field_and_says_what_to_do():
    with pytest.raises(WriteBackError) as caught:
        refuse(json.dumps({"customer": {"contacts": [{"email": "x"}, {"email": EMAIL}]}}).encode())
    assert caught.value.extra == {"field": "/customer/contacts/1/email"}
    assert "Leave the field out" in str(caught.value)
    assert "masked.invalid" not in str(caught.value)
    assert caught.value.status == 422


def patch(*steps) -> bytes:
    return json.dumps(list(steps)).encode()


@pytest.mark.parametrize("op", ["copy", "move"])
@pytest.mark.parametrize(
    "path",
    [
        "/email",
        "/customer/email",
        "/customer/email/0",
        "/date_of_birth",
        "/customers/3/notes",
        "/customers",
        "/customers/3",
        "",
        "/db/password",
        "/api~1key",
    ],
)
def test_nobody_moves_a_masked_place(op, path):
    with pytest.raises(WriteBackError):
        refuse(patch({"op": op, "from": path, "path": "/open"}))
    with pytest.raises(WriteBackError):
        refuse(patch({"op": "add", "path": "/x", "value": 1}, {"op": op.upper(), "from": "/open", "path": path}))


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({"op": "test", "path": "/email", "value": "guess"}, id="the-place"),
        pytest.param({"op": "test", "path": "/customer", "value": {"email": "guess"}}, id="above"),
        pytest.param({"op": "test", "path": "", "value": [{"a": {"ssn": "guess"}}]}, id="the-whole-document"),
        pytest.param({"op": "test", "path": "/contact", "value": "ann@corp.example"}, id="a-value-that-would-be-masked"),
    ],
)
def test_nobody_tests_a_guess(step):
    with pytest.raises(WriteBackError):
        refuse(patch(step))


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({"op": "replace", "path": "/email", "value": "new@corp.example"}, id="replace"),
        pytest.param({"op": "remove", "path": "/email"}, id="remove"),
        pytest.param({"op": "add", "path": "/labels/x", "value": "y"}, id="add"),
        pytest.param({"op": "copy", "from": "/plan", "path": "/old_plan"}, id="copy-of-an-open-field"),
        pytest.param({"op": "test", "path": "/version", "value": 3}, id="test-of-an-open-field"),
    ],
)
def test_other_patches_pass(step):
    refuse(patch(step))


def test_a_large_body_is_searched_in_linear_time():
    body = base64.b64encode(b"\x00\x01\x02 binary " * 100_000)
    start = time.thread_time()
    refuse(body)
    refuse(b"%41" * 300_000)
    refuse(b"\\u0041" * 150_000)
    assert time.thread_time() - start < 6.0
