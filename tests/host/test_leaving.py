"""A client that leaves, or resets its stream, while its request waits: nothing is sent for it (acceptance 12)."""

import socket
import ssl
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from tests.parts.host_gateway import Gateway, Upstream, free_port, mitmdump, ok, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def upstream():
    server = Upstream(lambda request: ok())
    yield server
    server.close()


@pytest.fixture
def gateway(tmp_path: Path, upstream: Upstream):
    env = {"GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{upstream.port}", "GUARDHOUSE_TEST_TLS": f"127.0.0.1:{free_port()}"}
    with mitmdump(tmp_path, env=env) as running:
        yield running.wait_until_up()


def wait_until_waiting(gateway: Gateway) -> None:
    wait_for(lambda: any(event["kind"] == "intent" for event in gateway.events))


def release(gateway: Gateway) -> None:
    (gateway.home / "release").touch()


def the_end(gateway: Gateway) -> dict:
    ends = wait_for(lambda: [event for event in gateway.events if event["kind"] in ("complete", "error")])
    assert len(ends) == 1
    return ends[0]


def test_released_while_the_client_waits_it_is_sent(gateway: Gateway, upstream: Upstream):
    release(gateway)
    assert gateway.get("/released")[0] == 200
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("half", [False, True], ids=["closes", "half-closes"])
def test_nothing_is_sent_for_a_client_that_left(gateway: Gateway, upstream: Upstream, half: bool):
    with socket.create_connection(("127.0.0.1", gateway.port)) as peer:
        peer.sendall(b"GET /released HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n")
        wait_until_waiting(gateway)
        if half:
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)
        else:
            peer.close()
        release(gateway)
        assert the_end(gateway)["detail"] in ("the client left before its request was sent", None)
    assert upstream.seen == []


def test_nothing_is_sent_for_a_stream_that_was_reset(gateway: Gateway, upstream: Upstream):
    trusted = ssl.create_default_context(cafile=str(gateway.home / "state" / "certificates" / "ca.pem"))
    trusted.set_alpn_protocols(["h2"])
    address = ("127.0.0.1", int(gateway.env["GUARDHOUSE_TEST_TLS"].rpartition(":")[2]))
    with socket.create_connection(address) as raw, trusted.wrap_socket(raw, server_hostname="localhost") as peer:
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        head = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/released"),
            ("authorization", "Bearer good"),
        ]
        client.send_headers(1, head, end_stream=True)
        peer.sendall(client.data_to_send())
        wait_until_waiting(gateway)
        client.reset_stream(1)
        peer.sendall(client.data_to_send())
        client.ping(b"12345678")
        peer.sendall(client.data_to_send())
        while not any(isinstance(event, h2.events.PingAckReceived) for event in client.receive_data(peer.recv(65536))):
            pass  # the answer to the ping comes after the reset was read
        release(gateway)
        assert the_end(gateway)["detail"] in ("the client left before its request was sent", None)
    assert upstream.seen == []
