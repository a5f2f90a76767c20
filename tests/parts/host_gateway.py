"""Start a real mitmdump with a script of the tests, and speak to it with plain sockets."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "parts" / "host_scripts"
MITMDUMP = Path(sys.executable).parent / "mitmdump"


def free_port() -> int:
    """A port that nobody has, this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Upstream:
    """A server on loopback that answers each connection by a function of the raw request; it keeps what it got."""

    answer: Callable[[bytes], bytes | list[bytes]]
    port: int = 0
    host: str = "127.0.0.1"
    seen: list[bytes] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    pause: float = 0.0  # seconds after each piece of an answer

    def __post_init__(self) -> None:
        self.server = socket.create_server((self.host, self.port), backlog=512)
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
        try:
            with self.tls.wrap_socket(peer, server_side=True) if self.tls else peer as peer:
                peer.settimeout(10)
                data = b""
                while b"\r\n\r\n" not in data:
                    if not (piece := peer.recv(65536)):
                        return
                    data += piece
                head, _, body = data.partition(b"\r\n\r\n")
                if match := re.search(rb"(?i)content-length: *(\d+)", head):
                    while len(body) < int(match[1]):
                        body += peer.recv(65536)
                self.seen.append(head + b"\r\n\r\n" + body)
                answer = self.answer(head + b"\r\n\r\n" + body)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    if piece == b"wait":
                        time.sleep(4.0)
                        return
                    peer.sendall(piece)
                    time.sleep(self.pause)
        except OSError:
            pass

    def close(self) -> None:
        self.server.close()


def ok(body: bytes = b"hello", *headers: bytes) -> bytes:
    """A plain 200."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), b"Content-Type: text/plain", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class Gateway:
    """A running mitmdump."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path
    env: dict[str, str]

    @property
    def output(self) -> str:
        return (self.home / "output").read_text("utf-8", "replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        path = self.home / "events"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_until_up(self, seconds: float = 30.0) -> "Gateway":
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"exited {self.process.returncode}:\n{self.output}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise AssertionError("did not come up:\n" + self.output)

    def wait_until_gone(self, seconds: float = 30.0) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def get(self, path: str = "/", *headers: str, method: str = "GET", body: bytes = b"", port: int = 0) -> tuple[int, bytes]:
        """Send one request with the good token and return status and whole answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: crm.test", "Authorization: Bearer good", "Connection: close", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body, port=port)

    def raw(self, data: bytes, port: int = 0, seconds: float = 10.0) -> tuple[int, bytes]:
        """Send bytes and read until the connection ends. Status 0: nothing came; -1: it hung."""
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=seconds) as peer:
            peer.sendall(data)
            answer = b""
            try:
                while piece := peer.recv(65536):
                    answer += piece
            except TimeoutError:
                return -1, answer
            except OSError:
                pass
        match = re.match(rb"HTTP/1\.1 (\d+)", answer)
        return int(match[1]) if match else 0, answer


@contextmanager
def mitmdump(home: Path, *arguments: str, script: str | Path | None = "mini_stack.py", env: dict[str, str] | None = None, port: int = 0, stop: bool = True) -> Iterator[Gateway]:  # fmt: skip
    """Run mitmdump with a script (a name in tests/parts/host_scripts, or a path) in a home of its own."""
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    environ = {
        **{name: value for name, value in os.environ.items() if name not in ("SSLKEYLOGFILE", "PYTEST_CURRENT_TEST")},
        "HOME": str(home), "XDG_STATE_HOME": str(home / "xdg"), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
        "GUARDHOUSE_TEST_HOME": str(home), "GUARDHOUSE_TEST_EVENTS": str(home / "events"), "GUARDHOUSE_TEST_LISTEN": f"127.0.0.1:{port}",
        "GUARDHOUSE_TEST_CONTROL": f"127.0.0.1:{free_port()}",
        **(env or {}),
    }  # fmt: skip
    scripts = ["-s", str(SCRIPTS / script)] if script else []
    with (home / "output").open("wb") as output:
        process = subprocess.Popen([str(MITMDUMP), *scripts, *arguments], cwd=home, env=environ, stdout=output, stderr=subprocess.STDOUT)
    running = Gateway(process, port, home, environ)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate() if stop else process.kill()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")
