"""TLS that fails, towards us or towards an upstream: one connection row or one terminal event, and nobody waits (acceptance 7 and 24)."""

import contextlib
import json
import os
import socket
import ssl
import time
from types import SimpleNamespace

import pytest

from addons.core.audit.reader import Reader
from addons.host import certificates
from tests.parts.gateway import ROOT, Gateway
from tests.parts.host_gateway import Upstream, ok
from tests.parts.processes import wait_until
from tests.parts.raw_site import HANG, ask, connect, head, only_flow, terminals

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SCRIPT = ROOT / "tests" / "parts" / "host_scripts" / "fault.py"
RULES = """
  - name: tls-is-used
    match: {services: [untrusted, cleartext, silent], methods: [GET], principals: {kinds: [human, agent]}}
    effect: allow
"""


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory):
    """One whose certificate nobody vouches for, one that speaks no TLS, and one that says nothing (the kernel accepts for it)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificates.ensure(tmp_path_factory.mktemp("foreign"), "x", ["127.0.0.1"]).pem_path))
    servers = {"untrusted": Upstream(lambda request: ok(), tls=context), "cleartext": Upstream(lambda request: ok())}
    silent = socket.create_server(("127.0.0.1", 0))
    yield {**servers, "silent": SimpleNamespace(port=silent.getsockname()[1], seen=[])}
    silent.close()
    for server in servers.values():
        server.close()


def started(home, upstreams) -> Gateway:
    services = "".join(
        f"  - {{name: {name}, kind: http, url: 'https://127.0.0.1:{server.port}', hosts: [{name}.localhost], credential: null, "
        "timeouts: {connect: 2s, response: 60s, idle: 4h}}\n"
        for name, server in upstreams.items()
    )

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm, echo]", "services: [crm, echo, untrusted, cleartext, silent]")
            text = text.replace("services: [crm]", "services: [crm, untrusted, cleartext, silent]")
            text = (
                text.replace("handshake: 10s", "handshake: 1s")
                .replace("headers_time: 10s", "headers_time: 1s")
                .replace("extra_scripts: []", f"extra_scripts: [{SCRIPT}]")
            )
            return text.replace("\naudit:\n", f"\n{services}\naudit:\n")
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text

    running = Gateway(home, edit, ("-s", str(SCRIPT)), {"PYTHONPATH": str(ROOT)}).start()
    running.planner = running.token("planner")
    return running


@pytest.fixture(scope="module")
def site(tmp_path_factory, upstreams):
    running = started(tmp_path_factory.mktemp("tls"), upstreams)
    yield running
    assert running.stop() == 0, running.output[-3000:]
    assert set(terminals(running).values()) == {1}
    assert running.cli("verify").status == 0


def connection_rows(site: Gateway) -> int:
    with Reader.open(site.store) as reader:
        return sum(event.kind == "connection" for event in reader.events("seq > ?", (0,)))


def handshake(peer: socket.socket, **options) -> None:
    """Try TLS with what is odd about this client."""
    context = ssl.create_default_context()
    if options.get("anything"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if options.get("alpn"):
        context.set_alpn_protocols([options["alpn"]])
    if options.get("ciphers"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(options["ciphers"])
    with contextlib.suppress(OSError), context.wrap_socket(peer, server_hostname="localhost") as wrapped:
        wrapped.sendall(options.get("then", b""))
        wrapped.recv(100)


ODD = {
    "leaves-at-once": lambda peer: peer.close(),
    "half-a-hello": lambda peer: peer.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "no-hello": lambda peer: peer.sendall(b"\x16\x03\x01\x00\x04junk"),
    "silence": lambda peer: peer.recv(100),
    "does-not-trust-us": handshake,
    "nothing-in-common": lambda peer: handshake(peer, anything=True, ciphers="ECDHE-RSA-AES128-GCM-SHA256"),
    "cleartext": lambda peer: (peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), peer.recv(100)),
    "only-a-handshake": lambda peer: handshake(peer, anything=True),
    "no-http2-preface": lambda peer: handshake(peer, anything=True, alpn="h2", then=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_client_whose_tls_fails_leaves_one_connection_row(site, name):
    before, began = connection_rows(site), time.monotonic()
    with socket.create_connection(
        ("127.0.0.1", site.ports[8443]), timeout=HANG, source_address=(f"127.0.6.{list(ODD).index(name) + 1}", 0)
    ) as peer:
        with contextlib.suppress(OSError):
            ODD[name](peer)
        if name in ("half-a-hello", "no-hello"):
            with contextlib.suppress(ConnectionError):
                peer.recv(100)
    assert time.monotonic() - began < HANG + 3
    wait_until(lambda: connection_rows(site) > before, 10, "a connection row")
    time.sleep(0.3)
    assert connection_rows(site) == before + 1


@pytest.mark.parametrize("service", ["untrusted", "cleartext", "silent"])
def test_an_upstream_whose_tls_fails_gets_nothing(site, upstreams, service):
    heard = ask(site, head(f"/{service}", f"{service}.localhost", site.planner))
    assert (heard.status, json.loads(heard.body)["code"]) == (502, "upstream-failed")
    assert heard.seconds < HANG / 2  # `timeouts.connect`, here 2 s, is for the handshake too
    assert [event.stage for event in only_flow(site, f"/{service}")] == ["RequestReceived", "Failed"]
    assert upstreams[service].seen == []


@pytest.mark.parametrize("then", [b"", b"5\r\nhello\r\n"], ids=["declared", "chunked"])
def test_a_client_that_leaves_in_its_body_leaves_one_terminal_event(site, then):
    path, framing = f"/left/{len(then)}", "Transfer-Encoding: chunked" if then else "Content-Length: 1000"
    with connect(site) as client:
        client.sendall(head(path, "crm.localhost", site.planner, "POST", more=framing + "\r\n") + (then or b"some"))
        time.sleep(0.3)
    assert [event.stage for event in only_flow(site, path)] == ["Interrupted"]


@pytest.mark.slow
def test_a_loop_that_stands_still_for_6_seconds_leaves_an_event_with_its_stack(site):
    assert ask(site, head("/blocked", "crm.localhost", site.planner, more="X-Fault: guardhouse-policy.request=Block6\r\n"), seconds=30).data
    wait_until(lambda: stalls(site), 10, "an event")
    assert "host_faults.py" in stalls(site)[0]
    assert ask(site, head("/customers", "crm.localhost", site.planner)).status == 200


def stalls(site: Gateway) -> list[str]:
    """The stacks of stalls that the log has."""
    with Reader.open(site.store) as reader:
        events = [event for event in reader.events("seq > ?", (0,)) if event.kind == "log"]
    return [event.fields["note"].decode() for event in events if event.core.get("verb") == "stall"]


@pytest.mark.slow
def test_a_loop_that_stands_still_for_40_seconds_ends_the_process_with_70(tmp_path, upstreams):
    running = started(tmp_path, upstreams)
    began = time.monotonic()
    ask(running, head("/blocked", "crm.localhost", running.planner, more="X-Fault: guardhouse-policy.request=Block40\r\n"), seconds=60)
    assert running.program.process.wait(60) == os.EX_SOFTWARE
    assert 29 < time.monotonic() - began < 39
    assert "has stood still" in running.output and "host_faults.py" in running.output
