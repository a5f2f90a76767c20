"""A WebSocket upstream nobody here wrote (the `websockets` package), the gateway in front of it, and the rules for both."""

import base64
import contextlib
import hashlib
import json
import socket
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.parts.gateway import ROOT, START_SECONDS, Gateway
from tests.parts.processes import Program, wait_until

SUBPROTOCOLS = ("graphql-transport-ws", "rpc", "pictures", "unnamed")
SECRET = "ann@corp.example"
PERSONAL = {"customer": {"id": 7, "email": SECRET, "phone": "+49 30 901820"}}
SERVICE = """
  - name: chat
    kind: http
    url: http://127.0.0.1:%(port)d
    hosts: [chat.localhost]
    credential: {type: bearer, value: auto}
    websocket:
      subprotocols:
        "": {messages: opaque}
        graphql-transport-ws: {extractor: graphql}
        rpc: {extractor: jsonrpc}
        pictures: {messages: opaque}
    timeouts: {response: 3s, idle: 4h}
    outlive_token: 0s
  - {name: raw, kind: http, url: 'http://127.0.0.1:%(raw)d', hosts: [raw.localhost], credential: null, websocket: {subprotocols: {"": {messages: opaque}}}}
  - {name: plain, kind: http, url: 'http://127.0.0.1:%(port)d', hosts: [plain.localhost], credential: null}
"""
RULES = """
  - name: sockets-open
    match: {services: [chat, raw], methods: [GET], access: [connect, unknown]}
    effect: allow
    mask: [pii]
  - name: held-sockets
    match: {services: [chat], paths: ["/held"], access: [connect]}
    effect: hold
    approval: one-sre
  - name: plain-is-read
    match: {services: [plain, raw], methods: [GET], access: [read]}
    effect: allow
  - name: blind-is-not-named
    match: {services: [plain], methods: [GET]}
    effect: allow
  - name: queries
    match: {services: [chat], protocols: [graphql], verbs: [query, subscription], resources: ["customer*", "tick"]}
    effect: allow
  - name: deletions-are-held
    match: {services: [chat], protocols: [graphql], access: [delete]}
    effect: hold
    approval: one-sre
  - name: calls
    match: {services: [chat], protocols: [jsonrpc], verbs: ["users/get"]}
    effect: allow
  - name: no-reset
    match: {services: [chat], protocols: [jsonrpc], verbs: ["admin/reset"]}
    effect: deny
    reason: "Nobody resets from here."
"""


@dataclass
class Upstream:
    """Echoes; a path or a message may ask for more. Keeps what it heard."""

    heard: list[str | bytes] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)
    closes: list[tuple[int | None, str | None]] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = serve(
            self.talk, "127.0.0.1", 0, subprotocols=SUBPROTOCOLS[:3], compression=None, max_size=None, ping_interval=None, select_subprotocol=self.select
        )  # fmt: skip
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def select(self, _: ServerConnection, offered: Any) -> Any:
        return offered[0] if offered else None

    def talk(self, peer: ServerConnection) -> None:
        assert peer.request is not None
        self.credentials.append(peer.request.headers.get("Authorization"))
        path = peer.request.path
        try:
            if path == "/personal":
                peer.send(json.dumps(PERSONAL))
            if path == "/credential":
                peer.send(f"you are {peer.request.headers.get('Authorization')}")
            if path == "/binary":
                peer.send(SECRET.encode())
            if path == "/ping":
                peer.ping(b"SECRET " + SECRET.encode()).wait(5)
                peer.send("answered")
            if path == "/close":
                peer.close(4001, f"ask {SECRET}")
                return
            if path == "/flood":
                for number in range(int(str(peer.recv()))):
                    peer.send(json.dumps({"n": number, "email": SECRET}))
            for message in peer:
                self.heard.append(message)
                peer.send(message)
        except ConnectionClosed:
            pass
        finally:
            self.closes.append(
                (peer.protocol.close_rcvd.code, peer.protocol.close_rcvd.reason) if peer.protocol.close_rcvd else (None, None)
            )

    def close(self) -> None:
        self.server.shutdown()


@dataclass
class RawUpstream:
    """Answers a handshake with a 101 of its own making, by the path; then says SECRET."""

    def __post_init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := peer.recv(65536)):
                    return
                head += piece
            key = next(
                (line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")), b""
            )
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            parts = {
                b"raw": [b"Upgrade: raw", b"Connection: upgrade"],
                b"wrong-accept": [b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Accept: " + base64.b64encode(b"x" * 20)],
                b"deflate": [b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Accept: " + accept, b"Sec-WebSocket-Extensions: permessage-deflate"],
                b"other-subprotocol": [b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Accept: " + accept, b"Sec-WebSocket-Protocol: other"],
                b"good": [b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Accept: " + accept],
            }  # fmt: skip
            lines = parts[head.split(b" ", 2)[1].split(b"/")[-1]]
            peer.sendall(b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines]) + b"\r\n\r\n" + b"\x81\x06SECRET")
            peer.settimeout(5)
            with contextlib.suppress(OSError):
                peer.recv(65536)

    def close(self) -> None:
        self.server.close()


class WebSocketGateway(Gateway):
    """The shipped example with the services above, whose hooks fail when `X-Fault` says so."""

    script = ROOT / "tests" / "parts" / "host_scripts" / "faulty_stack.py"

    def start(self, wait: bool = True) -> "WebSocketGateway":
        mitmdump = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
        command = [*mitmdump, "-s", str(self.script), *self.arguments]
        self.program = Program(command, self.home / "gateway.log", {**self.env, "PYTHONPATH": str(ROOT)}, cwd=self.home)
        self.program.wait_for_port(self.ports[8442], START_SECONDS)
        wait_until(lambda: self.request("GET", self.control + "/readyz").status == 200, START_SECONDS, f"ready\n{self.output}")
        return self

    def uri(self, path: str) -> str:
        return self.cleartext.replace("http://", "ws://") + path


def edit(upstream: Upstream, raw: RawUpstream) -> Any:
    """The edit that puts the services and rules into the shipped files."""

    def edited(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm, echo]", "services: [crm, echo, chat, raw, plain]").replace(
                "services: [crm]", "services: [crm, chat, raw, plain]"
            )
            return text.replace("\naudit:\n", SERVICE % {"port": upstream.port, "raw": raw.port} + "\naudit:\n")
        if name == "rules.yaml":
            return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1)
        if name == "masking.yaml":
            return text.replace(
                "  echo: {always: [secrets]}", "  echo: {always: [secrets]}\n  chat: {always: [secrets, pii], pass_media: [pictures]}"
            )
        return text

    return edited
