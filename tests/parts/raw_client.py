"""Clients that send exactly what they are told: bytes over HTTP/1.1, frames over HTTP/2."""

import contextlib
import socket
import ssl
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions


@dataclass
class Answer:
    """What came back. `status` 0: the connection ended or stayed silent without an answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def http1(port: int, raw: bytes, timeout: float = 5) -> Answer:
    """Send bytes and read one final answer with its declared body; an answer to HEAD has none."""
    bodyless = raw.startswith(b"HEAD ")
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as peer:
        peer.sendall(raw)
        data = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while not _complete(data, bodyless):
                piece = peer.recv(65536)
                if not piece:
                    break
                data = _final(data + piece)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not lines[0].startswith(b"HTTP/"):
        return Answer(body=data)
    pairs = (line.partition(b": ") for line in lines[1:])
    return Answer(
        int(lines[0].split(b" ")[1]),
        {name.decode("utf-8", "backslashreplace").lower(): value.decode("utf-8", "backslashreplace") for name, _, value in pairs},
        body,
    )


def _final(data: bytes) -> bytes:
    """Leave out an interim answer (100 Continue) once it is whole."""
    return data.partition(b"\r\n\r\n")[2] if data.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in data else data


def _complete(data: bytes, bodyless: bool) -> bool:
    head, mark, body = data.partition(b"\r\n\r\n")
    if mark and bodyless:
        return True
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length: "):
            return bool(mark) and len(body) >= int(line.split(b": ")[1])
    return False


def http2(
    port: int, headers: list[tuple[bytes, bytes]], body: bytes = b"", trailers: list[tuple[bytes, bytes]] | None = None, timeout: float = 5,
    source: str = "127.0.0.1",
) -> Answer:  # fmt: skip
    """Send one stream whose header list is not checked or normalised on our side."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    config = h2.config.H2Configuration(
        header_encoding="latin-1",
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        validate_inbound_headers=False,
    )
    answer = Answer()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0)) as plain,
        context.wrap_socket(plain) as peer,
    ):
        assert peer.selected_alpn_protocol() == "h2"
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        connection.send_headers(1, headers, end_stream=not body and not trailers)
        if body:
            connection.send_data(1, body, end_stream=not trailers)
        if trailers:
            connection.send_headers(1, trailers, end_stream=True)
        with contextlib.suppress(TimeoutError, ConnectionError, h2.exceptions.ProtocolError, ssl.SSLError):
            peer.sendall(connection.data_to_send())
            while _read(connection, peer, answer):
                peer.sendall(connection.data_to_send())
    return answer


def _read(connection: h2.connection.H2Connection, peer: ssl.SSLSocket, answer: Answer) -> bool:
    data = peer.recv(65536)
    if not data:
        return False
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = {str(name): str(value) for name, value in event.headers}
            answer.status = int(answer.headers.pop(":status"))
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
            return False
    return True
