"""An upstream that answers as it is asked to: `/body?v=<coding>-<framing>-<cut>`, and broken answers.

Plain sockets, so that an answer can be cut between any two bytes, lie about its coding, or end early.
"""

import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable

import brotli
import zstandard

BODY = json.dumps(
    {
        "email": "ann@corp.example", "card": "4111 1111 1111 1111", "ssn": "219-09-9999", "iban": "DE89370400440532013000", "phone": "+1 212 555 0123",
        "token": "hunter2", "text": "key ghp_0123456789abcdefghijABCDEFGHIJ012345 end", "n": 1.50, "ok": True,
    }
).encode()  # fmt: skip
CLEAR = (b"ann@corp", b"4111 1111", b"219-09", b"DE8937", b"555 0123", b"hunter2", b"ghp_0123")
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
BROKEN: dict[str, tuple[str, bytes]] = {
    "syntax": ("Content-Type: application/json", BODY[:-1]),
    "charset": ("Content-Type: application/json", b'{"a": "\xff ann@corp.example"}'),
    "truncated": ("Content-Type: application/json\r\nContent-Encoding: gzip", gzip.compress(BODY)[:-9]),
    "coding": ("Content-Type: application/json\r\nContent-Encoding: bz2", BODY),
    "bomb": ("Content-Type: application/json\r\nContent-Encoding: br", brotli.compress(b" " * (20 << 20))),
    "media": ("Content-Type: image/png", b"\x89PNG ann@corp.example"),
    "range": ("Content-Type: application/json\r\nContent-Range: bytes 0-1/2", BODY),
    "depth": ("Content-Type: application/json", b"[" * 300 + b'"ann@corp.example"' + b"]" * 300),
    "size": ("Content-Type: application/x-www-form-urlencoded", b"a=ann@corp.example&" * 70_000),
}


class Upstream:
    """Listens on a port of its own until `close`; `seen` holds what came in."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            self.seen.append(data)
            head, body, cut = answer(data.split(b" ")[1].decode(), data.startswith(b"HEAD"))
            connection.sendall(head + body[:cut])
            if cut < len(body):
                time.sleep(0.002)
                connection.sendall(body[cut:])


def answer(path: str, is_head: bool) -> tuple[bytes, bytes, int]:
    """The head, the body as framed, and where to cut it in two writes."""
    place, _, query = path.partition("?")
    parts = place.strip("/").split("/")
    if parts[0] == "broken":
        head, body = BROKEN[parts[1]]
        return f"HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode(), body, len(body)
    asked = query.removeprefix("v=").partition("&")[0].split("-")
    coding, framing, cut = asked if len(asked) == 3 else ("identity", "length", "0")
    body = CODINGS[coding](BODY)
    head = f'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\nETag: "original"\r\nX-User: ann@corp.example\r\nConnection: close\r\n'
    if framing == "chunked":
        half = len(body) // 2
        pieces = [body[:half], body[half:]]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        head += "Transfer-Encoding: chunked\r\n"
    else:
        head += f"Content-Length: {len(body)}\r\n"
    return (head + "\r\n").encode(), b"" if is_head else body, int(cut)
