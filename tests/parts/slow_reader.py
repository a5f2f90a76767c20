"""A client of HTTP/2 over TLS that reads what its first window lets through and opens no other."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h2.config
import h2.connection
import h2.events


@dataclass
class Got:
    """How much of the answer has come."""

    size: int = 0


@contextlib.contextmanager
def open(port: int, ca: Path, path: str, headers: Sequence[tuple[str, str]]) -> Iterator[Got]:
    """Ask, and read in a thread until the block ends."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    speaker = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    got = Got()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
        speaker.initiate_connection()
        pseudo = [(":method", "GET"), (":scheme", "https"), (":path", path)]
        speaker.send_headers(1, [*pseudo, *sorted(headers)], end_stream=True)
        client.sendall(speaker.data_to_send())
        reader = threading.Thread(target=_read, args=(client, speaker, got), daemon=True)
        reader.start()
        try:
            yield got
        finally:
            with contextlib.suppress(OSError):
                raw_shutdown(client)


def raw_shutdown(client: ssl.SSLSocket) -> None:
    """End both directions: a close alone waits for the thread that reads."""
    socket.socket.shutdown(client, socket.SHUT_RDWR)


def _read(client: ssl.SSLSocket, speaker: h2.connection.H2Connection, got: Got) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := client.recv(65536):
            for event in speaker.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    got.size += len(event.data)
            client.sendall(speaker.data_to_send())
