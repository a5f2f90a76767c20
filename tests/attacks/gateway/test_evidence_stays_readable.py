"""Nothing that a caller or an upstream sends makes the traces it leaves unreadable, or dangerous to read on a terminal."""

import json

import pytest

from tests.attacks.gateway.conftest import Site
from tests.parts.hostile_upstream import answer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

REQUESTS = {
    "bytes-in-headers": (
        "GET",
        b"Referer: \xed\xa0\x80\xff\r\nX-Esc: \x9b2J\x85\r\nUser-Agent: \xe2\x80\xae'; DROP TABLE event;--\r\n",
        b"",
    ),
    "lone-surrogate": ("POST", b"Content-Type: application/json\r\n", b'{"a":"\\ud800\\u0000\\u001b[2J"}'),
    "no-number": ("POST", b"Content-Type: application/json\r\n", b'{"a":NaN,"b":1e999,"c":-Infinity}'),
    "huge-number": ("POST", b"Content-Type: application/json\r\n", b'{"a":' + b"9" * 6000 + b"}"),
    "controls": ("POST", b"Content-Type: text/plain\r\n", b"\x1b]0;owned\x07\x00"),
    "deep": ("POST", b"Content-Type: application/json\r\n", b"[" * 900 + b"]" * 900),
    "long-header": ("GET", b"X-Big: " + b"a" * 60000 + b"\r\n", b""),
    "odd-type": ("POST", b"Content-Type: \xff/\xfe; charset=\xff\r\n", b"x"),
    "session": ("GET", b"X-Session-Id: ../../etc\r\n", b""),
}


@pytest.fixture(scope="module")
def flows(site: Site):
    """Every flow that these attacks left behind."""
    site.upstream.scripts["surrogates"] = answer(
        b'{"a":"\\ud800","b":1e999}', "Content-Type: application/json", "X-Odd: \xed\xa0\x80", status="200 \xed\xa0"
    )
    for name, (method, headers, body) in REQUESTS.items():
        site.ask(f"/evidence/{name}%E2%80%AE", method, more=headers.decode("latin-1"), body=body)
        site.ask("/surrogates")
    carol = site.gateway.token("carol")
    found = site.gateway.cli("search", "--json", "--limit", "60", "", token=carol)
    assert found.status == 0, found.headers["stderr"]
    named = {json.loads(line).get("flow") for line in found.body.splitlines()} - {None}
    assert len(named) >= 15
    return carol, sorted(named)[:40]


def test_each_flow_can_be_shown(site, flows):
    carol, named = flows
    for flow in named:
        shown = site.gateway.request("GET", f"{site.gateway.control}/v1/flows/{flow}", carol)
        while shown.status == 429:
            shown = site.gateway.request("GET", f"{site.gateway.control}/v1/flows/{flow}", carol)
        assert (shown.status, bool(json.loads(shown.body))) == (200, True)


def test_a_terminal_is_not_at_risk(site, flows):
    carol, named = flows
    for more in ((), ("--json",)):
        for flow in named[:12:3]:
            shown = site.gateway.cli("show", flow, *more, token=carol)
            assert shown.status == 0, shown.headers["stderr"]
            assert not any(byte < 32 and byte not in (9, 10) for byte in shown.body)
            assert b"\xe2\x80\xae" not in shown.body and b"\xc2\x9b" not in shown.body


def test_the_log_exports_and_verifies(site, flows):
    carol, _ = flows
    exported = site.gateway.request("GET", f"{site.gateway.control}/v1/export?q=", carol)
    assert exported.status == 200
    assert [json.loads(line)["seq"] for line in exported.body.splitlines()]
    verified = site.gateway.cli("verify")
    assert verified.status == 0, verified.text
