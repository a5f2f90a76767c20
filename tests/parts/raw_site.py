"""A gateway in front of an upstream that fails, and a client that sends bytes and says how long it waited for which."""

import contextlib
import re
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from addons.core.audit.events import TERMINAL
from addons.core.audit.reader import Reader
from tests.parts.gateway import Gateway
from tests.parts.processes import wait_until

CHUNKED = b"transfer-encoding: chunked\r\n"
HANG = 10.0  # seconds; nobody waits longer for anything


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything that came back on one connection, until it ended or the answer was whole."""

    data: bytes
    seconds: float

    @property
    def status(self) -> int:
        found = re.match(rb"HTTP/1\.1 (\d+) ", self.data)
        return int(found[1]) if found else 0

    @property
    def content(self) -> bytes:
        """The body of an answer in chunks that are all one, else the body."""
        return b"".join(re.findall(rb"(?s)[0-9a-f]+\r\n(.*?)\r\n", self.body)) if CHUNKED in self.data.lower() else self.body

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]


def ask(site: Gateway, raw: bytes, source: str = "127.0.0.1", seconds: float = 2 * HANG) -> Heard:
    """Send bytes from this loopback address, and read until the answer is whole."""
    before = time.monotonic()
    with connect(site, source, seconds) as client, contextlib.suppress(ConnectionError, TimeoutError):
        client.sendall(raw)
        return Heard(answer_of(client), time.monotonic() - before)
    return Heard(b"", time.monotonic() - before)


def connect(site: Gateway, source: str = "127.0.0.1", seconds: float = 2 * HANG) -> socket.socket:
    """A connection to the cleartext listener. Before identity a peer's refusals are summarised after 20, so sources differ."""
    return socket.create_connection(("127.0.0.1", site.ports[8442]), timeout=seconds, source_address=(source, 0))


def answer_of(client: socket.socket) -> bytes:
    """Read one answer with its body; what there is when the connection ends or falls silent."""
    data = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while not is_whole(data):
            piece = client.recv(65536)
            if not piece:
                break
            data += piece
    return data


def is_whole(data: bytes) -> bool:
    head, mark, body = data.partition(b"\r\n\r\n")
    if CHUNKED in head.lower() + b"\r\n":
        return body.endswith(b"0\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(mark) and found is not None and len(body) >= int(found[1])


def head(path: str, host: str, token: str = "", method: str = "GET", purpose: str = "demo/tour", more: str = "") -> bytes:
    """A request's head; `more` is whole header lines."""
    said = f"Authorization: Bearer {token}\r\n" if token else ""
    why = f"X-Purpose: {purpose}\r\n" if purpose else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{said}{why}{more}\r\n".encode("latin-1")


def post(path: str, host: str, token: str, body: bytes, more: str = "Content-Type: application/json\r\n", method: str = "POST") -> bytes:
    """A whole request with a body."""
    return head(path, host, token, method, more=f"{more}Content-Length: {len(body)}\r\n") + body


def http_events(site: Gateway) -> list[Any]:
    """Every event of a flow, in order."""
    with Reader.open(site.store) as reader:
        return [event for event in reader.events("seq > ?", (0,)) if event.kind == "http"]


def flows(site: Gateway, path: str) -> list[list[Any]]:
    """The events of each flow whose stored path is this one."""
    events = http_events(site)
    wanted = {event.core["flow"] for event in events if event.fields.get("path") == path.encode()}
    return [[event for event in events if event.core["flow"] == flow] for flow in sorted(wanted)]


def only_flow(site: Gateway, path: str) -> list[Any]:
    """The events of the one flow of this path, once it has ended. Two flows, or none within the time, are a failure."""
    wait_until(lambda: any(ended(one) for one in flows(site, path)), 15, f"the end of {path}\n{site.output[-3000:]}")
    (found,) = flows(site, path)
    return found


def ended(events: list[Any]) -> bool:
    return any(event.stage in TERMINAL for event in events)


def terminals(site: Gateway) -> Counter[str]:
    """How many terminal events each flow has."""
    counts: Counter[str] = Counter()
    for event in http_events(site):
        counts[event.core["flow"]] += event.stage in TERMINAL
    return counts
