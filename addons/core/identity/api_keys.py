"""Static API keys for callers that cannot do OpenID: `gh_<id>_<32 random bytes, base64url>_<crc32>`.

The prefix and the checksum make a leaked key findable and a mistyped one cheap. The store keeps an HMAC under a pepper
that is not in the store; the key itself is shown once. An unknown id is compared against a dummy, so that it takes as
long as a wrong key. A key always has an owner and an end, and is never a person: people have tokens.
"""

import base64
import hmac
import ipaddress
import json
import re
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.core.clock import Clock
from addons.core.config.model import Snapshot
from addons.core.errors import AuthenticationError
from addons.core.exchange import Principal
from addons.core.identity import challenge

ALIAS = "key"  # reserved: no issuer may have it
MAX_KEY = 128
KINDS = frozenset({"service", "agent", "ci", "workload"})
_KEY = re.compile(r"gh_([a-z0-9]{12})_([A-Za-z0-9_-]{43})_([0-9a-f]{8})\Z")
_DUMMY = bytes(32)

Find = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""The row of table `api_key` with this id, None when there is none."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key taken apart. The secret is kept out of every repr."""

    id: str
    secret: bytes = field(repr=False)


def make() -> tuple[str, ApiKey]:
    """Return a new key as its text (to be shown once) and taken apart."""
    name = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(12))
    secret = secrets.token_bytes(32)
    body = f"gh_{name}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"
    return f"{body}_{zlib.crc32(body.encode()):08x}", ApiKey(name, secret)


def parse(text: str) -> ApiKey | None:
    """Take a key apart; None for what is not one, a typing error included."""
    match = _KEY.match(text)
    if match is None or f"{zlib.crc32(text[: match.start(3) - 1].encode()):08x}" != match[3]:
        return None
    secret = base64.urlsafe_b64decode(match[2] + "=")
    if base64.urlsafe_b64encode(secret).rstrip(b"=").decode() != match[2]:
        return None
    return ApiKey(match[1], secret)


def mac(pepper: bytes, key: ApiKey) -> bytes:
    """What the store keeps instead of the key. The secret has full entropy, so no slow hash is needed."""
    return hmac.digest(pepper, key.id.encode() + b"\0" + key.secret, "sha256")


def check_new(row: Mapping[str, Any], now: float, max_lifetime: float) -> None:
    """Refuse a row that must not be created: without an owner, without an end, too long-lived, or a person's. Raises ValueError."""
    if not row.get("owner"):
        raise ValueError("a key needs an owner, a person who answers for it")
    expires = row.get("expires_at")
    if not isinstance(expires, int) or not now < expires / 1_000_000 <= now + max_lifetime:
        raise ValueError("a key needs an end, within identity.api_keys.max_lifetime")
    if row.get("kind") not in KINDS:
        raise ValueError("a key is a service, an agent, ci or a workload; people have tokens")


class ApiKeys:
    """Checks keys against the rows of the store."""

    def __init__(self, clock: Clock, pepper: bytes, find: Find) -> None:
        self._clock = clock
        self._pepper = pepper
        self._find = find
        self._revoked: set[str] = set()

    def revoke(self, key_id: str) -> None:
        """Make flows that are under way with this key fail when they are looked at again."""
        self._revoked.add(key_id)

    def is_revoked(self, key_id: str) -> bool:
        """True when the key was revoked while this process runs."""
        return key_id in self._revoked

    async def verify(self, text: str, snapshot: Snapshot, peer: str) -> Principal:
        """Return the principal of a key. Raises ApiKeyUnknown, the same for every reason."""
        key = parse(text)
        if key is None:
            raise challenge.key_unknown("key-shape")
        row = await self._find(key.id)
        kept = _DUMMY if row is None else _bytes(row["mac"])
        matches = hmac.compare_digest(mac(self._pepper, key), kept)
        if row is None or not matches:
            raise challenge.key_unknown("key-unknown" if row is None else "key-wrong")
        refusal = self._unusable(row, key.id, peer)
        if refusal is not None:
            raise refusal
        return Principal(
            issuer="urn:guardhouse:api-keys",
            issuer_alias=ALIAS,
            subject=key.id,
            kind=row["kind"] if row["kind"] in KINDS else "service",
            groups=tuple(_list(row.get("groups"))),
            owner=row["owner"],
            token_id=key.id,
            method="api_key",
            expires_at=row["expires_at"] / 1_000_000,
        )

    def _unusable(self, row: Mapping[str, Any], key_id: str, peer: str) -> AuthenticationError | None:
        if row.get("revoked_at") is not None or self.is_revoked(key_id):
            return challenge.key_unknown("revoked")
        if not row.get("owner"):
            return challenge.key_unknown("no-owner")
        if not isinstance(row.get("expires_at"), int) or self._clock.now() >= row["expires_at"] / 1_000_000:
            return challenge.key_unknown("expired")
        if not _is_within(peer, _list(row.get("allowed_cidrs"))):
            return challenge.key_unknown("network")
        return None


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else bytes.fromhex(value)


def _list(value: Any) -> list[str]:
    found = json.loads(value) if isinstance(value, str) and value else value
    return [str(item) for item in found] if isinstance(found, list) else []


def _is_within(peer: str, networks: list[str]) -> bool:
    """True when the peer is in one of the networks. A key that names none is for every network."""
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(peer)
        return any(address in ipaddress.ip_network(network) for network in networks)
    except ValueError:
        return False
