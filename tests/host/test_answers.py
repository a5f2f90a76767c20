"""What comes back from an upstream, and what becomes of it: the patches at work in a real mitmdump (acceptance 5, 7, 22)."""

import os
import socket
import ssl
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.parts.host_gateway import Gateway, Upstream, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def terminal(gateway: Gateway, path: str) -> list[dict]:
    return [event for event in gateway.events if event.get("path") == path and event["kind"] in ("complete", "error")]


def wait_terminal(gateway: Gateway, path: str) -> dict:
    events = wait_for(lambda: terminal(gateway, path))
    assert len(events) == 1
    return events[0]


def test_trailers_of_an_answer_are_dropped_and_noted(gateway: Gateway):
    status, answer = gateway.get("/part/trailers")
    assert status == 200
    assert b"alice@example.org" not in answer
    assert b"hello" in answer
    assert wait_terminal(gateway, "/part/trailers")["notes"] == ["trailer-dropped:x-sum"]


@pytest.mark.parametrize("part", ["interim-100", "interim-103", "interim-16"])
def test_interim_responses_are_swallowed(gateway: Gateway, part: str):
    status, answer = gateway.get(f"/part/{part}")
    assert (status, answer[-5:]) == (200, b"hello")


def test_too_many_interim_responses_are_a_bad_gateway(gateway: Gateway):
    assert gateway.get("/part/interim-17")[0] == 502


@pytest.mark.parametrize("part", ["garbage", "cut", "both-lengths", "nothing", "interim-17"])
def test_a_broken_answer_is_our_page_without_a_byte_of_the_upstreams(gateway: Gateway, part: str):
    path = f"/part/{part}?broken"
    status, answer = gateway.get(path)
    assert status == 502
    assert b"SECRET" not in answer and b"alice" not in answer and b"mitmproxy" not in answer
    assert b'"code": "upstream-failed"' in answer
    wait_terminal(gateway, path)


@pytest.mark.parametrize("part", ["declared-long", "counted-long"])
def test_an_answer_over_the_limit_is_a_bad_gateway(gateway: Gateway, part: str):
    path = f"/part/{part}"
    status, answer = gateway.get(path)
    assert status == 502
    assert b"xxxx" not in answer
    assert wait_terminal(gateway, path)["code"] == ("response-too-large" if part == "declared-long" else None)


@pytest.mark.parametrize(
    ("path", "expected", "code"),
    [("/part/switch", 501, "not-supported"), ("/part/events", 502, "masking-missing"), ("/endless", 502, "masking-missing")],
)
def test_what_we_do_not_carry_or_nobody_masks_is_refused_at_once(gateway: Gateway, path: str, expected: int, code: str):
    before = time.monotonic()
    status, answer = gateway.get(path)
    assert status == expected
    assert b"SECRET" not in answer
    assert time.monotonic() - before < 2
    assert wait_terminal(gateway, path)["code"] == code


@pytest.mark.parametrize("path", ["/never", "/half"])
def test_an_upstream_that_does_not_answer_in_time_is_given_up(gateway: Gateway, path: str):
    started = time.monotonic()
    status, answer = gateway.get(path)
    assert (status, b"SECRET" in answer) == (504, False)
    assert 1.3 < time.monotonic() - started < 3
    assert wait_terminal(gateway, path)["code"] == "upstream-timeout"


def test_a_slow_stream_of_http2_is_given_up_alone(gateway: Gateway):
    with h2_client(gateway) as client:
        answer = client.get("/never?h2")
        assert (answer.status_code, answer.json()["code"]) == (504, "upstream-timeout")
        assert client.get("/again").text == "hello"


def test_an_answer_without_a_receipt_of_masking_is_withheld(gateway: Gateway):
    status, answer = gateway.get("/unmasked")
    assert status == 502
    assert b"hello" not in answer
    assert wait_terminal(gateway, "/unmasked")["code"] == "masking-missing"


def test_what_cannot_be_recorded_does_not_happen(gateway: Gateway, upstream: Upstream):
    before = len(upstream.seen)
    assert gateway.get("/audit-fails")[0] == 503
    assert len(upstream.seen) == before


def test_a_refused_upload_is_answered_before_it_ends_and_dropped(gateway: Gateway):
    head = b"POST /upload HTTP/1.1\r\nHost: crm.test\r\nContent-Length: 1500000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as peer:
        peer.sendall(head + b"x" * 1000)
        answer = peer.recv(65536)  # the upload is not finished: only a thousandth was sent
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in answer.lower()
        peer.sendall(b"x" * 1499000)
        rest = b""
        while piece := peer.recv(65536):
            rest += piece
    assert wait_terminal(gateway, "/upload")["code"] == "credential-required"


def test_a_refused_upload_gets_no_continue(gateway: Gateway):
    head = b"POST /expect HTTP/1.1\r\nHost: crm.test\r\nContent-Length: 1500000\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as peer:
        peer.sendall(head)
        assert peer.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_an_allowed_upload_still_works_with_continue(gateway: Gateway, upstream: Upstream):
    head = b"POST /expected HTTP/1.1\r\nHost: crm.test\r\nAuthorization: Bearer good\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as peer:
        peer.sendall(head)
        assert peer.recv(65536).startswith(b"HTTP/1.1 100 ")
        peer.sendall(b"hello")
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert upstream.seen[-1].endswith(b"\r\n\r\nhello")


def test_a_request_over_the_limit_is_too_large(gateway: Gateway):
    status, answer = gateway.raw(b"POST /large HTTP/1.1\r\nHost: crm.test\r\nContent-Length: 3000000\r\n\r\n")
    assert status == 413
    assert b'"code": "request-too-large"' in answer


def test_a_malformed_request_line_gets_our_page_and_nothing_of_it_is_printed(gateway: Gateway):
    status, answer = gateway.raw(b"GET /a b HTTP/1.1 SECRETLINE\r\nHost: crm.test\r\n\r\n")
    assert status == 400
    assert b"mitmproxy" not in answer
    assert "SECRETLINE" not in gateway.output


def test_the_same_connection_serves_again_after_an_interim_response_and_a_refusal(gateway: Gateway):
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", headers={"Authorization": "Bearer good"}) as client:
        assert client.get("/part/interim-103").status_code == 200
        assert client.get("/denied").status_code == 403
        assert client.get("/after").text == "hello"


def h2_client(gateway: Gateway) -> httpx.Client:
    port = int(gateway.env["GUARDHOUSE_TEST_TLS"].rpartition(":")[2])

    context = ssl.create_default_context(cafile=str(gateway.home / "state" / "certificates" / "ca.pem"))
    return httpx.Client(
        base_url=f"https://localhost:{port}", http2=True, verify=context, headers={"Authorization": "Bearer good"}, timeout=10
    )


def test_http2_speaks_to_us_and_gets_our_pages(gateway: Gateway):
    with h2_client(gateway) as client:
        assert client.get("/h2").http_version == "HTTP/2"
        answer = client.get("/part/garbage?h2")
        assert answer.status_code == 502
        assert answer.json()["code"] == "upstream-failed"
        assert "server" not in answer.headers
        assert client.get("/part/trailers?h2").text == "hello"
        assert client.get("/part/events?h2").status_code == 502
        assert client.get("/again").text == "hello"


def test_a_refused_http2_upload_is_answered_and_the_connection_lives_on(gateway: Gateway):
    with h2_client(gateway) as client:
        answer = client.post("/upload?h2", content=b"x" * 1_500_000, headers={"Authorization": "Bearer bad"})
        assert answer.status_code == 401
        assert client.get("/again").text == "hello"


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_ten_large_uploads_without_identity_are_refused_at_once_and_cost_no_memory(gateway: Gateway):
    gateway.get("/warm")
    before, answers = resident(gateway.process.pid), []

    def upload(number: int) -> None:
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as peer:
            peer.sendall(f"POST /flood/{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            first = peer.recv(65536) if not peer.sendall(b"100000\r\n" + b"x" * 1048576 + b"\r\n") else b""
            answers.append((first[9:12], time.monotonic() - started))
            for _ in range(29):
                peer.sendall(b"100000\r\n" + b"x" * 1048576 + b"\r\n")
            peer.sendall(b"0\r\n\r\n")

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    most = before
    while any(thread.is_alive() for thread in threads):
        most = max(most, resident(gateway.process.pid))
        time.sleep(0.01)
    assert [status for status, _ in answers] == [b"401"] * 10
    assert most - before < 20 << 20
