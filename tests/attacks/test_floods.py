"""A flood costs its sender more than us: refused uploads, resets, requests without identity; and a body that outlives its token or its rules.

Acceptance 20, 22 and 23 of design/mitmproxy.md, 21 of design/audit.md. Who has an identity is served and recorded in full meanwhile.
"""

import concurrent.futures
import contextlib
import json
import signal
import socket
import ssl
import time
from pathlib import Path

import h2.connection
import h2.events
import pytest

from addons.core.audit.reader import Reader
from tests.parts.gateway import Gateway
from tests.parts.hostile_upstream import HostileUpstream
from tests.parts.processes import wait_until
from tests.parts.raw_site import answer_of, ask, connect, flows, head, terminals

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HOST = "plain.localhost"
RULES = """
  - name: plain-is-used
    match: {services: [plain], methods: [GET, POST], principals: {kinds: [human, agent]}}
    effect: allow
    mask: [pii]
"""
MIB = 1 << 20


@pytest.fixture(scope="module")
def upstream():
    server = HostileUpstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, upstream):
    service = f"  - {{name: plain, kind: http, url: 'http://127.0.0.1:{upstream.port}', hosts: [{HOST}], credential: null}}\n"

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm, echo]", "services: [crm, echo, plain]").replace(
                "services: [crm]", "services: [crm, plain]"
            )
            return text.replace("\naudit:\n", f"\n{service}\naudit:\n").replace("leeway: 30s", "leeway: 0s")
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text

    running = Gateway(tmp_path_factory.mktemp("flooded"), edit).start()
    running.planner = running.token("planner")
    wait_until(lambda: ask(running, head("/warm", HOST, running.planner)).status == 200, 60, "masking")
    yield running
    running.stop()


def resident(site: Gateway) -> int:
    """Bytes of memory of the gateway's process."""
    return int(Path(f"/proc/{site.program.process.pid}/statm").read_text().split()[1]) * 4096


def upload(site: Gateway, number: int, more: str) -> tuple[bytes, float]:
    """Send 30 MiB without identity, for as long as somebody takes them; returns the answer and when it came."""
    began, body = time.monotonic(), b"x" * (256 << 10)
    with connect(site, f"127.0.3.{number + 1}") as peer:
        peer.sendall(head("/upload", HOST, method="POST", more=more))
        heard = answer_of(peer)
        seconds = time.monotonic() - began
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(120):
                peer.sendall(body)
    return heard, seconds


@pytest.mark.parametrize("more", ["Content-Length: 31457280\r\n", "Transfer-Encoding: chunked\r\n"], ids=["declared", "chunked"])
def test_ten_uploads_without_identity_are_answered_at_once_and_not_kept(site, upstream, more):
    before = resident(site)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda number: upload(site, number, more), range(10)))
    assert resident(site) - before < 20 * MIB
    assert {heard[9:12] for heard, _ in answers} == {b"401"}
    assert max(seconds for _, seconds in answers) < 3
    assert all(asked.target != "/upload" for asked in upstream.seen)


def reset_rapidly(site: Gateway, token: str, source: str) -> tuple[int, h2.events.ConnectionTerminated | None]:
    """Open and reset 3,000 streams, or as many as one is let; returns how many, and the GOAWAY."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/reset"), ("x-purpose", "demo/tour")]
    fields += [("authorization", f"Bearer {token}")] if token else []
    client, sent, ended = h2.connection.H2Connection(), 0, None
    client.initiate_connection()
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", site.ports[8443]), timeout=5, source_address=(source, 0)) as plain,
        context.wrap_socket(plain) as peer,
    ):
        while sent < 3000 and ended is None:
            for _ in range(20):
                client.send_headers(2 * sent + 1, fields, end_stream=True)
                client.reset_stream(2 * sent + 1)
                sent += 1
            peer.sendall(client.data_to_send())
            peer.settimeout(0.01 if sent < 3000 else 5)
            with contextlib.suppress(TimeoutError):
                ended = next(
                    (event for event in client.receive_data(peer.recv(65536)) if isinstance(event, h2.events.ConnectionTerminated)), None
                )
    return sent, ended


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_rapid_resets_get_a_goaway_and_leave_few_events(site, upstream, known):
    before, others = count(site), []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: [ask(site, head("/beside", HOST, site.planner)).status for _ in range(5)])
        sent, ended = reset_rapidly(site, site.planner if known else "", "127.0.4.1" if known else "127.0.4.2")
        others = other.result(20)
    assert ended is not None and ended.error_code == 11  # ENHANCE_YOUR_CALM
    assert sent < 1000 and others == [200] * 5
    time.sleep(1)
    assert count(site) - before < (2 * 250 if known else 60)


def count(site: Gateway) -> int:
    """How many events there are."""
    with Reader.open(site.store) as reader:
        return sum(1 for _ in reader.events("seq > ?", (0,)))


def test_a_token_that_expires_during_a_slow_body_is_refused(site, upstream):
    token = site.token("planner", minutes="0.05")
    before = len(upstream.seen)
    with connect(site) as peer:
        peer.sendall(head("/slow/token", HOST, token, "POST", more="Content-Type: text/plain\r\nContent-Length: 4\r\n") + b"sl")
        time.sleep(4)
        peer.sendall(b"ow")
        assert answer_of(peer).startswith(b"HTTP/1.1 401 ")
    assert len(upstream.seen) == before


def test_the_newest_rules_decide_on_a_body_that_was_slow(site, upstream):
    rules = site.policies / "rules.yaml"
    good, before = rules.read_text(), len(upstream.seen)
    with connect(site) as peer:
        peer.sendall(head("/slow/rules", HOST, site.planner, "POST", more="Content-Type: text/plain\r\nContent-Length: 4\r\n") + b"sl")
        time.sleep(0.3)
        rules.write_text(good.replace("effect: allow\n    mask: [pii]\n", "effect: deny\n", 1))
        site.program.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded: sha-256:" in site.output, 10, "the reload")
        peer.sendall(b"ow")
        heard = answer_of(peer)
    rules.write_text(good)
    site.program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: site.output.count("reloaded: sha-256:") == 2, 10, "the reload back")
    assert heard.startswith(b"HTTP/1.1 403 "), heard
    assert len(upstream.seen) == before


def test_a_flood_without_identity_is_summed_up_and_who_has_one_is_recorded_in_full(site):
    """The last test of its module: it stops the gateway, which writes the summary of the minute."""
    flooding = 400
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        flood = pool.map(lambda number: ask(site, head(f"/flood/{number}", HOST), "127.0.5.1").status, range(flooding))
        served = [ask(site, head(f"/served/{number}", HOST, site.planner)) for number in range(20)]
        assert set(flood) == {401}
    assert [heard.status for heard in served] == [200] * 20
    assert all(len(flows(site, f"/served/{number}")) == 1 for number in range(20))
    assert site.stop() == 0, site.output[-3000:]
    with Reader.open(site.store) as reader:
        events = list(reader.events("seq > ?", (0,)))
    told = [json.loads(event.fields["note"]) for event in events if event.kind == "suppressed"]
    written = sum(1 for event in events if event.fields.get("path", b"").startswith(b"/flood/"))
    assert written <= 2 * 20  # the first 20 of each minute
    assert sum(note["count"] for note in told) >= flooding - written
    assert set(terminals(site).values()) == {1}
    assert site.cli("verify").status == 0
