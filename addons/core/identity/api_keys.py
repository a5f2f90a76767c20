"""Static API keys for callers that cannot do OpenID: `gh_<id>_<32 random bytes, base64url>_<crc32>`.

The prefix and the checksum make a leaked key findable and a mistyped one cheap. The store keeps an HMAC under a pepper
that is not in the store; the key itself is shown once. An unknown id is compared against a dummy, so that it takes as
long as a wrong key. A key always has an owner and an end, and is never a person: people have tokens.

A key that was found good is remembered by the hash of its whole text, so that only its holder is spared a look into the
store; what is remembered ends with the first change of any key. Flows that are under way ask `still_good` again.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.core.clock import Clock
from addons.core.config.model import Identity, Snapshot
from addons.core.errors import AuditError, AuthenticationError
from addons.core.exchange import Principal
from addons.core.identity import challenge, claims, key_rows
from addons.core.identity.key_rows import DamagedRow, KeyRow
from addons.core.identity.verdicts import Lru

logger = logging.getLogger(__name__)

ALIAS = "key"  # reserved: no issuer may have it
ISSUER = "urn:guardhouse:api-keys"
MAX_KEY = 128
MAX_LIST = 50  # groups or networks of one key
KINDS = frozenset({"service", "agent", "ci", "workload"})
REMEMBERED = 10_000
KEEP = 60.0  # seconds; the store is looked at again after it
USED_EVERY = 60_000_000  # microseconds between two notes of a use
_KEY = re.compile(r"gh_([a-z0-9]{12})_([A-Za-z0-9_-]{43})_([0-9a-f]{8})\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}\Z")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}\Z")
_DUMMY = KeyRow("", bytes(32), "", "", "service", (), (), 0, 0)

Find = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""The row of table `api_key` with this id, None when there is none."""
Touch = Callable[[str, int], Awaitable[None]]
"""Notes that a key was used at this moment (microseconds)."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key taken apart. The secret is kept out of every repr."""

    id: str
    secret: bytes = field(repr=False)


def make(key_id: str | None = None) -> tuple[str, ApiKey]:
    """Return a new key as its text (to be shown once) and taken apart; with an id, a new secret for that key."""
    name = key_id or "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(12))
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


def check_new(row: KeyRow, identity: Identity, now: float) -> None:
    """Refuse a key that must not be made. Raises ValueError with a sentence for whoever asked."""
    alias, colon, subject = row.owner.partition(":")
    if not colon or not claims.is_name(subject) or alias not in {issuer.name for issuer in identity.issuers}:
        raise ValueError("A key needs an owner, a person who answers for it: alias:subject, with the alias of a configured issuer.")
    if not now < row.expires_at / 1_000_000 <= now + identity.api_key_max_lifetime:
        days = identity.api_key_max_lifetime / 86400
        raise ValueError(f"A key needs an end, at most {days:g} days from now (identity.api_keys.max_lifetime).")
    if row.kind not in KINDS:
        raise ValueError("A key is a service, an agent, ci or a workload. People have tokens.")
    if not _NAME.match(row.name):
        raise ValueError("A key needs a name: letters, digits, space and . _ / - (at most 64).")
    if len(row.groups) > MAX_LIST or not all(_GROUP.match(group.removeprefix(f"{ALIAS}:")) for group in row.groups):
        raise ValueError(f"Groups are at most {MAX_LIST} names of letters, digits and . _ / -; each becomes {ALIAS}:NAME.")
    if len(row.networks) > MAX_LIST or not all(_is_network(network) for network in row.networks):
        raise ValueError(f"Networks are at most {MAX_LIST} of the form 192.0.2.0/24 or 2001:db8::/32.")


class ApiKeys:
    """Checks keys against the rows of the store."""

    def __init__(self, clock: Clock, pepper: bytes, find: Find, touch: Touch | None = None) -> None:
        self.pepper = pepper
        self._clock = clock
        self._find = find
        self._touch = touch
        self._dummy = key_rows.columns(_DUMMY, pepper)
        self._ends: dict[str, int] = {}  # key id or token id -> from when on (microseconds) flows under way with it fail
        self._good: Lru[bytes, tuple[KeyRow, float]] = Lru(REMEMBERED)
        self._used: Lru[str, int] = Lru(REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self, before: KeyRow, after: KeyRow) -> None:
        """Take note of a rotation or a revocation: nothing that was remembered counts any more, also for flows under way."""
        self._good = Lru(REMEMBERED)
        if after.revoked_at is not None:
            self._ends[after.id] = 0
        elif after.generation != before.generation:
            self._ends[before.token_id] = after.previous_until or 0
            if before.generation:
                self._ends[before.earlier.token_id] = 0

    async def verify(self, text: str, snapshot: Snapshot, peer: str) -> Principal:
        """Return the principal of a key. Raises ApiKeyUnknown, the same for every reason."""
        row = self._remembered(text) or await self._look_up(text)
        refusal = self._unusable(row, peer)
        if refusal is not None:
            raise refusal
        self._note_use(row)
        return Principal(
            issuer=ISSUER,
            issuer_alias=ALIAS,
            subject=row.id,
            kind=row.kind if row.kind in KINDS else "service",
            groups=tuple(f"{ALIAS}:{group.removeprefix(ALIAS + ':')}" for group in row.groups),
            owner=row.owner,
            attributes={"key_name": row.name},
            token_id=row.token_id,
            method="api_key",
            expires_at=row.expires_at / 1_000_000,
        )

    def still_good(self, principal: Principal) -> None:
        """Look at a key again, now. Raises TokenExpired or ApiKeyUnknown."""
        if self._clock.now() >= principal.expires_at:
            raise challenge.expired("expired")
        if self._is_ended(principal.subject, principal.token_id):
            raise challenge.key_unknown("revoked")

    async def close(self) -> None:
        """Let the last notes of a use be written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def remembers(self, text: str) -> bool:
        """True when this very key was found good a moment ago, so that checking it costs next to nothing."""
        return self._remembered(text) is not None

    def _remembered(self, text: str) -> KeyRow | None:
        known = self._good.get(_place(text))
        return known[0] if known is not None and self._clock.monotonic() < known[1] else None

    async def _look_up(self, text: str) -> KeyRow:
        """The row whose secret this is. What is unknown takes the way of what is wrong, step by step."""
        key = parse(text)
        if key is None:
            raise challenge.key_unknown("key-shape")
        stored = await self._find(key.id)
        try:
            row = key_rows.read(self._dummy if stored is None else stored)
        except DamagedRow:
            row, stored = _DUMMY, None
        told = mac(self.pepper, key)
        is_current = hmac.compare_digest(told, row.digest)
        is_previous = hmac.compare_digest(told, row.previous or _DUMMY.digest)
        if stored is None or not (is_current or is_previous):
            raise challenge.key_unknown("key-unknown" if stored is None else "key-wrong")
        if not key_rows.is_ours(stored, row, self.pepper):
            raise challenge.key_unknown("row-changed")
        row = row if is_current else row.earlier
        self._good.put(_place(text), (row, self._clock.monotonic() + KEEP))
        return row

    def _unusable(self, row: KeyRow, peer: str) -> AuthenticationError | None:
        if row.revoked_at is not None or self._is_ended(row.id, row.token_id):
            return challenge.key_unknown("revoked")
        if not row.owner:
            return challenge.key_unknown("no-owner")
        if self._clock.now() >= row.expires_at / 1_000_000:
            return challenge.key_unknown("expired")
        if not _is_within(peer, row.networks):
            return challenge.key_unknown("network")
        return None

    def _is_ended(self, key_id: str, token_id: str) -> bool:
        now = self._clock.now() * 1_000_000
        return any(now >= self._ends[name] for name in (key_id, token_id) if name in self._ends)

    def _note_use(self, row: KeyRow) -> None:
        """At most once a minute, and nobody waits for it: when a key was used also stands in the log."""
        now = int(self._clock.now() * 1_000_000)
        if self._touch is None or now - max(self._used.get(row.id) or 0, row.last_used_at or 0) < USED_EVERY:
            return
        self._used.put(row.id, now)
        task = asyncio.create_task(self._touched(self._touch, row.id, now), name="note the use of a key")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _touched(self, touch: Touch, key_id: str, now: int) -> None:
        try:
            await touch(key_id, now)
        except AuditError as error:
            logger.warning("the use of a key could not be noted: %s", error.detail)


def _place(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_within(peer: str, networks: tuple[str, ...]) -> bool:
    """True when the peer is in one of the networks. A key that names none is for every network."""
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(peer)
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in ipaddress.ip_network(network) for network in networks)
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
