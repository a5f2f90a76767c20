"""Acceptance row 7 on a real gateway: denied at each step, a client that leaves at each stage, an upstream that fails at each.

Whatever happens, the log has exactly one terminal event of the right stage, and it verifies.
"""

import contextlib
import socket
import ssl
import threading
import time

import pytest
from h2.connection import H2Connection

from addons.core.audit.reader import Reader
from addons.core.audit.search import search
from tests.parts.gateway import Gateway
from tests.parts.processes import free_ports, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
RULES = """
  - name: faulty-is-used
    match: {services: [faulty], methods: [GET, POST], principals: {kinds: [human, agent]}}
    effect: allow
"""


class Faulty:
    """An upstream that fails in the way that the path names. It answers no more than it must."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            path = head.split()[1].decode()
            self.asked.append(path)
            if path == "/garbage":
                client.sendall(b"\x00\x01 this is no HTTP\r\n\r\n")
            elif path == "/cut":
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf")
            elif path.startswith("/slow"):
                time.sleep(8)
            elif path == "/good":
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngood")
            # anything else: the connection is closed without a word


@pytest.fixture(scope="module")
def faulty():
    (port,) = free_ports(1)
    return Faulty(port), port


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, faulty):
    _, port = faulty
    (closed,) = free_ports(1)

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            told = "{connect: 2s, response: 3s, idle: 1h}"
            more = f"  - {{name: faulty, kind: http, url: 'http://127.0.0.1:{port}', hosts: [faulty.localhost], credential: null, timeouts: {told}}}\n"
            more += f"  - {{name: closed, kind: http, url: 'http://127.0.0.1:{closed}', hosts: [closed.localhost], credential: null}}\n"
            text = text.replace("services: [crm, echo]", "services: [crm, echo, faulty, closed]")
            text = text.replace("services: [crm]", "services: [crm, echo, faulty, closed]")
            return text.replace("\naudit:\n", f"\n{more}\naudit:\n")
        if name == "rules.yaml":
            return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n").replace("[faulty]", "[faulty, closed]"), 1)
        return text

    running = Gateway(tmp_path_factory.mktemp("endings"), edit=edit).start()
    yield running
    assert running.stop() == 0, running.output[-3000:]
    done = running.cli("verify", "--json")
    assert done.status == 0, done.text


@pytest.fixture(scope="module")
def token(gateway):
    return gateway.token("planner")


def stages(gateway, path):
    """The stages of the flows that asked for this path, one list for each flow."""
    with Reader.open(gateway.store) as reader:
        flows = {hit.flow for hit in search(reader, f"path:{path} kind:http", 100) if hit.flow}
        return [[hit.stage for hit in reversed(search(reader, f"flow:{flow} kind:http", 100))] for flow in flows]


def ended(gateway, path):
    """Wait until the one flow of this path has ended."""
    wait_until(
        lambda: any(one[-1] != "RequestReceived" for one in stages(gateway, path)), 15, f"the end of {path}\n{gateway.output[-2000:]}"
    )
    return stages(gateway, path)[0]


def head(path, host, token, method="GET", more=""):
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nX-Purpose: demo/tour\r\n{more}\r\n".encode()


def connect(gateway):
    return socket.create_connection(("127.0.0.1", gateway.ports[8442]), timeout=20)


@pytest.mark.parametrize(
    ("path", "host", "status", "stage"),
    [
        ("/good", "faulty.localhost", 200, "ResponseComplete"),
        ("/garbage", "faulty.localhost", 502, "Failed"),
        ("/cut", "faulty.localhost", 502, "Failed"),
        ("/closes", "faulty.localhost", 502, "Failed"),
        ("/slow", "faulty.localhost", 504, "Failed"),
        ("/nobody-there", "closed.localhost", 502, "Failed"),
    ],
)
def test_an_upstream_that_fails(gateway, token, path, host, status, stage):
    answer = gateway.request("GET", gateway.cleartext + path, token, headers={"Host": host, "X-Purpose": "demo/tour"})
    assert answer.status in ((502, 504) if path == "/slow" else (status,))  # 504 once the host keeps `timeouts.response`
    assert ended(gateway, path) == ["RequestReceived", stage]


def test_the_bytes_of_an_answer_are_proven_or_refuted_while_the_gateway_runs(gateway, token, tmp_path):
    answer = gateway.request("GET", gateway.cleartext + "/good", token, headers={"Host": "faulty.localhost", "X-Purpose": "demo/tour"})
    claimed = tmp_path / "claimed"
    for data, code in ((answer.body, 0), (answer.body + b"!", 1)):
        claimed.write_bytes(data)
        done = gateway.cli("verify", "--against-bytes", str(claimed))
        assert done.status == code, done.text


@pytest.mark.parametrize(
    ("path", "headers", "with_token", "status"),
    [
        pytest.param("/no-credential", {"Host": "faulty.localhost", "X-Purpose": "demo/tour"}, False, 401, id="identity"),
        pytest.param("/no-purpose", {"Host": "faulty.localhost"}, True, 403, id="purpose"),
        pytest.param("/denied", {"Host": "faulty.localhost", "X-Purpose": "demo/tour", "method": "DELETE"}, True, 403, id="policy"),
        pytest.param("/two//readers", {"Host": "faulty.localhost", "X-Purpose": "demo/tour"}, True, 400, id="validation"),
    ],
)
def test_a_request_that_is_denied(gateway, token, path, headers, with_token, status):
    method = headers.pop("method", "GET")
    answer = gateway.request(method, gateway.cleartext + path, token if with_token else None, headers=headers)
    assert answer.status == status
    assert ended(gateway, path) == ["Denied"]


def test_a_client_that_leaves_in_its_body(gateway, token):
    with connect(gateway) as client:
        client.sendall(head("/leaves-in-body", "faulty.localhost", token, "POST", "Content-Length: 1000\r\n") + b"half")
        time.sleep(0.5)
    assert ended(gateway, "/leaves-in-body") == ["Interrupted"]


def test_a_client_that_leaves_while_the_upstream_works(gateway, token):
    with connect(gateway) as client:
        client.sendall(head("/slow/left", "faulty.localhost", token))
        time.sleep(1)
    assert ended(gateway, "/slow/left") == ["RequestReceived", "Interrupted"]


def test_a_client_that_leaves_while_it_is_held(gateway, token):
    with connect(gateway) as client:
        client.sendall(head("/customers/7", f"127.0.0.1:{gateway.ports[8442]}", token, "DELETE"))
        wait_until(lambda: ["RequestReceived"] in stages(gateway, "/customers/7"), 15, "the intent")
        time.sleep(0.5)
    assert ended(gateway, "/customers/7") == ["RequestReceived", "Interrupted"]


@pytest.mark.parametrize("path", ["/slow/reset", "/slow/goaway"])
def test_a_stream_that_is_reset_while_the_upstream_works(gateway, token, path):
    context = ssl.create_default_context(cafile=str(gateway.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", gateway.ports[8443]), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="faulty.localhost") as client,
    ):
        h2 = H2Connection()
        h2.initiate_connection()
        names = {":method": "GET", ":scheme": "https", ":authority": "faulty.localhost", ":path": path}
        h2.send_headers(1, [*names.items(), ("authorization", f"Bearer {token}"), ("x-purpose", "demo/tour")], end_stream=True)
        client.sendall(h2.data_to_send())
        wait_until(lambda: ["RequestReceived"] in stages(gateway, path), 15, "the intent")
        time.sleep(0.5)
        if path.endswith("reset"):
            h2.reset_stream(1)
        else:
            h2.close_connection()
        client.sendall(h2.data_to_send())
        if path.endswith("reset"):
            assert ended(gateway, path) == ["RequestReceived", "Interrupted"]
    assert ended(gateway, path) == ["RequestReceived", "Interrupted"]


def test_connections_that_never_become_a_request(gateway):
    for data in (b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\nHost: fau"):
        with connect(gateway) as client:
            client.sendall(data)
            time.sleep(0.2)

    def rows():
        with Reader.open(gateway.store) as reader:
            return search(reader, "kind:connection", 100)

    wait_until(lambda: len(rows()) >= 4, 15, f"four connection rows\n{gateway.output[-2000:]}")
