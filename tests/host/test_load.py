"""Clocks and caps of connections: who sends nothing, too slowly, too much or too often is closed, and nobody else is (acceptance 23)."""

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from tests.parts.host_gateway import Gateway, Upstream, free_port, mitmdump, ok

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMITS = (
    '{"handshake": 1, "headers_time": 1, "keep_alive": 2, "body_idle": 1, "body_time": 3, "per_peer": 40, "live_hooks": 20, "resets": 30,'
    ' "hook_deadline": 8}'
)
BIG = b"x" * (16 << 20)
HEAD = b"Host: a\r\nAuthorization: Bearer good\r\n"
LATE = 2.0  # seconds that a busy machine may add


@pytest.fixture(scope="module")
def upstream():
    server = Upstream(lambda request: ok(BIG if b" /big" in request else b"hello").replace(b"Connection: close\r\n", b""))
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    env = {
        "GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{upstream.port}",
        "GUARDHOUSE_TEST_TLS": f"127.0.0.1:{free_port()}",
        "GUARDHOUSE_TEST_LIMITS": LIMITS,
    }
    with mitmdump(tmp_path_factory.mktemp("gateway"), env=env) as running:
        yield running.wait_until_up()


def tls_port(gateway: Gateway) -> int:
    return int(gateway.env["GUARDHOUSE_TEST_TLS"].rpartition(":")[2])


def open_for(peer: socket.socket, piece: bytes = b"", most: float = 12.0) -> float:
    """Seconds until the gateway closes this connection; a piece is sent now and then."""
    start = time.monotonic()
    peer.settimeout(0.1)
    with contextlib.suppress(ConnectionError, BrokenPipeError, ssl.SSLError):
        while time.monotonic() - start < most:
            with contextlib.suppress(TimeoutError):
                if not peer.recv(65536):
                    break
            peer.sendall(piece)
    return time.monotonic() - start


def http2(gateway: Gateway, source: str = "127.0.0.1") -> tuple[ssl.SSLSocket, h2.connection.H2Connection]:
    """A connection that speaks HTTP/2, its preface sent."""
    trusted = ssl.create_default_context(cafile=str(gateway.home / "state" / "certificates" / "ca.pem"))
    trusted.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", tls_port(gateway)), timeout=10, source_address=(source, 0))
    peer = trusted.wrap_socket(plain, server_hostname="localhost")
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    peer.sendall(client.data_to_send())
    return peer, client


def fields(path: str, method: str = "GET", token: str = "good") -> list[tuple[str, str]]:
    pseudo = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
    return [*pseudo, ("authorization", f"Bearer {token}")]


@pytest.mark.parametrize(
    ("tls", "data", "piece", "least", "most"),
    [
        pytest.param(True, b"", b"", 0.9, 1.5, id="a-handshake-that-never-begins"),
        pytest.param(True, b"\x16\x03\x01\x02\x00\x01", b"", 0.9, 1.5, id="a-handshake-that-stops"),
        pytest.param(False, b"", b"", 0.9, 1.5, id="silence"),
        pytest.param(False, b"GET / HTTP/1.1\r\nX-A: b", b"b", 0.9, 1.5, id="a-head-by-drops"),
        pytest.param(False, b"GET / HTTP/1.1\r\n" + HEAD + b"\r\nGET /", b"b", 0.9, 2.0, id="a-second-head-by-drops"),
        pytest.param(False, b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n", b"", 1.9, 3.0, id="silence-after-an-answer"),
        pytest.param(False, b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n\r\na", b"", 0.9, 2.5, id="half-a-body"),
        pytest.param(False, b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 999999\r\n\r\na", b"b", 2.0, 4.0, id="a-body-by-drops"),
        pytest.param(
            False,
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            0.9,
            2.5,
            id="a-refused-upload-without-end",
        ),
    ],
)
def test_who_says_nothing_or_too_slowly_is_closed_by_its_own_clock(
    gateway: Gateway, tls: bool, data: bytes, piece: bytes, least: float, most: float
):
    with socket.create_connection(("127.0.0.1", tls_port(gateway) if tls else gateway.port), timeout=5) as peer:
        peer.sendall(data)
        assert least <= open_for(peer, piece) < most + LATE


def test_a_silent_http2_connection_is_closed(gateway: Gateway):
    peer, client = http2(gateway)
    with peer:
        client.send_headers(1, fields("/"), end_stream=True)
        peer.sendall(client.data_to_send())
        assert 1.9 <= open_for(peer) < 3.0 + LATE


def test_an_http2_head_without_its_end_is_closed(gateway: Gateway):
    peer, client = http2(gateway)
    with peer:
        client.send_headers(1, fields("/"), end_stream=True)
        frame = bytearray(client.data_to_send())
        frame[4] &= ~0x4  # no END_HEADERS: a CONTINUATION would have to follow
        peer.sendall(frame)
        assert 0.9 <= open_for(peer) < 1.5 + LATE


def test_a_head_in_many_frames_is_cut(gateway: Gateway):
    """Stock keeps 64 frames of 16 KiB for each connection."""
    peer, client = http2(gateway)
    sent = 0
    with peer:
        client.send_headers(1, [*fields("/"), ("x-long", "a")], end_stream=True)
        frame = bytearray(client.data_to_send())
        frame[4] &= ~0x4
        peer.sendall(frame)
        with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
            for _ in range(64):
                peer.sendall(b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + b"\x00" * 16384)
                sent += 1
                peer.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if b"Too many" in peer.recv(65536):
                        break
    assert 1 <= sent < 10


@pytest.mark.parametrize("version", ["http1", "http2"])
def test_a_held_request_has_no_clock(gateway: Gateway, version: str):
    if version == "http2":
        peer, client = http2(gateway)
        client.send_headers(1, fields("/held"), end_stream=True)
        data = client.data_to_send()
    else:
        peer = socket.create_connection(("127.0.0.1", gateway.port))
        data = b"GET /held HTTP/1.1\r\n" + HEAD + b"\r\n"
    with peer:
        peer.sendall(data)
        assert open_for(peer, most=5) >= 5


def fetch(gateway: Gateway, more: bytes, pause: float, most: float) -> int:
    """Ask for the big answer and read it bit by bit, with a small buffer; returns what came."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.connect(("127.0.0.1", gateway.port))
        peer.sendall(b"GET /big HTTP/1.1\r\n" + HEAD + more + b"\r\n")
        got, end = 0, time.monotonic() + most
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end and (piece := peer.recv(131072)):
                got += len(piece)
                time.sleep(pause)
                if got >= len(BIG):
                    break
        return got


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_an_answer_that_is_fetched_slowly_is_fetched_whole(gateway: Gateway, more: bytes):
    started = time.monotonic()
    assert fetch(gateway, more, 0.05, 60) >= len(BIG)
    assert time.monotonic() - started > 4  # twice what an idle connection may last


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_an_answer_that_is_not_fetched_is_given_up(gateway: Gateway, more: bytes):
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.connect(("127.0.0.1", gateway.port))
        peer.sendall(b"GET /big HTTP/1.1\r\n" + HEAD + more + b"\r\n")
        time.sleep(7)
        got = 0
        with contextlib.suppress(ConnectionError):
            while piece := peer.recv(1 << 20):
                got += len(piece)
    assert got < len(BIG)


def test_a_rapid_reset_gets_a_goaway_and_others_are_served(gateway: Gateway, upstream: Upstream):
    served: list[int] = []
    other = threading.Thread(target=lambda: [served.append(gateway.get("/")[0]) for _ in range(5)])
    before, stream = len(upstream.seen), 1
    peer, client = http2(gateway, "127.0.0.3")
    ended = None
    with peer, contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
        other.start()
        for _ in range(300):
            for _ in range(10):
                client.send_headers(stream, fields("/identity-waits"), end_stream=True)
                client.reset_stream(stream)
                stream += 2
            peer.sendall(client.data_to_send())
            peer.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                for event in client.receive_data(peer.recv(65536)):
                    ended = event if isinstance(event, h2.events.ConnectionTerminated) else ended
            if ended:
                break
    other.join(20)
    assert ended is not None and ended.error_code == 11  # ENHANCE_YOUR_CALM
    assert stream < 400
    assert served == [200] * 5
    assert len(upstream.seen) == before + 5


def test_too_many_connections_of_one_peer(gateway: Gateway):
    with contextlib.ExitStack() as opened:
        for _ in range(40):
            opened.enter_context(socket.create_connection(("127.0.0.1", gateway.port), source_address=("127.0.0.4", 0)))
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", gateway.port), source_address=("127.0.0.4", 0), timeout=3) as one_more:
            one_more.sendall(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
            with contextlib.suppress(ConnectionError):
                assert one_more.recv(100) == b""
        assert gateway.get("/")[0] == 200


@pytest.mark.parametrize("version", ["http1", "http2"])
def test_what_comes_before_it_is_known_whose_it_is_stays_with_the_client(gateway: Gateway, version: str):
    """Stock keeps every byte that a client sends while a hook waits."""
    sent, end = 0, time.monotonic() + 2.0
    if version == "http2":
        peer, client = http2(gateway, "127.0.0.5")
        client.send_headers(1, fields("/identity-waits", "POST"))
        head, piece = client.data_to_send(), b"\x00\x40\x00\x00\x00\x00\x00\x00\x01" + b"x" * 16384
    else:
        peer = socket.create_connection(("127.0.0.1", gateway.port), source_address=("127.0.0.5", 0))
        head, piece = b"POST /identity-waits HTTP/1.1\r\n" + HEAD + b"Content-Length: 30000000\r\n\r\n", b"x" * 16384
    with peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        peer.sendall(head)
        peer.settimeout(0.2)
        before = resident(gateway)
        while time.monotonic() < end and sent < (24 << 20):
            with contextlib.suppress(TimeoutError):
                peer.sendall(piece)
                sent += len(piece)
        assert resident(gateway) - before < (6 << 20)
        assert sent < (12 << 20)  # the sockets' own buffers


def test_an_upload_waits_for_identity_and_then_passes(gateway: Gateway, upstream: Upstream):
    body = b"y" * (4 << 20)
    assert gateway.get("/identity-waits/upload", method="POST", body=body)[0] == 200
    assert upstream.seen[-1].endswith(body)


def resident(gateway: Gateway) -> int:
    """Bytes of memory of the gateway's process."""
    return int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]) * 4096
