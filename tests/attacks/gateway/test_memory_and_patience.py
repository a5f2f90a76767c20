"""Nobody makes the gateway keep what never ends, or wait for what never comes: mitmproxy alone does both for hours."""

import socket
import time

import pytest

from tests.attacks.gateway.conftest import Site

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MOST = 8 << 20  # what a client can push before the cut is seen: the cap, and the sockets' own buffers


def pushed(port: int, head: str, piece: bytes, total: int = 64 << 20) -> int:
    """Send a head and then pieces until the gateway cuts the connection; return how many bytes went."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        try:
            peer.sendall(head.encode())
            while sent < total:
                peer.sendall(piece)
                sent += len(piece)
        except (TimeoutError, ConnectionError):
            pass
    return sent


def open_for(port: int, data: str, piece: bytes = b"", most: float = 15.0) -> float:
    """How long the gateway keeps a connection that sends this, and then a piece now and then."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as peer:
        peer.sendall(data.encode())
        while time.monotonic() - start < most:
            try:
                if not peer.recv(65536):
                    break
            except TimeoutError:
                pass
            except ConnectionError:
                break
            try:
                peer.sendall(piece)
            except ConnectionError:
                break
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param("", b"X" * 65536, id="a-request-line-without-end"),
        pytest.param("GET / HTTP/1.1\r\nX-A: ", b"a" * 65536, id="a-header-without-end"),
        pytest.param("GET / HTTP/1.1\r\n", b"X-A: b\r\n" * 8192, id="headers-without-end"),
        pytest.param("POST /x HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n1;", b"e" * 65536, id="a-chunk-extension-without-end"),
        pytest.param("POST /x HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 10000, id="trailers-without-end"),
        pytest.param("DELETE /held HTTP/1.1\r\n{head}\r\n", b"G" * 65536, id="behind-a-held-request"),
    ],
)
def test_what_has_no_end_is_cut(site: Site, head: str, piece: bytes) -> None:
    assert pushed(site.port, head.replace("{head}", site.head), piece) < MOST
    assert site.ask("/plain").status == 200


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: ", id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;", id="chunk-extension"),
    ],
)
def test_an_upstream_without_end_is_an_upstream_that_failed(site: Site, head: bytes) -> None:
    site.upstream.scripts["endless"] = head + b"a" * (30 << 20)
    assert site.ask("/endless").status == 502


@pytest.mark.parametrize(
    ("data", "piece", "most"),
    [
        pytest.param("", b"", 3, id="silence"),
        pytest.param("GET / HTTP/1.1\r\nX-A: b", b"b", 3, id="a-head-by-drops"),
        pytest.param("POST /x HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\na", b"", 5, id="half-a-body"),
        pytest.param("POST /x HTTP/1.1\r\n{head}Content-Length: 100000\r\n\r\na", b"b", 7, id="a-body-by-drops"),
        pytest.param("GET /plain HTTP/1.1\r\n{head}\r\n", b"", 7, id="nothing-after-an-answer"),
        pytest.param("GET /plain HTTP/1.1\r\n{head}\r\nGET / HT", b"", 7, id="half-a-second-request"),
    ],
)
def test_who_sends_nothing_more_is_not_waited_for(site: Site, data: str, piece: bytes, most: float) -> None:
    assert open_for(site.port, data.replace("{head}", site.head), piece) < most


def test_a_held_request_outlives_the_clocks_of_idle_connections(site: Site) -> None:
    assert open_for(site.port, f"DELETE /waits HTTP/1.1\r\n{site.head}\r\n", most=7) >= 7


def test_a_large_body_that_comes_is_not_cut(site: Site) -> None:
    body = b"a" * (3 << 20)
    assert site.ask("/plain", "POST", more="Content-Type: text/plain\r\n", body=body).status == 200
    assert len(site.upstream.seen[-1].body) == len(body)
