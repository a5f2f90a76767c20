"""One request over HTTP/2 for `guardhouse doctor --canary`: headers, body, and everything that comes back, as text to search."""

import contextlib
import ssl

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from addons.cli.canary_requests import Planted

NOT_IN_HTTP2 = frozenset({"host", "connection"})


def ask(peer: ssl.SSLSocket, host: str, request: Planted, more: dict[str, str]) -> tuple[list[tuple[str, str]], bytes]:
    """Send it and return the answer's headers (`:status` among them; none without an answer), trailers and body."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
    connection.initiate_connection()
    fields = {":method": request.method, ":scheme": "https", ":authority": host, ":path": request.target}
    fields |= {name.lower(): value for name, value in {**more, **request.headers}.items() if name.lower() not in NOT_IN_HTTP2}
    connection.send_headers(1, list(fields.items()), end_stream=not request.body)
    if request.body:
        connection.send_data(1, request.body, end_stream=True)
    headers: list[tuple[str, str]] = []
    body: list[bytes] = []
    with contextlib.suppress(OSError, h2.exceptions.ProtocolError, UnicodeDecodeError):
        peer.sendall(connection.data_to_send())
        while (data := peer.recv(65536)) and not _is_over(connection, data, headers, body):
            peer.sendall(connection.data_to_send())
    return headers, b"".join(body)


def _is_over(connection: h2.connection.H2Connection, data: bytes, headers: list[tuple[str, str]], body: list[bytes]) -> bool:
    """Take in what came; True when the stream has ended."""
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            headers.extend((_text(name), _text(value)) for name, value in event.headers or ())
        elif isinstance(event, h2.events.DataReceived):
            body.append(event.data or b"")
            connection.acknowledge_received_data(event.flow_controlled_length or 0, 1)
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
            return True
    return False


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
