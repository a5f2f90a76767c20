"""A stream that is masked piece by piece is what its whole would be, however it was cut."""

import gzip
import json
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.errors import Unmaskable
from tests.parts import streams
from tests.parts.masking import mask

VALUES = [
    "ann@corp.example",
    "4111 1111 1111 1111",
    "219-09-9999",
    "hunter2",
    "+1 212 555 0123",
    "plain words",
    "ä ß 語 🎉",
    'a "quote" \\ and \n line',
]
KEYS = [
    "email",
    "card",
    "ssn",
    "password",
    "note",
    "value",
    "name",
    "key",
    "id",
    "data",
    "kind",
    "metadata",
    "items",
    "content",
    "first_name",
]
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(["MIIEowIBAAKCAQEA" + "x" * 48] * 6) + "\n-----END RSA PRIVATE KEY-----\n"
KINDS = st.sampled_from(["Secret", "SecretList", "Pod"])
leaves = st.one_of(
    st.sampled_from(VALUES), KINDS, st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5), max_leaves=25
)
places = st.lists(st.integers(0, 4000), max_size=12)


@settings(max_examples=300, deadline=None)
@given(document=documents, cuts=places, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_json_by_pieces_is_json_as_a_whole(document, cuts, indent, ascii_only):
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    assert streams.run(streams.pipe("application/json"), streams.cut(body, cuts)) == mask(body).body


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(documents, min_size=1, max_size=5), cuts=places)
def test_ndjson_by_pieces_is_each_line_as_a_whole(rows, cuts):
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    assert streams.run(streams.pipe("application/x-ndjson"), streams.cut(b"".join(lines), cuts)) == b"".join(
        mask(line).body for line in lines
    )


words = st.sampled_from(
    [*VALUES[:3], *VALUES[4:6], "mail ann@corp.example now", "password: hunter2", '{"ssn": "219-09-9999"}', PEM, "", "a" * 300]
)
texts = st.lists(words, max_size=12).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(text=texts, cuts=places)
def test_text_does_not_depend_on_its_cuts(text, cuts):
    body = text.encode()
    whole = streams.run(streams.pipe("text/plain"), [body])
    assert streams.run(streams.pipe("text/plain"), streams.cut(body, cuts)) == whole
    for value in (b"ann@corp", b"4111 1111", b"219-09", b"hunter2", b"MIIEow"):
        assert value not in whole


@st.composite
def events(draw):
    end = draw(st.sampled_from(["\n", "\r", "\r\n"]))
    lines = []
    for _ in range(draw(st.integers(1, 5))):
        lines += draw(
            st.lists(
                st.sampled_from([": hello", "id: ann@corp.example", "event: made", "retry: 10", "data", "odd ann@corp.example"]), max_size=2
            )
        )
        value = draw(
            st.sampled_from(
                [*VALUES[:3], *VALUES[4:6], json.dumps({"email": VALUES[0], "n": 1}), json.dumps({"value": "hunter2", "name": "PASSWORD"})]
            )
        )
        lines += [f"data: {part}" for part in value.split("\n")] + [""]
    return end.join([*lines, ""]).encode()


@settings(max_examples=150, deadline=None)
@given(body=events(), cuts=places)
def test_events_do_not_depend_on_their_cuts(body, cuts):
    whole = streams.run(streams.pipe("text/event-stream"), [body])
    assert streams.run(streams.pipe("text/event-stream"), streams.cut(body, cuts)) == whole
    for value in (b"ann@corp", b"4111 1111", b"219-09", b"hunter2"):
        assert value not in whole


SMALL = {
    "application/json": json.dumps({"items": [{"value": "hunter2", "name": "PASSWORD"}, {"email": "ann@corp.example", "n": -1.5e3}], "t": True}).encode(),
    "application/x-ndjson": b'{"email":"ann@corp.example"}\n\n[1,2]\n{"ssn":"219-09-9999"}',
    "text/plain": f"hello\nmail ann@corp.example\n{PEM}bye 4111 1111 1111 1111".encode(),
    "text/event-stream": b': hi\r\ndata: {"a":\r\ndata: "ann@corp.example"}\r\nid: 7\r\n\r\ndata: 219-09-9999\r\n\r\n: \r\n',
}  # fmt: skip


@pytest.mark.parametrize("media", SMALL)
def test_every_cut_of_a_small_body(media):
    body = SMALL[media]
    whole = streams.run(streams.pipe(media), [body])
    assert streams.run(streams.pipe(media), [body[at : at + 1] for at in range(len(body))]) == whole
    for at in range(1, len(body)):
        assert streams.run(streams.pipe(media), [body[:at], body[at:]]) == whole, at


CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("coding", CODINGS)
def test_every_cut_of_a_coded_body(coding):
    body = b'{"email": "ann@corp.example"}\n' * 3
    coded = CODINGS[coding](body)
    if coding in ("gzip", "zstd"):
        coded, body = coded + coded, body + body
    wanted = streams.run(streams.pipe("application/x-ndjson"), [body])
    for at in range(len(coded)):
        through = streams.pipe("application/x-ndjson", ("Content-Encoding", coding))
        assert streams.run(through, [coded[:at], coded[at:]]) == wanted, at


@pytest.mark.parametrize(
    "word", ["ann@corp.example ", "4111 1111 1111 1111, ", "my ssn is 219-09-9999 and more words follow here ", "plain words only "]
)
def test_a_line_without_an_end_is_cut_where_no_value_is(word):
    body = (word * 3000).encode()
    whole = streams.run(streams.pipe("text/plain"), [body])
    assert not any(value in whole for value in (b"ann@corp", b"4111 1111", b"219-09"))
    assert whole.count(b"MASKED") + whole.count(b"@masked.invalid") == (0 if word.startswith("plain") else 3000)
    assert streams.run(streams.pipe("text/plain"), [body[at : at + 1000] for at in range(0, len(body), 1000)]) == whole


def test_a_word_without_an_end_is_not_guessed_at():
    with pytest.raises(Unmaskable):
        streams.run(streams.pipe("text/plain"), [b"a" * 20_000])
