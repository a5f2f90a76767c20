"""Facts about STOCK mitmproxy that decide the design (design/mitmproxy.md section 2). One mitmdump serves most of them.

Each test says what happens without us. When one fails after mitmproxy was moved, the part of the host that answers the
fact needs a review: it may not be needed any more, or not be enough.
"""

import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import h2.connection
import pytest

from tests.host.conftest import PARTS
from tests.host.test_tls import made
from tests.parts.host_gateway import Gateway, Upstream, free_port, mitmdump, ok, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def play(request: bytes) -> bytes | list[bytes]:
    path = request.split(b" ", 2)[1].decode()
    match = re.match(r"/part/([\w-]+)", path)
    if path.startswith("/chunks"):
        return [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"5\r\nfirst\r\n",
            b"6\r\nsecond\r\n",
            b"5\r\nthird\r\n",
            b"0\r\n\r\n",
        ]
    if path.startswith("/long"):
        return ok(b"x" * 3000)
    return PARTS[match[1]] if match else ok()


@pytest.fixture(scope="module")
def upstream():
    server = Upstream(play, pause=0.05)
    yield server
    server.close()


@pytest.fixture(scope="module")
def stock(tmp_path_factory, upstream):
    port = free_port()
    mode = f"reverse:http://127.0.0.1:{upstream.port}@127.0.0.1:{port}"
    home = tmp_path_factory.mktemp("stock")
    options = ["--mode", mode, "--set", "connection_strategy=lazy", "--set", "body_size_limit=2k", "--set", "request_client_cert=true"]
    with mitmdump(home, *options, script="facts.py", port=port) as running:
        yield running.wait_until_up()


def seen(stock: Gateway, path: str) -> list[str]:
    lines = stock.get("/seen")[1].decode().split("\r\n\r\n", 1)[1].splitlines()
    return [line.removesuffix(" " + path) for line in lines if line.endswith(" " + path)]


def test_fact_1_a_hook_that_raises_lets_the_request_through_and_skips_later_addons(stock: Gateway, upstream: Upstream):
    before = len(upstream.seen)
    assert stock.get("/raise", "X-Fact: raise")[0] == 200
    assert len(upstream.seen) == before + 1
    assert "second.request" not in seen(stock, "/raise")


def test_fact_4_trailers_of_an_answer_crash_the_connection(stock: Gateway):
    status, _ = stock.raw(b"GET /part/trailers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", seconds=1.5)
    assert status in (-1, 502)  # it hangs until the upstream closes
    assert "has crashed" in stock.output


def test_fact_4_an_interim_response_is_taken_for_the_final_one(stock: Gateway):
    status, answer = stock.raw(b"GET /part/interim-103 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", seconds=1.5)
    assert status == 103
    assert b"hello" not in answer


def test_fact_6_a_requested_client_certificate_is_not_verified(stock: Gateway, tmp_path: Path):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(str(made(tmp_path, "ceo@example.org")))
    with socket.create_connection(("127.0.0.1", stock.port)) as raw, context.wrap_socket(raw, server_hostname="x") as peer:
        peer.sendall(b"GET /certificate HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 200")


def test_fact_8_a_listener_answers_both_tls_and_cleartext(stock: Gateway):
    assert stock.get("/cleartext")[0] == 200


def test_fact_10_an_exception_in_a_stream_makes_a_hole_in_a_clean_answer(stock: Gateway):
    status, answer = stock.get("/chunks", "X-Fact: stream-raises")
    assert status == 200
    assert b"second" not in answer
    assert answer.endswith(b"0\r\n\r\n")


def test_fact_11_a_streamed_request_is_upstream_before_the_request_hook(stock: Gateway, upstream: Upstream):
    before = len(upstream.seen)
    assert stock.get("/streamed", "X-Fact: stream-request", method="POST", body=b"hello")[0] == 200
    assert len(upstream.seen) == before + 1


def test_fact_15_response_hooks_run_in_the_order_of_request_hooks(stock: Gateway):
    stock.get("/order")
    assert seen(stock, "/order") == ["requestheaders", "request", "second.request", "responseheaders", "response", "second.response"]


def test_fact_16_addon_halt_is_no_deny(stock: Gateway, upstream: Upstream):
    before = len(upstream.seen)
    assert stock.get("/halt", "X-Fact: halt")[0] == 200
    assert len(upstream.seen) == before + 1


@pytest.mark.parametrize("fault", ["options-error", "cancelled"])
def test_fact_16_these_exceptions_hang_the_flow(stock: Gateway, fault: str):
    assert stock.raw(f"GET /{fault} HTTP/1.1\r\nHost: a\r\nX-Fact: {fault}\r\n\r\n".encode(), seconds=1.0)[0] == -1


def test_fact_17_all_hooks_fire_for_an_answer_of_ours(stock: Gateway):
    assert stock.get("/early", "X-Fact: answer-early")[0] == 401
    assert seen(stock, "/early") == ["requestheaders", "request", "second.request", "responseheaders", "response", "second.response"]


def test_fact_18_a_refused_request_goes_on_uploading(stock: Gateway):
    with socket.create_connection(("127.0.0.1", stock.port), timeout=1.0) as peer:
        peer.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nX-Fact: answer-early\r\nContent-Length: 1000\r\n\r\nx")
        with pytest.raises(TimeoutError):
            peer.recv(1)
        peer.settimeout(5)
        peer.sendall(b"x" * 999)
        assert peer.recv(65536).startswith(b"HTTP/1.1 401")


def test_fact_19_each_of_many_streams_that_are_reset_runs_its_hooks(stock: Gateway):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", stock.port)) as raw, context.wrap_socket(raw, server_hostname="x") as peer:
        client = h2.connection.H2Connection()
        client.initiate_connection()
        for number in range(400):
            client.send_headers(2 * number + 1, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/reset")])
            client.reset_stream(2 * number + 1)
        peer.sendall(client.data_to_send())
        wait_for(lambda: len(seen(stock, "/reset")) >= 400)


def test_a_body_is_kept_while_a_hook_waits(stock: Gateway):
    sent = 0
    with socket.create_connection(("127.0.0.1", stock.port), timeout=2) as peer:
        peer.sendall(b"POST /kept HTTP/1.1\r\nHost: a\r\nX-Fact: identity-waits\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sent < (24 << 20):
            peer.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536


def test_a_head_that_stops_is_waited_for(stock: Gateway):
    assert stock.raw(b"GET / HTTP/1.1\r\nX-", seconds=3.0)[0] == -1


def test_fact_21_a_declared_length_is_judged_even_when_streamed(stock: Gateway):
    assert stock.get("/long", "X-Fact: stream")[0] == 502


def test_an_error_page_quotes_the_upstream(stock: Gateway):
    assert b"SECRET" in stock.get("/part/garbage")[1]


def test_a_kill_in_responseheaders_ends_the_connection_and_fires_error(stock: Gateway):
    """Was unverified in 4.1: the client gets an empty reply, no byte of the answer."""
    assert stock.get("/killed", "X-Fact: kill-in-headers") == (0, b"")
    assert seen(stock, "/killed")[-1] == "error"


def test_a_tls_start_client_hook_that_raises_does_not_stop_the_handshake(stock: Gateway):
    """Was unverified in 4.1: stock `tlsconfig` makes a context after us, so the guard cuts the connection instead."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", stock.port)) as raw, context.wrap_socket(raw, server_hostname="no-context.test") as peer:
        assert peer.version()


def test_fact_7_a_stop_drops_what_is_held_without_a_word(tmp_path: Path, upstream: Upstream):
    port = free_port()
    answers: list[tuple[int, bytes]] = []
    with mitmdump(
        tmp_path, "--mode", f"reverse:http://127.0.0.1:{upstream.port}@127.0.0.1:{port}", script="facts.py", port=port
    ) as running:
        running.wait_until_up()
        waiting = threading.Thread(target=lambda: answers.append(running.get("/held", "X-Fact: hold")))
        waiting.start()
        wait_for(lambda: "request" in seen(running, "/held"))
        running.process.send_signal(signal.SIGTERM)
        waiting.join(15)
    assert answers == [(0, b"")]


def test_fact_2_a_syntax_error_unloads_the_policy(tmp_path: Path, upstream: Upstream):
    script, port = tmp_path / "deny.py", free_port()
    script.write_text("from mitmproxy import http\ndef request(flow):\n    flow.response = http.Response.make(403)\n")
    with mitmdump(tmp_path, "--mode", f"reverse:http://127.0.0.1:{upstream.port}@127.0.0.1:{port}", script=script, port=port) as running:
        running.wait_until_up()
        wait_for(lambda: running.get("/")[0] == 403)
        time.sleep(1.1)
        script.write_text("this is no python\n")
        wait_for(lambda: running.get("/")[0] == 200)


def test_fact_3_a_mode_set_in_load_is_ignored_for_binding(tmp_path: Path):
    script, asked, bound = tmp_path / "mode.py", free_port(), free_port()
    script.write_text(
        f"from mitmproxy import ctx\ndef load(loader):\n    ctx.options.update(mode=['reverse:http://127.0.0.1:1@127.0.0.1:{asked}'])\n"
    )
    with mitmdump(tmp_path, "-p", str(bound), "--listen-host", "127.0.0.1", script=script, port=bound) as running:
        running.wait_until_up()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", asked)) != 0


def test_fact_12_a_mapping_runs_after_scripts(tmp_path: Path, upstream: Upstream):
    script, port = tmp_path / "approve.py", free_port()
    script.write_text("def request(flow):\n    assert flow.request.path == '/approved'\n")
    mode = f"reverse:http://127.0.0.1:{upstream.port}@127.0.0.1:{port}"
    with mitmdump(tmp_path, "--mode", mode, "--set", "map_remote=|approved|other", script=script, port=port) as running:
        running.wait_until_up()
        assert running.get("/approved")[0] == 200
    assert upstream.seen[-1].startswith(b"GET /other ")


def test_fact_23_a_key_log_variable_gets_the_keys(tmp_path: Path, upstream: Upstream):
    port, log = free_port(), tmp_path / "keys"
    mode = f"reverse:http://127.0.0.1:{upstream.port}@127.0.0.1:{port}"
    with mitmdump(tmp_path, "--mode", mode, script="facts.py", port=port, env={"SSLKEYLOGFILE": str(log)}) as running:
        running.wait_until_up()
        subprocess.run(["curl", "-sk", "--max-time", "5", f"https://127.0.0.1:{port}/"], check=False, capture_output=True)
        assert "SECRET" in log.read_text()
    assert (tmp_path / ".mitmproxy").exists()  # and the default confdir got a certificate authority
