"""Durations, sizes, rates, addresses, urls and references: the small grammars that all five files share.

Each function returns the value or raises `Wrong` with what was expected. None of them quotes what it got: that is the
caller's choice, and a reference that is no reference may be the secret itself, pasted.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from addons.core.config.model import Address, Reference

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|y)")
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_RATE = re.compile(r"([0-9]{1,6})/(s|m|h)")
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:/@\s]+)):(?P<port>[0-9]{1,5})")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_REFERENCES = {
    "env": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}"),
    "file": re.compile(r"/[^\0]{0,4095}"),
    "state": re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"),
}
LATER_SCHEMES = frozenset(
    {"exec", "vault", "k8s", "aws-sm", "gcp-sm", "azure-kv", "basic", "oauth2-client-credentials", "token-exchange", "sigv4"}
)
REFERENCE_GRAMMAR = "env:NAME, file:/absolute/path, state:NAME or auto"
DEFAULT_PORTS = {"http": 80, "https": 443}


class Wrong(ValueError):
    """The text is not what was expected; `str()` says what was."""


class NotBuilt(Wrong):
    """Right in the design, but no part of this version carries it."""


def duration(text: str) -> float:
    """Seconds of `30s`, `250ms`, `10m`, `1h`, `7d`, `7y` (a year has 365 days)."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise Wrong("expected a duration such as 250ms, 30s, 10m, 1h, 7d or 7y")
    return int(found[1]) * _SECONDS[found[2]]


def size(text: str) -> int:
    """Bytes of `64KiB`, `1MiB`."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise Wrong("expected a size such as 512B, 64KiB, 1MiB or 2GiB")
    return int(found[1]) * _BYTES[found[2]]


def rate(text: str) -> float:
    """Events a second of `10/s`, `60/m`."""
    found = _RATE.fullmatch(text)
    if not found or not int(found[1]):
        raise Wrong("expected a rate such as 10/s or 60/m")
    return int(found[1]) / _SECONDS[found[2]]


def host(text: str) -> str:
    """A host name or IP literal in one spelling (lower case, IPv6 compressed and without brackets)."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    lowered = text.lower()
    if not _HOST.fullmatch(lowered) or lowered.replace(".", "").isdigit():
        raise Wrong("expected a host name or an IP address")
    return lowered


def address(text: str) -> Address:
    """`host:port`; IPv6 in brackets."""
    found = _ADDRESS.fullmatch(text)
    if not found or not 0 < int(found["port"]) < 65536:
        raise Wrong("expected host:port such as 127.0.0.1:8443 or [::1]:8443")
    return Address(host(found["six"] or found["host"]), int(found["port"]))


def is_loopback(name: str) -> bool:
    """True for a loopback literal only: 127.0.0.0/8 or ::1. A name, `localhost` too, resolves to whatever somebody says."""
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        return False
    return ip in ipaddress.ip_network("127.0.0.0/8") if ip.version == 4 else ip == ipaddress.ip_address("::1")


def is_any(name: str) -> bool:
    """True for the addresses that mean every interface."""
    return name in ("0.0.0.0", "::")


def url(text: str, *, path: bool = False) -> tuple[str, Address]:
    """Scheme and address of an http or https url without user, query or fragment; with `path` it may have a path."""
    expected = "expected a url such as https://host:port" + ("/path" if path else ", without a path")
    if any(char <= " " or char == "\\" for char in text):
        raise Wrong(expected)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise Wrong(expected) from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0 or "@" in parts.netloc or "?" in text or "#" in text:
        raise Wrong(expected)
    if parts.path not in ("", "/") and not path:
        raise Wrong(expected)
    return parts.scheme, Address(host(parts.hostname), port or DEFAULT_PORTS[parts.scheme])


def safe_url(text: str, *, path: bool = False) -> tuple[str, Address]:
    """The same, and either https or to a loopback literal: in the clear only where nobody else listens."""
    scheme, at = url(text, path=path)
    if scheme == "http" and not is_loopback(at.host):
        raise Wrong("expected https, or http to a loopback literal (127.0.0.0/8 or ::1)")
    return scheme, at


def reference(text: str, name: str) -> Reference:
    """A reference to a secret. `name` is what its file is called when it says `auto`."""
    if text == "auto":
        return Reference("auto", "", name)
    scheme, _, rest = text.partition(":")
    if scheme in LATER_SCHEMES and rest:
        raise NotBuilt(f"`{scheme}:` references are not built yet; use {REFERENCE_GRAMMAR}")
    grammar = _REFERENCES.get(scheme)
    if grammar is None or not grammar.fullmatch(rest):
        raise Wrong(f"expected a reference: {REFERENCE_GRAMMAR}")
    return Reference(scheme, rest, name)
