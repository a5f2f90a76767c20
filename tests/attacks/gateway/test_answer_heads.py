"""The head of an answer has one reading too, and says nothing in our name."""

import pytest

from tests.attacks.gateway.conftest import Site
from tests.parts.hostile_upstream import answer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TEXT = "Content-Type: text/plain"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: a\rX-Split: 1\r\nContent-Length: 2\r\n\r\nok", id="bare-carriage-return"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok", id="nul"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: a\x0bb\x1b[2J\r\nContent-Length: 2\r\n\r\nok", id="controls"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 2\r\n\r\nok", id="space-in-a-name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-\xff: b\r\nContent-Length: 2\r\n\r\nok", id="bytes-in-a-name"),
        pytest.param(b"HTTP/1.1 -1 OK\r\nContent-Length: 2\r\n\r\nok", id="negative-status"),
        pytest.param(b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok", id="status-beyond-599"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nok" + answer(b"evil", TEXT), id="two-lengths"),
    ],
)
def test_an_answer_with_two_readings_is_no_answer(site: Site, said: bytes) -> None:
    site.upstream.scripts["twofold"] = said
    assert site.ask("/twofold").status == 502


def test_an_upstream_does_not_speak_in_our_name(site: Site) -> None:
    site.upstream.scripts["ours"] = answer(b"ok", TEXT, "Guardhouse-Masking: complete", "guardhouse-approval: ap_1")
    got = site.ask("/ours")
    assert (got.status, [name for name in got.headers if name.startswith("guardhouse-")]) == (200, [])


def test_an_upstream_does_not_unsay_our_headers_further_down(site: Site) -> None:
    site.upstream.scripts["unsay"] = answer(b"ok", TEXT, "Connection: Cache-Control, Vary, keep-alive", "Proxy-Connection: x")
    got = site.ask("/unsay")
    assert got.headers["cache-control"] == "private"
    assert (got.headers["connection"], "proxy-connection" in got.headers) == ("close", False)
