"""An upstream that streams as it is asked to: byte by byte, with the time in each event, broken in the middle, or without end."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator

VALUES = ("ann@corp.example", "4111 1111 1111 1111", "219-09-9999")
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7\n" * 38 + "-----END RSA PRIVATE KEY-----\n"
EVENTS = b"".join(b'id: %d\ndata: {"value": "%s"}\n\n' % (number, value.encode()) for number, value in enumerate(VALUES))
LINES = b"".join(b'{"value": "%s"}\n' % value.encode() for value in VALUES)
LOG = ("hello\nmail " + "\n".join(VALUES) + "\n" + PEM + "bye\n").encode()
FILLER = b"nothing to see in this line of a log but some words\n"


def big_json(size: int) -> bytes:
    """A document larger than this, with a value in its last leaf."""
    row = json.dumps({"id": 7, "city": "Berlin", "text": "plain words and no value"})
    rows = ",".join([row] * (size // len(row) + 1))
    return ('{"count": 1, "rows": [' + rows + '], "last": "ann@corp.example"}').encode()


BODIES: dict[str, tuple[str, bytes]] = {
    "events": ("text/event-stream", EVENTS),
    "lines": ("application/x-ndjson", LINES),
    "log": ("text/plain; charset=utf-8", LOG),
    "gzip": ("application/x-ndjson\r\nContent-Encoding: gzip", gzip.compress(LINES)),
    "charset": ("text/plain", b"good line\n" + b"\xff\xfe ann@corp.example\n" + b"more\n"),
    "syntax": ("application/x-ndjson", b'{"a": 1}\n{"a": ann@corp.example}\n{"a": 2}\n'),
    "truncated": ("application/x-ndjson\r\nContent-Encoding: gzip", gzip.compress(LINES)[:-9]),
    "json": ("application/json", big_json(3 << 20)),
    "word": ("text/plain", b"a" * 100_000),
}


class StreamUpstream:
    """Listens until `close`. `/<body>/<way>`: ways are whole, bytes, length, close (cut in the middle)."""

    def __init__(self) -> None:
        self.gone: list[str] = []  # paths whose reader left
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
            path = data.split(b" ")[1].decode()
            try:
                for out in answer(path):
                    connection.sendall(out)
            except OSError:
                self.gone.append(path)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def head(content_type: str, framing: str = "Transfer-Encoding: chunked") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}\r\nConnection: close\r\n\r\n".encode()


def answer(path: str) -> Iterator[bytes]:
    """The pieces that are written for this path."""
    name, _, way = path.strip("/").partition("?")[0].partition("/")
    if name == "timed":
        yield from _timed(int(way))
    elif name == "endless":
        yield from _endless(float(way))
    elif name == "download":
        yield from _download(int(way) << 20)
    else:
        yield from _body(*BODIES[name], way)


def _body(content_type: str, body: bytes, way: str) -> Iterator[bytes]:
    if way == "length":
        yield head(content_type, f"Content-Length: {len(body)}") + body
        return
    yield head(content_type)
    if way == "bytes":
        for at in range(len(body)):
            yield chunk(body[at : at + 1])
            time.sleep(0.0002)
    elif way == "close":
        yield chunk(body[: len(body) // 2])
        return
    else:
        yield chunk(body)
    yield b"0\r\n\r\n"


def _timed(count: int) -> Iterator[bytes]:
    """Events with the moment at which their last byte is written."""
    yield head("text/event-stream")
    for _ in range(count):
        yield chunk(b'data: {"email": "ann@corp.example", "sent": %.6f}\n' % time.time())
        yield chunk(b"\n")
        time.sleep(0.1)
    yield b"0\r\n\r\n"


def _endless(pause: float) -> Iterator[bytes]:
    yield head("text/event-stream")
    while True:
        yield chunk(b"data: mail ann@corp.example\n\n")
        time.sleep(pause)


def _download(size: int) -> Iterator[bytes]:
    block = FILLER * 200 + b"mail ann@corp.example\n"
    yield head("text/plain")
    for _ in range(size // len(block)):
        yield chunk(block)
    yield b"0\r\n\r\n"
