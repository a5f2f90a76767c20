"""An upstream that answers exactly the bytes it is told, whatever they are, and keeps every request as it came."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Script = bytes | Callable[["Asked"], bytes]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its raw head and body."""

    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    def values(self, name: str) -> list[str]:
        """Every value of one header."""
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip().decode("latin-1") for key, _, value in pairs if key.lower() == name.lower().encode()]


def answer(body: bytes, *fields: str, status: str = "200 OK", length: bool = True) -> bytes:
    """An ordinary answer with these header lines."""
    lines = [f"HTTP/1.1 {status}", *fields, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class HostileUpstream:
    """Listens on a free port of 127.0.0.1 until closed. `scripts` maps the first segment of the path to an answer."""

    scripts: dict[str, Script] = field(default_factory=dict)
    seen: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.socket.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.settimeout(20)
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    piece = peer.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, rest = data.partition(b"\r\n\r\n")
                asked = Asked(head, b"")
                length = int((asked.values("content-length") or ["0"])[0])
                while len(rest) < length:
                    rest += peer.recv(65536)
                data = rest[length:]
                asked = Asked(head, rest[:length])
                self.seen.append(asked)
                script = self.scripts.get(asked.target.split("?")[0].strip("/").split("/")[0], answer(b"ok", "Content-Type: text/plain"))
                said = script(asked) if callable(script) else script
                peer.sendall(said)
                if b"\r\nconnection: close" in said.lower():
                    return
