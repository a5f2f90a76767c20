"""The sockets of `guardhouse doctor --canary`: one door for each listener and service, asked in bytes, heard whole.

An answer is kept with its status line, its headers and its body, decoded; nothing of it is printed.
"""

import contextlib
import email.message
import http.client
import re
import secrets
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

from addons.cli import canary_http2
from addons.cli.canary_requests import Planted
from addons.cli.client import CA_FILE
from addons.cli.console import CannotRead
from addons.core.config.model import Listener, Snapshot
from addons.core.errors import Unmaskable
from addons.core.masking.encodings import coding_of, decode

SECONDS = 30.0
PATIENCE = 2.0  # seconds for an answer to what is no request: mostly the connection just ends
MOST = 16 << 20  # bytes read of one answer
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to connect to a listener that is bound everywhere
APPROVAL = re.compile(rb"ap_[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back."""

    place: str
    data: bytes = field(repr=False)
    trace: str = ""
    is_ours: bool = True  # a refusal, or no answer that an upstream gave
    approval: str = ""
    status: int = 0  # 0: the connection ended without an answer


@dataclass(frozen=True, slots=True)
class Door:
    """One service behind one listener."""

    name: str
    service: str
    address: tuple[str, int]
    host: str
    path: str
    said: dict[str, str]  # purpose and the like
    tls: ssl.SSLContext | None
    snapshot: Snapshot = field(repr=False)

    def ask(self, place: str, request: Planted, token: str) -> Heard:
        """Send a request under this token, in a trace of its own."""
        trace = secrets.token_hex(16)
        return self._heard(place, request.raw(self.host, self._more(trace, token)), request.method, trace, SECONDS)

    def ask_http2(self, place: str, request: Planted, token: str) -> Heard:
        """The same over HTTP/2, where the listener speaks it."""
        assert self.tls is not None
        trace = secrets.token_hex(16)
        with self._connected(SECONDS, h2=True) as peer:
            assert isinstance(peer, ssl.SSLSocket)
            if peer.selected_alpn_protocol() != "h2":
                return Heard(place, b"", trace)
            headers, body = canary_http2.ask(peer, self.host, request, self._more(trace, token))
        told = email.message.Message()
        for name, value in headers:
            told.add_header(name, value)
        return self._made(place, trace, int(told.get(":status", "0")), "\n".join(": ".join(one) for one in headers), told, body)

    def _more(self, trace: str, token: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {token}",
            "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
            "Prefer": "respond-async",
            **self.said,
        }

    def say(self, place: str, raw: bytes) -> Heard:
        """Send bytes that are no request."""
        return self._heard(place, raw, "GET", "", PATIENCE)

    def _connected(self, seconds: float, h2: bool = False) -> socket.socket:
        try:
            plain = socket.create_connection(self.address, timeout=seconds)
            if self.tls is None:
                return plain
            context = trust(self.snapshot) if h2 else self.tls
            if h2:
                context.set_alpn_protocols(["h2"])
            return context.wrap_socket(plain, server_hostname=self.host.rpartition(":")[0].strip("[]"))
        except OSError as error:
            raise CannotRead(f"the listener at {self.address[0]}:{self.address[1]} cannot be reached: {error}") from error

    def _heard(self, place: str, raw: bytes, method: str, trace: str, seconds: float) -> Heard:
        with self._connected(seconds) as peer:
            with contextlib.suppress(OSError):
                peer.sendall(raw)
            return self._read(place, peer, method, trace)

    def _read(self, place: str, peer: socket.socket, method: str, trace: str) -> Heard:
        response = http.client.HTTPResponse(peer, method=method)
        body = b""
        try:
            response.begin()
            body = response.read(MOST)
        except http.client.BadStatusLine as error:
            return Heard(place, str(error).encode(), trace)
        except (OSError, http.client.HTTPException) as error:
            body = getattr(error, "partial", b"")
            if not response.headers:
                return Heard(place, body, trace)
        head = f"{response.status} {response.reason}\n{response.headers}"
        return self._made(place, trace, response.status, head, response.headers, body)

    def _made(self, place: str, trace: str, status: int, head: str, headers: email.message.Message, body: bytes) -> Heard:
        """What is kept of an answer: decoded, and whose it is."""
        with contextlib.suppress(Unmaskable):
            body = decode(body, coding_of(headers.get_all("content-encoding") or []), self.snapshot.masking.limits)
        ticket = APPROVAL.search(body) if status in (202, 429) else None
        is_ours = not status or headers.get_content_type() == "application/problem+json" or ticket is not None
        data = head.encode("utf-8", "surrogateescape") + body
        return Heard(place, data, trace, is_ours, ticket[0].decode() if ticket else "", status)


def doors(snapshot: Snapshot, purpose: str) -> Iterator[Door]:
    """Every listener with every service behind it; one that asks for client certificates cannot be used and is left out."""
    said = {snapshot.gateway.purpose.header: purpose or label(snapshot)} if snapshot.gateway.purpose.catalogue or purpose else {}
    for listener in snapshot.gateway.listeners:
        if listener.tls is not None and listener.tls.client_ca is not None:
            continue
        for name in listener.services:
            service = snapshot.gateway.services[name]
            host = service.hosts[0] if service.hosts else bracketed(listener)
            yield Door(
                f"{listener.name}/{name}",
                name,
                (ANYWHERE.get(listener.bind.host, listener.bind.host), listener.bind.port),
                f"{host}:{listener.bind.port}",
                path_of(snapshot, name),
                said,
                trust(snapshot) if listener.tls is not None else None,
                snapshot,
            )


def label(snapshot: Snapshot) -> str:
    """A purpose of the catalogue."""
    return snapshot.gateway.purpose.catalogue[0].replace("**", "canary").replace("*", "canary")


def path_of(snapshot: Snapshot, name: str) -> str:
    """The example's echo, where that is the service; else a path that names what this is."""
    development = snapshot.gateway.development
    is_example = development is not None and snapshot.gateway.services[name].address == development.example_service
    return "/echo" if is_example else "/guardhouse-canary"


def bracketed(listener: Listener) -> str:
    host = ANYWHERE.get(listener.bind.host, listener.bind.host)
    return f"[{host}]" if ":" in host else host


def trust(snapshot: Snapshot) -> ssl.SSLContext:
    """The system's authorities, and the gateway's own: a token goes to nobody else."""
    context = ssl.create_default_context()
    local = snapshot.gateway.state / CA_FILE
    if local.exists():
        context.load_verify_locations(local)
    return context
