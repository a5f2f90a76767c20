"""A gRPC server by hand (HTTP/2 over TLS, trailers at the end), and a client that sees trailers: no generated code, only frames."""

import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events


def message(data: bytes) -> bytes:
    """A length-prefixed message."""
    return struct.pack(">BI", 0, len(data)) + data


class GrpcUpstream:
    """`/bank.Accounts/Get` answers with two messages and trailers; `Fail` with trailers alone."""

    def __init__(self, certificate: Path) -> None:
        self.calls: list[str] = []
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            with self._context.wrap_socket(raw, server_side=True) as connection:
                self._talk(connection)
        except OSError:
            return

    def _talk(self, connection: ssl.SSLSocket) -> None:
        speaker = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        speaker.initiate_connection()
        connection.sendall(speaker.data_to_send())
        paths: dict[int, str] = {}
        while data := connection.recv(65536):
            for event in speaker.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    paths[event.stream_id] = dict(event.headers)[":path"]
                elif isinstance(event, h2.events.DataReceived):
                    speaker.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self._answer(speaker, event.stream_id, paths[event.stream_id])
            connection.sendall(speaker.data_to_send())

    def _answer(self, speaker: h2.connection.H2Connection, stream: int, path: str) -> None:
        self.calls.append(path)
        head = [(":status", "200"), ("content-type", "application/grpc")]
        if path.endswith("Fail"):
            speaker.send_headers(stream, [*head, ("grpc-status", "5"), ("grpc-message", "no ann@corp.example here")], end_stream=True)
            return
        speaker.send_headers(stream, head)
        for text in (b"one", b"two"):
            speaker.send_data(stream, message(text))
        speaker.send_headers(stream, [("grpc-status", "0"), ("grpc-message", "sent to ann@corp.example")], end_stream=True)


@dataclass
class Reply:
    """What a client got of one call."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None


def call(port: int, ca: Path, path: str, headers: list[tuple[str, str]], body: bytes = b"", host: str = "") -> Reply:
    """One call over HTTP/2 and TLS."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    speaker = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
        speaker.initiate_connection()
        head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        speaker.send_headers(1, [*head, *headers])
        speaker.send_data(1, message(body), end_stream=True)
        client.sendall(speaker.data_to_send())
        return _read(client, speaker)


def _read(client: ssl.SSLSocket, speaker: h2.connection.H2Connection) -> Reply:
    reply = Reply()
    while data := client.recv(65536):
        for event in speaker.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                reply.headers = dict(event.headers)
            elif isinstance(event, h2.events.TrailersReceived):
                reply.trailers = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                reply.body += event.data
                speaker.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                reply.reset = event.error_code
                return reply
            elif isinstance(event, h2.events.StreamEnded):
                return reply
        client.sendall(speaker.data_to_send())
    return reply
