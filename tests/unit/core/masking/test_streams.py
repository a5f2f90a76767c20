"""Which answers stream and how; codings with bounds; events, documents and the injected credential on their way."""

import gzip
import json
import zlib

import brotli
import pytest
import zstandard

from addons.core.errors import Unmaskable
from addons.core.masking.stream_decode import decoder_of
from addons.core.masking.stream_plan import plan
from tests.parts import streams
from tests.parts.masking import view
from tests.parts.stream_upstream import PEM

LONG = ("Content-Length", str(2 << 20))
SHORT = ("Content-Length", "100")


@pytest.mark.parametrize(
    ("media", "more", "asked", "kind"),
    [
        pytest.param("text/event-stream", [], False, "sse", id="events"),
        pytest.param("text/event-stream; charset=utf-8", [SHORT], False, "sse", id="events-with-a-length"),
        pytest.param("application/x-ndjson", [], False, "ndjson", id="ndjson"),
        pytest.param("application/json;stream=watch", [], False, "ndjson", id="watch-by-type"),
        pytest.param("application/json", [], True, "json", id="watch-by-query"),
        pytest.param("application/json", [], False, None, id="json-of-unknown-length"),
        pytest.param("application/json", [SHORT], False, None, id="short-json"),
        pytest.param("application/json", [LONG], False, "json", id="long-json"),
        pytest.param("text/plain", [], False, "text", id="a-log"),
        pytest.param("text/plain", [SHORT], False, None, id="short-text"),
        pytest.param("text/csv", [LONG], False, "text", id="long-csv"),
        pytest.param("text/html", [], False, None, id="a-page"),
        pytest.param("image/png", [LONG], False, None, id="an-image"),
    ],
)
def test_what_streams(media, more, asked, kind):
    chosen = plan(streams.answer_with(media, *more), streams.terms(view()), asked)
    assert (chosen.kind if chosen else None) == kind


@pytest.mark.parametrize(
    ("media", "more", "reason"),
    [
        pytest.param("application/grpc", [], "media", id="grpc"),
        pytest.param("text/event-stream; charset=utf-16", [], "charset", id="utf-16"),
        pytest.param("application/x-ndjson", [("Content-Range", "bytes 0-1/2")], "range", id="range"),
    ],
)
def test_what_no_masker_reads_is_refused_before_it_begins(media, more, reason):
    with pytest.raises(Unmaskable) as caught:
        plan(streams.answer_with(media, *more), streams.terms(view()), asked=True)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_an_answer_without_a_body_does_not_stream(method, status):
    assert plan(streams.answer_with("text/event-stream", method=method, status=status), streams.terms(view()), asked=True) is None


CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}


def decoded(coding, pieces):
    decoder = decoder_of(coding, 200)
    out = [part for piece in pieces for part in decoder.feed(piece)]
    decoder.finish()
    return b"".join(out)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_seen_early(coding):
    decoder, size = decoder_of(coding, 200), 0
    with pytest.raises(Unmaskable) as caught:
        for piece in decoder.feed(CODINGS[coding](bytes(64 << 20))):
            size += len(piece)
    assert caught.value.reason == "bomb"
    assert size < 20 << 20


@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_ends_where_its_coding_says(coding):
    body = CODINGS[coding](b"hello" * 100)
    assert decoded(coding, [body]) == b"hello" * 100
    assert decoded(coding, []) == b""
    for cut in range(1, len(body)):
        with pytest.raises(Unmaskable):
            decoded(coding, [body[:cut]])


@pytest.mark.parametrize("coding", ["deflate", "br"])
def test_what_stands_behind_the_end_is_an_error(coding):
    for pieces in ([CODINGS[coding](b"hello") + b"more"], [CODINGS[coding](b"hello"), b"more"]):
        with pytest.raises(Unmaskable):
            decoded(coding, pieces)


def test_raw_deflate_is_read_too():
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert decoded("deflate", [machine.compress(b"hello") + machine.flush()]) == b"hello"


def test_a_comment_does_not_wait_for_an_event():
    assert streams.pipe("text/event-stream").feed(b": still here\n") == [b": still here\n"]


def test_data_over_several_lines_is_one_text():
    event = "".join(f"data: {line}\n" for line in PEM.splitlines()) + "id: 1\n\n"
    out = streams.run(streams.pipe("text/event-stream"), [event.encode()]).decode()
    assert "MIIEow" not in out
    assert out.count("data: [MASKED:SECRET:") == 1
    assert out.endswith("id: 1\n\n")


def test_an_event_that_does_not_end_is_dropped():
    assert streams.run(streams.pipe("text/event-stream"), [b"data: one\n\ndata: ann@corp.example"]) == b"data: one\n\n"


def test_fields_that_readers_ignore_are_judged_too():
    out = streams.run(streams.pipe("text/event-stream"), [b"ann@corp.example\nx: ann@corp.example\ndata: y\n\n"])
    assert b"ann@corp" not in out
    assert out.endswith(b"data: y\n\n")


def test_a_pair_waits_for_its_name():
    through = streams.pipe("application/json")
    assert b"".join(through.feed(b'{"a": 1, "value": "hunter2", ')) == b'{"a": 1, "value": '
    assert b"hunter2" not in b"".join(through.feed(b'"name": "PASSWORD"}'))


def test_too_much_that_waits_is_refused():
    through = streams.pipe("application/json")
    with pytest.raises(Unmaskable) as caught:
        through.feed(b'{"value": "x", "more": [' + b'"plain words",' * 100_000)
    assert caught.value.reason == "size"


def test_text_that_is_a_document_is_judged_as_one():
    body = json.dumps({"password": "hunter2", "n": 1}, indent=1).encode()
    assert b"hunter2" not in streams.run(streams.pipe("text/plain"), [body])


def test_a_log_that_begins_with_a_bracket_is_a_log():
    body = b"[INFO] up\n[INFO] mail ann@corp.example\n"
    out = streams.run(streams.pipe("text/plain"), [body])
    assert out.startswith(b"[INFO] up\n") and b"ann@corp" not in out


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_injected_credential_is_removed_wherever_it_is_cut(size):
    body = b'{"echo": "tok-12345"}\n' * 3
    through = streams.pipe("application/x-ndjson", scrub=(b"tok-12345",))
    out = streams.run(through, [body[at : at + size] for at in range(0, len(body), size)])
    assert b"tok-12345" not in out
    assert out.count(b"UPSTREAM_SECRET") == 3
