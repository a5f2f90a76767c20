"""One gateway of small shells and one upstream that plays any part, for the whole module."""

import re
import time

import pytest

from tests.parts.host_gateway import Upstream, free_port, mitmdump, ok

PARTS = {
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: alice@example.org\r\n\r\n",
    "interim-100": b"HTTP/1.1 100 Continue\r\n\r\n" + ok(),
    "interim-103": b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + ok(),
    "interim-16": b"HTTP/1.1 102 Processing\r\n\r\n" * 16 + ok(),
    "interim-17": b"HTTP/1.1 102 Processing\r\n\r\n" * 17 + ok(),
    "garbage": b"SECRET alice@example.org not http at all\r\n\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nSECRET",
    "both-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "nothing": b"",
    "declared-long": b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 1000,
    "counted-long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"10000\r\n" * 40,
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: upgrade\r\n\r\nSECRET",
    "events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: SECRET\n\n",
}


WAIT = b"wait"


def play(request: bytes) -> bytes | list[bytes]:
    """Answer by the path: /part/NAME plays a part, /slow takes a second, the rest is a plain 200."""
    path = request.split(b" ", 2)[1].decode()
    if path.startswith("/slow"):
        time.sleep(1.0)
    if path.startswith("/endless"):
        return PARTS["events"] + b"data: SECRET\n\n" * 100
    if path.startswith("/never"):
        time.sleep(4.0)
    if path.startswith("/half"):
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nSECRET", WAIT]
    match = re.match(r"/part/([\w-]+)", path)
    return PARTS[match[1]] if match else ok()


@pytest.fixture(scope="module")
def upstream():
    server = Upstream(play)
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    home = tmp_path_factory.mktemp("gateway")
    env = {
        "GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{upstream.port}",
        "GUARDHOUSE_TEST_TLS": f"127.0.0.1:{free_port()}",
        "GUARDHOUSE_TEST_TIMES": '{"response_timeout": 1.5, "connect_timeout": 1.0}',
        "GUARDHOUSE_TEST_LIMITS": '{"body": 2000000, "drain": 3.0, "hook_deadline": 2.0}',
        "GUARDHOUSE_TEST_SCRIPTS": str(tmp_path_factory.getbasetemp() / "fault.py"),
    }
    with mitmdump(home, env=env) as running:
        yield running.wait_until_up()
