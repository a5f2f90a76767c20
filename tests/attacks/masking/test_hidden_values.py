"""Values hidden in encodings, odd structure and odd order: none leaves in clear, in any spelling."""

import base64
import contextlib
import json
import urllib.parse

import pytest

from tests.parts import masking as parts

EMAIL, CARD, SSN, IBAN, SECRET = (
    "ann@corp.example",
    "4111111111111111",
    "219-09-9999",
    "DE89370400440532013000",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
)
VALUES = {"email": EMAIL, "card": "4111 1111 1111 1111", "ssn": SSN, "iban": IBAN, "secret": SECRET}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def fullwidth(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


SPELLINGS = {
    "plain": lambda v: v,
    "in-a-sentence": lambda v: f"Please use {v} for this.",
    "percent": lambda v: urllib.parse.quote(v, safe=""),
    "percent-twice": lambda v: urllib.parse.quote(urllib.parse.quote(v, safe=""), safe=""),
    "percent-every-byte": lambda v: "".join(f"%{byte:02x}" for byte in v.encode()),
    "html-decimal": lambda v: "".join(f"&#{ord(char)};" for char in v),
    "html-hex": lambda v: "".join(f"&#x{ord(char):x};" for char in v),
    "backslash-u": lambda v: "".join(f"\\u{ord(char):04x}" for char in v),
    "full-width": fullwidth,
    "zero-width": lambda v: "\u200b".join(v),
    "soft-hyphen": lambda v: v[:3] + "\u00ad" + v[3:],
    "json-in-json": lambda v: json.dumps({"a": v}),
    "json-in-json-in-json": lambda v: json.dumps({"a": json.dumps([{"b": v}])}),
    "base64": lambda v: b64("note: " + v),
    "base64url-no-padding": lambda v: base64.urlsafe_b64encode(("note?> " + v).encode()).decode().rstrip("="),
    "json-in-base64": lambda v: b64(json.dumps({"a": v})),
    "base64-in-base64": lambda v: b64(b64("note: " + v)),
    "base64-in-json-in-json": lambda v: json.dumps({"a": b64("note: " + v)}),
}


def decodings(text: str, depth: int = 5) -> set[str]:
    """Everything a curious reader may make of a text."""
    import html
    import re

    seen = {text}
    if depth == 0:
        return seen
    more = {urllib.parse.unquote(text), html.unescape(text), re.sub("[\u200b\u00ad]", "", text)}
    more.add(re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), text))
    more.add("".join(chr(ord(char) - 0xFEE0) if "\uff01" <= char <= "\uff5e" else char for char in text))
    with contextlib.suppress(ValueError):
        more.update(leaf for leaf in leaves(json.loads(text)))
    with contextlib.suppress(ValueError):
        more.add(base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True).decode())
    for one in more - seen:
        seen |= decodings(one, depth - 1)
    return seen


def leaves(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_hides_a_value_in_json(spelling, kind):
    value = VALUES[kind]
    body = json.dumps({"remark": SPELLINGS[spelling](value)}, ensure_ascii=False)
    masked = parts.mask(body)
    document = json.loads(masked.body)
    assert not any(value in text for text in decodings(document["remark"])), masked.body


@pytest.mark.parametrize("kind", ["email", "card", "secret"])
@pytest.mark.parametrize(
    "spelling", ["plain", "in-a-sentence", "percent", "html-decimal", "full-width", "zero-width", "soft-hyphen", "json-in-json"]
)
@pytest.mark.parametrize("media", ["text/plain", "text/html", "application/yaml", None])
def test_no_spelling_hides_a_value_in_text(media, spelling, kind):
    value = VALUES[kind]
    body = "first line\nremark " + SPELLINGS[spelling](value) + "\nlast line\n"
    masked = parts.mask(body.encode(), media).body.decode()
    assert not any(value in text for text in decodings(masked))
    assert masked.startswith("first line\n")
    assert masked.endswith("\nlast line\n")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"value": "hunter2", "name": "DB_PASSWORD"}', id="telling-field-after-the-value"),
        pytest.param('{"name": "DB_PASSWORD", "value": "hunter2"}', id="telling-field-before-the-value"),
        pytest.param('{"name": "PORT", "value": "hunter2", "name": "DB_PASSWORD"}', id="two-names"),
        pytest.param('{"name": "DB_PASSWORD", "value": "hunter2", "name": "PORT"}', id="two-names-harmless-last"),
        pytest.param('{"Key": "api_key", "Value": "hunter2"}', id="upper-case-pair"),
        pytest.param('{"values": ["a", "hunter2"], "name": "api_key"}', id="pair-with-several-values"),
        pytest.param('{"password": "plain", "password": "hunter2"}', id="duplicate-key"),
        pytest.param('{"p\\u0061ssword": "hunter2"}', id="escaped-key"),
        pytest.param('{"password": ["hunter2", ["hunter2"]]}', id="arrays-under-a-telling-key"),
        pytest.param(
            '{"dbPassword": "hunter2", "DB-PASSWORD": "hunter2", "db.password": "hunter2", "db password": "hunter2"}',
            id="spellings-of-the-key",
        ),
        pytest.param('{"data": {"x": "aHVudGVyMg==", "y": "hunter2"}, "kind": "Secret"}', id="kind-after-data"),
        pytest.param('{"kind": "Secret", "data": {"x": "hunter2"}, "kind": "ConfigMap"}', id="a-second-kind-does-not-switch-off"),
        pytest.param('{"kind": "SecretList", "items": [{"data": {"x": "hunter2"}}]}', id="secret-in-a-list-without-its-kind"),
        pytest.param('{"a": "DB_PASSWORD=hunter2"}', id="assignment"),
        pytest.param('{"a": "connect failed: password=hunter2 host=db"}', id="assignment-behind-a-colon"),
        pytest.param('{"a": "cfg[\\"password\\"] = \\"hunter2\\""}', id="assignment-by-subscript"),
        pytest.param('{"a": "body {\\\\\\"password\\\\\\":\\\\\\"hunter2\\\\\\"} end"}', id="escaped-json-in-a-sentence"),
        pytest.param('{"a": "java -Ddb.password=hunter2 -Xmx1g"}', id="java-property"),
        pytest.param('{"a": "curl -u root:hunter2 https://x"}', id="curl-login"),
        pytest.param('{"a": "x: {token: hunter2}"}', id="flow-mapping"),
        pytest.param('{"a": "--password hunter2 --host db"}', id="option"),
        pytest.param('{"a": "https://root:hunter2@db.example/x"}', id="url-login"),
        pytest.param('{"a": "{\\"password\\": \\"hunter2\\"}"}', id="key-in-nested-json"),
        pytest.param('[{"a": 1}]\n{"password": "hunter2"}\n', id="several-top-level-values"),
        pytest.param('{"headers": [{"name": "Authorization", "value": "Basic hunter2"}]}', id="header-pair"),
    ],
)
def test_a_secret_does_not_survive_odd_structure(body):
    masked = parts.mask(body).body
    assert b"hunter2" not in masked
    assert b"aHVudGVyMg" not in masked


def test_a_key_that_is_itself_a_value_becomes_its_pseudonym():
    masked = parts.mask('{"ann@corp.example": {"plan": "gold"}, "DE89370400440532013000": 1, "plain": 2}')
    document = json.loads(masked.body)
    assert list(document)[2] == "plain"
    assert "corp.example" not in masked.body.decode() and "DE8937" not in masked.body.decode()
    assert all("corp" not in path for path in masked.fields_seen)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"a": NaN}', id="nan"),
        pytest.param('{"a": 01}', id="leading-zero"),
        pytest.param('{"a": "x" "b": "y"}', id="no-comma"),
        pytest.param('{"a": "x",}', id="trailing-comma"),
        pytest.param("{'a': 'x'}", id="single-quotes"),
        pytest.param('{"a": "\n"}', id="raw-newline"),
        pytest.param('{"a": "\\x41"}', id="bad-escape"),
        pytest.param('{"a": "x"', id="unclosed"),
        pytest.param('{"a": "x"]', id="wrong-bracket"),
        pytest.param('{"a": "x"}}', id="extra-bracket"),
        pytest.param('{"a": tru}', id="half-word"),
        pytest.param('{"a": "x"} ann@corp.example', id="rest"),
        pytest.param("   ", id="only-spaces"),
        pytest.param('{"a": "x"\x00}', id="nul"),
        pytest.param("[1,,2]", id="double-comma"),
        pytest.param("{1: 2}", id="number-as-key"),
        pytest.param('{"a" "b"}', id="no-colon"),
    ],
)
def test_what_is_no_json_is_not_masked_as_json(body):
    with pytest.raises(parts.Unmaskable) as caught:
        parts.mask(body)
    assert caught.value.reason == "syntax"


def test_deep_documents_are_refused_and_not_too_deep_ones_are_masked():
    fine = "[" * 190 + '"ann@corp.example"' + "]" * 190
    assert b"ann@corp" not in parts.mask(fine).body
    with pytest.raises(parts.Unmaskable, match="depth"):
        parts.mask("[" * 100_000)


def test_lone_surrogates_and_wide_numbers_survive():
    body = '{"a": "\\ud800 ann@corp.example", "n": 123456789012345678901234567890, "e": -1.50E+400, "t": "x"}'
    masked = parts.mask(body).body.decode()
    assert masked.startswith('{"a": "\\ud800 p-')
    assert masked.endswith('"n": 123456789012345678901234567890, "e": -1.50E+400, "t": "x"}')


@pytest.mark.parametrize(
    ("body", "media", "reason"),
    [
        pytest.param(b'{"a": "\xff"}', "application/json", "charset", id="json-not-utf8"),
        pytest.param('{"a": "x"}'.encode("utf-16"), "application/json", "charset", id="json-utf16"),
        pytest.param('{"a": "x"}'.encode("utf-16-le"), "application/json", "syntax", id="json-utf16-no-bom"),
        pytest.param(b"x", "text/plain; charset=utf-7", "charset", id="utf7"),
        pytest.param(b"x", "text/plain; charset=utf-8; charset=latin1", "charset", id="two-charsets"),
        pytest.param(b"\xef\xbb\xbfx", "text/plain; charset=iso-8859-1", "charset", id="bom-against-charset"),
        pytest.param(b"\xff\xfe\x00\xd8", "text/plain", "charset", id="half-utf16"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00", None, "media", id="binary-without-type"),
        pytest.param(b"\x80\x81", None, "charset", id="not-text-without-type"),
        pytest.param(b"x", "application/octet-stream", "media", id="octets"),
        pytest.param(b"x", "application/grpc", "media", id="grpc"),
        pytest.param(b"x" * (1 << 20) + b"x", "text/plain", "size", id="too-large"),
        pytest.param(b"--b\r\n\r\nx", "multipart/form-data; boundary=b", "syntax", id="multipart-not-closed"),
        pytest.param(b"x", "multipart/form-data", "syntax", id="multipart-without-boundary"),
    ],
)
def test_what_cannot_be_read_is_unmaskable(body, media, reason):
    with pytest.raises(parts.Unmaskable) as caught:
        parts.mask(body, media)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("encoded", "media"),
    [
        pytest.param("ann@corp.example, später".encode(), "text/plain; charset=utf-8", id="utf8"),
        pytest.param(b"\xef\xbb\xbfann@corp.example", "text/plain", id="utf8-bom"),
        pytest.param("ann@corp.example, später".encode("latin-1"), "text/plain; charset=iso-8859-1", id="latin1"),
        pytest.param("ann@corp.example".encode("utf-16"), "text/plain", id="utf16-bom"),
        pytest.param(b"ann@corp.example", "text/plain; charset=us-ascii", id="ascii"),
        pytest.param(b'\xef\xbb\xbf{"a": "ann@corp.example"}', "application/json", id="json-bom"),
    ],
)
def test_every_charset_that_is_read_is_masked_and_kept(encoded, media):
    masked = parts.mask(encoded, media).body
    assert b"ann@corp" not in masked.replace(b"\x00", b"")
    assert masked[:2] == encoded[:2] or encoded[:2] not in (b"\xff\xfe", b"\xef\xbb")


def test_the_declared_type_never_lowers_protection():
    body = '{"name": "DB_PASSWORD", "value": "hunter2"}'
    for media in ("text/plain", "text/html", "text/csv", "application/yaml", None, "application/vnd.x+json"):
        assert b"hunter2" not in parts.mask(body.encode(), media).body


def test_multipart_is_masked_part_by_part():
    body = (
        b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n'
        b'--b\r\nContent-Disposition: form-data; name="d"\r\nContent-Type: application/json\r\n\r\n{"email": "ann@corp.example"}\r\n--b--\r\n'
    )
    masked = parts.mask(body, "multipart/form-data; boundary=b").body
    assert b"hunter2" not in masked and b"ann@corp" not in masked
    assert masked.count(b"--b") == 3 and b'name="password"' in masked


def test_masking_twice_changes_nothing():
    body = json.dumps({"email": EMAIL, "password": "x", "card": CARD, "t": f"see {SSN} and password={SECRET}"})
    once = parts.mask(body).body
    assert parts.mask(once).body == once
    text = parts.mask(b"password=hunter2 ann@corp.example", "text/plain").body
    assert parts.mask(text, "text/plain").body == text


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_reader_of_these_tests_finds_what_is_not_masked(spelling):
    assert any(SECRET in text for text in decodings(SPELLINGS[spelling](SECRET)))
