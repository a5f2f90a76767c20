"""An upstream that keeps every byte it gets, and answers each request that h11 can read."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field

import h11


@dataclass
class Seen:
    """One request as an independent parser read it."""

    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class CapturingUpstream:
    """Listens on a free port of 127.0.0.1 until closed."""

    raw: list[bytes] = field(default_factory=list)  # every byte, in the order of arrival
    seen: list[Seen] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # what h11 refused to read

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def forget(self) -> None:
        self.raw.clear()
        self.seen.clear()
        self.broken.clear()

    def close(self) -> None:
        self.socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.settimeout(20)
            connection = h11.Connection(h11.SERVER)
            try:
                while self._one(peer, connection):
                    connection.start_next_cycle()
            except h11.RemoteProtocolError as error:
                self.broken.append(str(error))

    def _one(self, peer: socket.socket, connection: h11.Connection) -> bool:
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = peer.recv(65536)
                if data:
                    self.raw.append(data)
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                self.seen.append(Seen(request.method, request.target, request.http_version, list(request.headers), body))
                peer.sendall(connection.send(h11.Response(status_code=200, headers=[("Content-Length", "2")])) or b"")
                if request.method != b"HEAD":
                    peer.sendall(connection.send(h11.Data(b"ok")) or b"")
                peer.sendall(connection.send(h11.EndOfMessage()) or b"")
                return connection.our_state is h11.DONE and connection.their_state is h11.DONE
            else:
                return False
