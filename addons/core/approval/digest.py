"""What exactly is approved: one keyed digest over everything that goes upstream and everybody who asks for it.

The canonical form is the RFC 8785 JSON of `members`, with no member ever left out. It is never stored, logged or sent;
only its HMAC is, so a digest in a chat or a log confirms no guess of a short value inside the request. Beside the
digest stand the *member HMACs*, one per member and per header name: they tell which part of two requests differs
without saying what stands there.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from addons.core.exchange import Actor
from addons.core.wire import jcs

PREFIX = "hmac-sha-256:"
IGNORED_HEADERS = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "expect", "user-agent", "date", "accept-encoding", "traceparent",
        "tracestate", "idempotency-key", "x-request-id", "kubectl-session", "kubectl-command",
        "sec-websocket-key",  # a nonce of each handshake
    }
)  # fmt: skip
IGNORED_PREFIXES = ("x-stainless-",)
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """Everything an approval binds to. Bytes of the wire are ISO-8859-1 text: one byte, one code point."""

    service: str
    method: str
    scheme: str
    authority: str  # always with its port
    path: str
    query: str  # from and with the "?", "" when there is none
    content_digest: str  # RFC 9530, see `content_digest`
    headers: tuple[tuple[str, str], ...]  # see `covered_headers`
    issuer: str
    subject: str
    client_id: str | None
    actors: tuple[Actor, ...]
    purpose: str | None
    purpose_detail: str | None  # see `detail_digest`
    rules: tuple[str, ...]
    policy: str
    target: str


def content_digest(content: bytes) -> str:
    """RFC 9530 form over the content as sent. The empty body has its digest too."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def detail_digest(detail: bytes | None) -> str | None:
    """Digest of the sentence that people decide on; None when the caller sent none."""
    return None if detail is None else "sha-256:" + hashlib.sha256(detail).hexdigest()


def split_target(target: str) -> tuple[str, str]:
    """Split a raw request target into path and query, so that `/a` and `/a?` stay two requests."""
    path, mark, query = target.partition("?")
    return path, mark + query


def with_port(authority: str, scheme: str) -> str:
    """The authority with its port written out, so that two spellings of one address are one."""
    host, colon, port = authority.rpartition(":")
    if colon and port.isdigit() and not (host.startswith("[") and not host.endswith("]")):
        return authority
    return f"{authority}:{DEFAULT_PORTS[scheme]}"


def covered_headers(fields: Iterable[tuple[str, str]], ignored: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """Every header that goes upstream less the ignore list: lower case, sorted by name, repeats in wire order, trimmed."""
    skip = IGNORED_HEADERS | {name.lower() for name in ignored}
    kept = [(name.lower(), value.strip(" \t")) for name, value in fields]
    return tuple(sorted(((n, v) for n, v in kept if n not in skip and not n.startswith(IGNORED_PREFIXES)), key=lambda field: field[0]))


def members(facts: RequestFacts) -> dict[str, Any]:
    """The object whose canonical form is digested. Its keys are fixed; adding one makes a new version."""
    return {
        "v": 1,
        "service": facts.service,
        "@method": facts.method.upper(),
        "@scheme": facts.scheme,
        "@authority": facts.authority,
        "@path": facts.path,
        "@query": facts.query,
        "content-digest": facts.content_digest,
        "headers": [list(pair) for pair in facts.headers],
        "principal": {"issuer": facts.issuer, "subject": facts.subject, "client_id": facts.client_id},
        "actors": [{"issuer": actor.issuer, "subject": actor.subject} for actor in facts.actors],
        "purpose": facts.purpose,
        "purpose_detail": facts.purpose_detail,
        "rules": sorted(facts.rules),
        "policy": facts.policy,
        "target": facts.target,
    }


def canonical(facts: RequestFacts) -> bytes:
    """The exact bytes under the HMAC. Raises ValueError for what has no one spelling (a lone surrogate)."""
    return jcs.canonical(members(facts))


def digest(facts: RequestFacts, key: bytes) -> str:
    """The digest as it is stored, shown and sent back."""
    return PREFIX + _hmac(key, canonical(facts))


def member_hmacs(facts: RequestFacts, key: bytes) -> dict[str, str]:
    """One HMAC per member, and one per header name over the list of its values."""
    whole = members(facts)
    found = {name: _member(key, name, value) for name, value in whole.items() if name != "headers"}
    by_name: dict[str, list[str]] = {}
    for name, value in facts.headers:
        by_name.setdefault(name, []).append(value)
    found.update({f"headers:{name}": _member(key, f"headers:{name}", values) for name, values in by_name.items()})
    return found


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names of the members in which two requests differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def key_id(key: bytes) -> str:
    """A name for the digest key that says nothing of it: rows of another key are cancelled at start."""
    return _hmac(key, b"digest-key-id")[:16]


def seal(key: bytes, what: str, text: str) -> str:
    """A keyed digest of something stored beside the row, so that it cannot be swapped there unseen."""
    return _hmac(key, what.encode() + b"\x00" + text.encode())


def short(value: str) -> str:
    """The first twelve digits in groups of four, for people to compare. Channels send back the whole."""
    digits = value.removeprefix(PREFIX)[:12]
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def same(one: str, other: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _member(key: bytes, name: str, value: Any) -> str:
    return _hmac(key, b"member:" + name.encode("latin-1", "backslashreplace") + b"\x00" + jcs.canonical(value))


def _hmac(key: bytes, data: bytes) -> str:
    return hmac.new(key, data, hashlib.sha256).hexdigest()
