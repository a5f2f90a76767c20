"""Each row of design/mitmproxy.md 7.1, sent raw to a real mitmdump: refused, and the upstream saw nothing."""

import pytest

from tests.attacks.validation.conftest import Stack
from tests.parts import raw_client
from tests.parts.raw_requests import ROWS, STRIPPED, Row

pytestmark = pytest.mark.e2e

# mitmproxy's own readers refuse these before any guard, so no rule of ours is named: 400, or the end of an HTTP/2 connection
STOCK_HTTP1 = frozenset(
    {
        "method-connect", "header-space-in-name", "header-space-before-colon", "header-non-ascii-name", "header-two-lengths",
        "header-differing-lengths", "header-length-list", "header-signed-length", "header-length-and-coding", "header-unknown-coding",
        "header-coding-identity", "header-two-codings",
    }
)  # fmt: skip
STOCK_HTTP2 = frozenset(
    {
        "target-bare-carriage-return", "method-connect", "header-bare-carriage-return", "header-nul", "header-line-feed", "header-space-in-name",
        "header-space-before-colon", "header-non-ascii-name", "header-too-large", "header-host-against-authority", "header-two-lengths",
        "header-differing-lengths", "header-length-list", "header-signed-length", "header-coding-on-http2", "header-connection-on-http2",
        "host-missing", "host-with-user", "host-with-path", "host-bad-port", "host-non-ascii",
    }
)  # fmt: skip
SILENT_HTTP1 = frozenset({"trailers"})  # stock mitmproxy's reader crashes on them (fact 4); the patch in host hands them over


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.http1])
def test_over_http1_it_is_refused_and_the_upstream_saw_nothing(stack: Stack, row: Row) -> None:
    stack.upstream.forget()
    answer = raw_client.http1(stack.cleartext, row.raw(), timeout=1 if row.id in SILENT_HTTP1 else 5)
    assert stack.upstream.raw == []
    if row.id in SILENT_HTTP1:
        assert answer.status == 0
        return
    assert (answer.status, answer.headers.get("x-rule")) == (400, None if row.id in STOCK_HTTP1 else row.rule)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.http2])
def test_over_http2_it_is_refused_and_the_upstream_saw_nothing(stack: Stack, row: Row) -> None:
    stack.upstream.forget()
    answer = raw_client.http2(stack.tls, row.frames(), row.body, list(row.trailers))
    assert stack.upstream.raw == []
    if row.id in STOCK_HTTP2:
        assert answer.status in (0, 400)
        return
    assert (answer.status, answer.headers.get("x-rule")) == (400, row.rule)


def test_bare_line_feeds_and_white_space_before_chunked_are_normalised_before_any_hook(stack: Stack) -> None:
    """Not refused, because nobody after the reader sees them: what goes on is written anew (design/mitmproxy.md 7.1)."""
    stack.upstream.forget()
    raw = b"POST /customers HTTP/1.1\nHost: crm.test\nTransfer-Encoding: \t chunked\n\n2\r\n{}\r\n0\r\n\r\n"
    assert raw_client.http1(stack.cleartext, raw).status == 200
    sent = b"".join(stack.upstream.raw)
    assert b"Transfer-Encoding: chunked\r\n" in sent
    assert sent.count(b"\n") == sent.count(b"\r\n")


def test_a_body_of_http2_without_a_length_does_not_become_a_second_request(stack: Stack) -> None:
    """Stock mitmproxy writes it unframed behind the head, and an HTTP/1.1 upstream runs it as a request of its own."""
    stack.upstream.forget()
    smuggled = b"DELETE /customers/7 HTTP/1.1\r\nHost: crm.test\r\n\r\n"
    headers = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/customers"), (b":authority", b"crm.test")]
    assert raw_client.http2(stack.tls, headers, smuggled).status == 200
    assert [(seen.method, seen.target, seen.body) for seen in stack.upstream.seen] == [(b"POST", b"/customers", smuggled)]


def test_a_get_of_http2_with_an_unannounced_body_is_refused(stack: Stack) -> None:
    stack.upstream.forget()
    headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/customers"), (b":authority", b"crm.test")]
    answer = raw_client.http2(stack.tls, headers, b"{}")
    assert (answer.status, answer.headers["x-rule"]) == (400, "get-body")
    assert stack.upstream.raw == []


@pytest.mark.parametrize(
    ("port", "host", "status"),
    [
        pytest.param("tls", b"echo.test", 0, id="cleartext-on-a-tls-listener"),
        pytest.param("cleartext", b"echo.test", 404, id="a-host-of-another-listener"),
        pytest.param("cleartext", b"far.test", 404, id="a-host-of-no-listener"),
        pytest.param("cleartext", b"anything.test", 200, id="the-first-service-takes-the-rest"),
    ],
)
def test_a_host_reaches_only_services_of_its_listener(stack: Stack, port: str, host: bytes, status: int) -> None:
    stack.upstream.forget()
    answer = raw_client.http1(getattr(stack, port), b"GET /customers HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
    assert answer.status == (421 if port == "tls" else status)
    assert bool(stack.upstream.raw) is (status == 200)


def test_a_host_of_another_listener_on_tls_is_misdirected(stack: Stack) -> None:
    stack.upstream.forget()
    headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/customers"), (b":authority", b"far.test")]
    assert raw_client.http2(stack.tls, headers).status == 421
    assert stack.upstream.raw == []


def test_websocket_is_refused_and_an_unknown_upgrade_is_not_offered(stack: Stack) -> None:
    stack.upstream.forget()
    head = b"GET /ws HTTP/1.1\r\nHost: crm.test\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
    assert raw_client.http1(stack.cleartext, head % b"websocket").status == 501
    assert stack.upstream.raw == []
    assert raw_client.http1(stack.cleartext, head % b"tcp-tunnel").status == 200
    assert b"upgrade" not in b"".join(stack.upstream.raw).lower()


def test_forged_names_do_not_reach_the_upstream(stack: Stack) -> None:
    stack.upstream.forget()
    fields = b"".join(b"%s: forged\r\n" % name for name in STRIPPED)
    assert raw_client.http1(stack.cleartext, b"GET /customers HTTP/1.1\r\nHost: crm.test\r\n" + fields + b"\r\n").status == 200
    assert b"forged" not in b"".join(stack.upstream.raw)
