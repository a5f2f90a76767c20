"""An upstream that fails in the way that the path names: a raw server, so that it can say what no library would."""

import contextlib
import json
import socket
import struct
import threading
import time

MARK = b"upstream-bytes-7c1d"  # stands in everything that is broken: nobody may ever read it
LONG = (MARK + b"\n" + b"fifteen letters\n" * 187_500)[:3_000_000]
PAUSE = 0.1
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
_TEXT = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

# What it sends, piece by piece; then the connection is closed. A path that is not here gets GOOD.
ANSWERS: dict[str, list[bytes]] = {
    "closes": [],
    "garbage": [b"\x00\x01" + MARK + b"\r\n\r\n"],
    "status-line": [b"HTTP/1.1 abc " + MARK + b"\r\nContent-Length: 2\r\n\r\nok"],
    "version": [b"HTTP/9.7 200 OK\r\nContent-Length: 19\r\n\r\n" + MARK],
    "header": [_TEXT + b"X Bad " + MARK + b": x\r\nContent-Length: 2\r\n\r\nok"],
    "half-head": [_TEXT + b"X-Half: " + MARK],
    "both-lengths": [_TEXT + b"Content-Length: 19\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n" + MARK + b"\r\n0\r\n\r\n"],
    "two-lengths": [_TEXT + b"Content-Length: 19\r\nContent-Length: 18\r\n\r\n" + MARK],
    "odd-length": [_TEXT + b"Content-Length: +19\r\n\r\n" + MARK],
    "too-short": [_TEXT + b"Content-Length: 100\r\n\r\n" + MARK],
    "too-long": [_TEXT + b"Content-Length: 5\r\n\r\nhello" + MARK],
    "bad-chunk": [_TEXT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + MARK + b"\r\n0\r\n\r\n"],
    "half-chunk": [_TEXT + b"Transfer-Encoding: chunked\r\n\r\n13\r\n" + MARK[:9]],
    "odd-coding": [_TEXT + b"Transfer-Encoding: gzip\r\n\r\n" + MARK],
    "oversize": [_TEXT + b"Content-Length: 3000000\r\n\r\n" + LONG],
    "oversize-chunked": [_TEXT + b"Transfer-Encoding: chunked\r\n\r\n2dc6c0\r\n" + LONG, b"\r\n0\r\n\r\n"],
    "trailers": [_TEXT + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: " + MARK + b"\r\n\r\n"],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n", GOOD],
    "hints": [b"HTTP/1.1 103 Early Hints\r\nLink: </" + MARK + b">\r\n\r\n" + GOOD],
    "interim-16": [b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 16 + [GOOD],
    "interim-17": [b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 17 + [GOOD + MARK],
    "switches": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + MARK],
    "bad-gzip": [_TEXT + b"Content-Encoding: gzip\r\nContent-Length: 19\r\n\r\n" + MARK],
    "bad-charset": [
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 23\r\n\r\n"\xff\xfe' + MARK + b'"'
    ],
    "bad-json": [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{" + MARK],
}
RESETS = {
    "reset": [],  # the connection is reset instead of closed
    "reset-in-head": [_TEXT + b"X-Half: " + MARK],
    "reset-in-body": [_TEXT + b"Content-Length: 100\r\n\r\n" + MARK],
}


class BadUpstream:
    """Listens on a free port of 127.0.0.1 until closed. `seen` holds (method, path) of what arrived, `bodies` what came in."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.canned: dict[str, list[bytes]] = {}  # further answers, by the last segment of the path
        self.left = threading.Event()  # closed: everything that is silent ends
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.left.set()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.settimeout(20)
            data = b""
            while b"\r\n\r\n" not in data:
                piece = peer.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            while len(body) < length_of(head):
                body += peer.recv(65536)
            method, target = head.split(b" ", 2)[:2]
            kind = target.decode().partition("?")[0].rpartition("/")[2]
            self.seen.append((method.decode(), target.decode()))
            self.bodies.append(body)
            self._answer(peer, kind, head, body)

    def _answer(self, peer: socket.socket, kind: str, head: bytes, body: bytes) -> None:
        if kind == "silent":
            self.left.wait(20)
            return
        if kind == "echo":
            answer = json.dumps({"head": head.decode("latin-1"), "body": body.decode("latin-1")}).encode()
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            return
        for piece in self.canned.get(kind) or RESETS.get(kind, ANSWERS.get(kind, [GOOD])):
            peer.sendall(piece)
            time.sleep(0.005 if kind in self.canned or kind == "interim-17" else PAUSE)
        if kind in RESETS:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def length_of(head: bytes) -> int:
    """The declared length of a request's body, 0 when it declares none."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
