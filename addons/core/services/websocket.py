"""The opening handshake of a WebSocket (RFC 6455 section 4): what it asks for, and whether the upstream's 101 answers it.

Which subprotocols a service speaks through us, and how its messages are read, stands in gateway.yaml; one that is not named
there is refused before anybody upstream hears of it. Extensions are not offered: a compressed message could not be
bounded before it is unpacked. What the messages do is read in `addons.core.services.messages`.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from addons.core.config.model import Service
from addons.core.errors import GuardhouseError, UpstreamError
from addons.core.exchange import Access
from addons.core.services.canonical import Head
from addons.core.services.target import malformed

OPAQUE = "opaque"  # judged once, at the upgrade; its messages are masked and recorded, not read
VERSION = b"13"
KEY, EXTENSIONS = "Sec-WebSocket-Key", "Sec-WebSocket-Extensions"
NOT_CARRIED = "This service carries no WebSocket. Use plain HTTP requests, or ask its operator to name a subprotocol in `websocket:`."
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_ONCE = (b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-accept")

Fields = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client asks for. `offered` is never empty: "" stands for no subprotocol."""

    key: bytes
    offered: tuple[str, ...]


def asks(head: Head) -> bool:
    """True when a request speaks of a WebSocket in any way, well or badly."""
    return b"websocket" in _tokens(head.headers, b"upgrade") or any(name.lower().startswith(b"sec-websocket-") for name, _ in head.headers)


def check(head: Head, service: Service) -> Handshake:
    """Return what the handshake asks for, or say what is wrong with it. Every subprotocol that is offered must be named."""
    if service.websocket is None or service.kind != "http":
        raise GuardhouseError(NOT_CARRIED, code="not-supported", detail="websocket")
    if head.http2:
        raise malformed("websocket-h2", "A WebSocket is opened over HTTP/1.1 here. Connect without HTTP/2.")
    handshake = read(head)
    unnamed = [name for name in handshake.offered if name not in service.websocket]
    if unnamed:
        known = ", ".join(name or "none" for name in sorted(service.websocket))
        raise malformed("websocket-subprotocol", f"This service carries other subprotocols. Offer only: {known}.")
    return handshake


def read(head: Head) -> Handshake:
    """Return the handshake of a proper upgrade (RFC 6455 section 4.2.1)."""
    if head.method != b"GET" or _tokens(head.headers, b"upgrade") != [b"websocket"]:
        raise malformed("websocket-upgrade", "A WebSocket is opened by GET with `Upgrade: websocket` and nothing else in it.")
    if b"upgrade" not in _tokens(head.headers, b"connection"):
        raise malformed("websocket-upgrade", "A WebSocket handshake has `Connection: Upgrade`.")
    if head.values(b"content-length") not in ([], [b"0"]) or head.values(b"transfer-encoding"):
        raise malformed("websocket-body", "A WebSocket handshake has no body.")
    for name in _ONCE:
        if len(head.values(name)) > 1:
            raise malformed("header-duplicate", f"The header `{name.decode()}` came more than once. Send it once.")
    if head.values(b"sec-websocket-version") != [VERSION]:
        raise malformed("websocket-version", "Only version 13 of the WebSocket protocol is spoken here.")
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise malformed("websocket-key", "`Sec-WebSocket-Key` must be 16 bytes in base64.")
    return Handshake(keys[0], _offered(head.values(b"sec-websocket-protocol")))


def check_answer(handshake: Handshake, fields: Fields, named: Mapping[str, str]) -> str:
    """Return the subprotocol of a proper 101, or refuse it: any other 101 would be a relay that nobody reads."""
    if _tokens(fields, b"upgrade") != [b"websocket"] or b"upgrade" not in _tokens(fields, b"connection"):
        raise UpstreamError(detail="the 101 does not open a WebSocket")
    if _values(fields, b"sec-websocket-accept") != [accept_of(handshake.key)]:
        raise UpstreamError(detail="the 101 answers another handshake")
    if _values(fields, b"sec-websocket-extensions"):
        raise UpstreamError(detail="the 101 names an extension that nobody offered")
    chosen = _values(fields, b"sec-websocket-protocol") or [b""]
    name = chosen[0].decode("latin-1").strip()
    if len(chosen) != 1 or (name and name not in handshake.offered) or name not in named:
        raise UpstreamError(detail="the 101 chose a subprotocol that was not offered, or that is not named")
    return name


def accept_of(key: bytes) -> bytes:
    """What a server answers to this key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def access_of(offered: Sequence[str], named: Mapping[str, str]) -> frozenset[Access]:
    """What an upgrade does: it connects; and where messages are not read, nobody knows what else."""
    blind = any(named.get(name, OPAQUE) == OPAQUE for name in offered)
    return frozenset({Access.CONNECT, Access.UNKNOWN} if blind else {Access.CONNECT})


def _offered(values: Sequence[bytes]) -> tuple[str, ...]:
    names = [name.strip() for value in values for name in value.decode("latin-1").split(",")]
    if any(not _TOKEN.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise malformed("websocket-subprotocol", "`Sec-WebSocket-Protocol` must be a list of names, each once.")
    return tuple(names) or ("",)


def _is_key(value: bytes) -> bool:
    try:
        return len(value) == 24 and len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def _values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name]


def _tokens(fields: Fields, name: bytes) -> list[bytes]:
    return [token.strip().lower() for value in _values(fields, name) for token in value.split(b",")]
