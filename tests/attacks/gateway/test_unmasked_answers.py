"""Whatever an upstream says, in whatever place and coding: no masked value and no credential of ours reaches the caller."""

import base64
import gzip
import html
import json
from collections.abc import Callable

import pytest

from tests.attacks.gateway.conftest import CANARY, Site
from tests.parts.hostile_upstream import Asked, answer
from tests.parts.raw_client import Answer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MAIL = "zoe.quill@corp-mail.example"
CARD = "4111111111111111"
TEXT, JSON = "Content-Type: text/plain", "Content-Type: application/json"


def holds(got: Answer, *values: str) -> list[str]:
    """Which of these a reader of the answer would find, as they are or in a wide charset."""
    whole = repr(got.headers).encode() + got.body
    narrow = whole.replace(b"\x00", b"")
    return [value for value in values if value.lower().encode() in narrow.lower()]


BODIES = {
    "utf-16": answer(f"mail {MAIL}".encode("utf-16"), TEXT),
    "utf-16-without-mark": answer(f"mail {MAIL}".encode("utf-16-le"), TEXT),
    "utf-16-without-mark-or-type": answer(f"mail {MAIL}".encode("utf-16-be")),
    "utf-32": answer(f"mail {MAIL}".encode("utf-32"), TEXT),
    "utf-32-without-mark": answer(f"mail {MAIL}".encode("utf-32-le"), TEXT),
    "json-in-utf-16": answer(json.dumps({"e": MAIL}).encode("utf-16"), JSON),
    "error-page": answer(f"trace {MAIL}".encode(), "Content-Type: text/html", status="500 Oops"),
    "no-type": answer(f"mail {MAIL}".encode()),
    "octets": answer(f"mail {MAIL}".encode(), "Content-Type: application/octet-stream"),
    "two-types": answer(f"mail {MAIL}".encode(), TEXT, "Content-Type: image/png"),
    "gzip": answer(gzip.compress(f"mail {MAIL}".encode()), TEXT, "Content-Encoding: gzip"),
    "until-close": answer(f"mail {MAIL}".encode(), TEXT, "Connection: close", length=False),
    "part": answer(MAIL.encode(), TEXT, "Content-Range: bytes 0-3/10", status="206 Part"),
    "trailer": answer(b"", TEXT, "Transfer-Encoding: chunked", length=False) + b"2\r\nok\r\n0\r\nX-T: " + MAIL.encode() + b"\r\n\r\n",
    "gzip-as-transfer-coding": answer(b"", TEXT, "Transfer-Encoding: gzip, chunked", length=False) + b"5\r\nabcde\r\n0\r\n\r\n",
    "early-hints": b"HTTP/1.1 103 Early\r\nLink: <" + MAIL.encode() + b">\r\n\r\n" + answer(b"ok", TEXT),
    "behind-the-end": answer(b"ok", TEXT) + answer(MAIL.encode(), TEXT),
    "another-protocol": f"SSH-2.0 {MAIL}\r\n\r\n".encode(),
    "bad-header": b"HTTP/1.1 200 OK\r\nbad header " + MAIL.encode() + b"\r\n\r\n",
    "two-framings": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + MAIL.encode(),
    "json-key": answer(json.dumps({MAIL: 1}).encode(), JSON),
    "json-twice-the-key": answer(f'{{"a":1,"a":"{MAIL}"}}'.encode(), JSON),
    "json-escapes": answer(json.dumps({"e": MAIL}).replace("@", "\\u0040").encode(), JSON),
    "json-number": answer(json.dumps({"card": int(CARD)}).encode(), JSON),
    "json-too-deep": answer(b"[" * 5000 + json.dumps(MAIL).encode() + b"]" * 5000, JSON),
    "json-base64": answer(json.dumps({"d": base64.b64encode(MAIL.encode()).decode()}).encode(), JSON),
}


@pytest.mark.parametrize("name", BODIES)
def test_no_value_in_a_body(site: Site, name: str) -> None:
    site.upstream.scripts[name] = BODIES[name]
    got = site.ask(f"/{name}")
    assert got.status in (200, 500, 502)
    assert holds(got, MAIL, CARD, base64.b64encode(MAIL.encode()).decode()) == []


HEADERS = [
    f"X-Owner: {MAIL}", f'ETag: "{MAIL}"', f'Content-Type: text/plain; name="{MAIL}"', f'WWW-Authenticate: Bearer realm="{MAIL}"', f"Allow: {MAIL}",
    f"Vary: {MAIL}", f"Pragma: {MAIL}", f"Retry-After: {MAIL}", f'Alt-Svc: h3=":443"; x="{MAIL}"', f"Upgrade: {MAIL}", f"Trailer: {MAIL}",
    f"Content-Security-Policy: report-uri https://x.example/?e={MAIL}", f"Last-Modified: {MAIL}", f"Expires: {MAIL}",
    f"Access-Control-Allow-Origin: https://{MAIL}", f'Link: </u>; rel="{MAIL}"; title={MAIL}', f"Link: </u?e={MAIL}>; rel=next",
    f"Location: https://other.example/?e={MAIL.replace('@', '%40')}", f"Refresh: 0;url=/u?e={MAIL}", f"X-{CARD}: y",
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(HEADERS)))
@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified"])
def test_no_value_in_a_header(site: Site, at: int, status: str) -> None:
    site.upstream.scripts["header"] = answer(b"", HEADERS[at], status=status, length=status.startswith("200"))
    got = site.ask("/header")
    assert got.status in (200, 304, 502)
    assert holds(got, MAIL, MAIL.replace("@", "%40"), CARD) == []


@pytest.mark.parametrize(
    "field",
    [
        "Date: Fri, 20 Nov 2026 22:27:53 GMT", "Content-Security-Policy: script-src 'nonce-4AEemGb0xJptoIGFP3Nd'", "Content-Type: text/html; charset=utf-8",
        "Access-Control-Allow-Headers: Content-Type, X-B3-TraceId", 'WWW-Authenticate: Bearer realm="api", error="invalid_token"', "Retry-After: 120",
        'ETag: "33a64df551425fcc55e4d42a148795d9f25f89d4"', "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT", "Allow: GET, HEAD", "Age: 3600",
    ],
)  # fmt: skip
def test_fields_by_which_clients_work_stay(site: Site, field: str) -> None:
    name, _, value = field.partition(": ")
    site.upstream.scripts["stays"] = answer(b"ok", *([] if name == "Content-Type" else [TEXT]), field)
    assert site.ask("/stays").headers[name.lower()] == value


def authorization(asked: Asked) -> str:
    return asked.values("authorization")[0]


ECHOES: dict[str, Callable[[Asked], bytes]] = {
    "plain": lambda asked: answer(authorization(asked).encode(), TEXT),
    "utf-16": lambda asked: answer(authorization(asked).encode("utf-16"), TEXT),
    "utf-16-be": lambda asked: answer(authorization(asked).encode("utf-16-be"), "Content-Type: text/plain; charset=utf-16be"),
    "hex": lambda asked: answer(authorization(asked).encode().hex().encode(), TEXT),
    "json-numbers": lambda asked: answer(('"' + "".join(f"\\u{ord(c):04x}" for c in authorization(asked)) + '"').encode(), JSON),
    "json-some-numbers": lambda asked: answer(json.dumps(authorization(asked)).replace("-", "\\u002D").encode(), JSON),
    "html": lambda asked: answer(html.escape(authorization(asked)).replace("-", "&#45;").encode(), "Content-Type: text/html"),
    "gzip": lambda asked: answer(gzip.compress(authorization(asked).encode()), TEXT, "Content-Encoding: gzip"),
    "error": lambda asked: answer(authorization(asked).encode(), TEXT, status="500 " + authorization(asked)),
    "reason": lambda asked: answer(b"", TEXT, status="200 " + authorization(asked)),
    "fields": lambda asked: answer(b"", TEXT, f"Set-Cookie: t={CANARY}", f"ETag: \"{CANARY}\"", f"Location: /?t={CANARY}", f"Vary: {CANARY}"),
    "name-of-a-field": lambda asked: answer(b"", TEXT, f"{CANARY}: x"),
    "broken": lambda asked: b"HTTP/1.1 200 OK\r\n" + CANARY.encode() + b"\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", ECHOES)
@pytest.mark.parametrize("service", ["hostile", "bare"])
def test_no_echo_gives_our_credential_away(site: Site, name: str, service: str) -> None:
    site.upstream.scripts["echoes"] = ECHOES[name]
    got = site.ask("/echoes", service=service)
    assert CANARY in site.upstream.seen[-1].head.decode()
    numbers = "".join(f"\\u{ord(char):04x}" for char in CANARY)
    assert holds(got, CANARY, "Q7secret9", CANARY.encode().hex(), numbers) == []
