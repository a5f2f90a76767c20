"""Whatever is let through: an independent parser (h11) at the upstream reads exactly what policy matched."""

import base64
import hashlib
import json
from collections import Counter
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addons.core.services.canonical import METHODS
from tests.attacks.validation.conftest import Stack
from tests.parts import raw_client
from tests.parts.capturing_upstream import Seen

pytestmark = pytest.mark.e2e

LOOSE = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = [
    "customers",
    "7",
    "a%20b",
    "%40",
    "@",
    "%C3%A9",
    "~me",
    "x..y",
    "%25",
    "%2e",
    "..",
    "%2f",
    "",
    ";v=1",
    "%61",
    "é",
    "a\\b",
    "#",
    "%zz",
    "!$&'()*+,=:",
]
segments = st.lists(st.sampled_from(PIECES[:9] * 6 + PIECES), min_size=1, max_size=4)
PARAMETERS = ["a=1", "a=2", "b%5B%5D=x", "sort=name", "q=%2f", "x"]
queries = st.lists(st.sampled_from(PARAMETERS * 4 + ["%00", "a b", "c=d;e"]), max_size=3).map("&".join)
plain_fields = st.tuples(st.sampled_from(["X-A", "x-a", "X-B", "Accept", "Cookie", "X-Forwarded-For"]), st.text('ab \t,;="é', max_size=6))
odd_fields = st.sampled_from(
    [
        ("X_C", "1"), ("X-A", "\x00"), ("Connection", "close"), ("Connection", "keep-alive"), ("Connection", "Authorization"), ("Expect", "100-continue"),
        ("Upgrade", "h2c"), ("Upgrade", "x"), ("Content-Type", "text/plain"), ("Content-Type", "application/x-www-form-urlencoded"), ("TE", "trailers"),
    ]
)  # fmt: skip
fields = st.lists(st.one_of(plain_fields, plain_fields, plain_fields, odd_fields), max_size=4)
methods = st.sampled_from([*sorted(METHODS - {"GET", "HEAD"}) * 4, "GET", "HEAD", "get", "FETCH", "PO ST"])
bodies = st.one_of(st.just(b""), st.just(b""), st.binary(max_size=40), st.just(b"0\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n"))


def target_of(parts: list[str], query: str) -> bytes:
    return ("/" + "/".join(parts) + (f"?{query}" if query else "")).encode()


PASSED: Counter[bool] = Counter()


def compare(stack: Stack, answer: raw_client.Answer, target: bytes, body: bytes) -> None:
    PASSED[answer.status == 200] += 1
    assert stack.upstream.broken == []
    if answer.status != 200:
        assert stack.upstream.raw == []
        return
    assert len(stack.upstream.seen) == 1
    same(stack.upstream.seen[0], target, body)


def same(seen: Seen, target: bytes, body: bytes) -> None:
    said = json.loads(base64.b64decode(dict(seen.headers)[b"x-matched"]))
    assert (seen.method.decode(), seen.version) == (said["verb"], b"1.1")
    assert seen.target == target
    path, _, _ = seen.target.decode().partition("?")
    assert unquote(path, errors="strict") == said["path"]
    assert said["text"] == f"{seen.method.decode()} {seen.target.decode()}"
    assert seen.body == body
    assert hashlib.sha256(seen.body).hexdigest() == said["body"]
    kept = sorted([name.decode(), value.decode("latin-1")] for name, value in seen.headers if name not in (b"x-matched", b"host"))
    assert without_split_cookies(kept) == without_split_cookies([field for field in said["fields"] if field[0] != "host"])


def without_split_cookies(pairs: list[list[str]]) -> list[list[str]]:
    """HTTP/2 may split Cookie into fields; they are joined for HTTP/1.1 (RFC 9113 8.2.3)."""
    crumbs = sorted(crumb.strip(" \t") for name, value in pairs if name == "cookie" for crumb in value.split(";") if crumb.strip(" \t"))
    return sorted([pair for pair in pairs if pair[0] != "cookie"] + [["cookie", crumb] for crumb in crumbs])


@LOOSE
@given(methods, segments, queries, fields, bodies, st.booleans())
def test_over_http1(stack, method, parts, query, headers, body, chunked):
    stack.upstream.forget()
    target = target_of(parts, query)
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: crm.test"]
    lines += [b"%s: %s" % (name.encode(), value.encode()) for name, value in headers]
    framed = body
    if chunked and body:
        lines.append(b"Transfer-Encoding: chunked")
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif body:
        lines.append(b"Content-Length: %d" % len(body))
    answer = raw_client.http1(stack.cleartext, b"\r\n".join(lines) + b"\r\n\r\n" + framed)
    compare(stack, answer, target, body)


@LOOSE
@given(methods, segments, queries, fields, bodies, st.booleans())
def test_over_http2(stack, method, parts, query, headers, body, with_length):
    stack.upstream.forget()
    target = target_of(parts, query)
    frames = [(b":method", method.encode()), (b":scheme", b"https"), (b":path", target), (b":authority", b"crm.test")]
    frames += [(name.lower().encode(), value.encode()) for name, value in headers]
    if with_length and body:
        frames.append((b"content-length", b"%d" % len(body)))
    compare(stack, raw_client.http2(stack.tls, frames, body), target, body)


def test_the_two_above_met_both_outcomes_often():
    assert PASSED[True] > 50
    assert PASSED[False] > 50
