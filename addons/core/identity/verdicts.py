"""Remembers what was verified, and bounds how much is verified anew.

Two tables, so that junk cannot push good entries out: identities (kept at most a minute, never past the token's end,
never over a change of the issuer's keys) and refusals (5 s). The key holds every input of the verdict: the Snapshot,
the place it was asked at, the hash of the token. Nothing here knows a token, only its hash.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from addons.core.clock import Clock
from addons.core.errors import AuthenticationError
from addons.core.exchange import Principal
from addons.core.identity import challenge

ENTRIES = 10_000
KEEP_GOOD = 60.0
KEEP_BAD = 5.0
IN_FLIGHT_PER_PEER = 50
PER_SECOND = 1000
PER_SECOND_AND_PEER = 500  # so that one peer's flood leaves half of the verifications to everybody else

Place = tuple[str, str, bytes]
"""(digest of the Snapshot, listener or plane with its audiences, SHA-256 of the token)"""


class Lru[Key, Value]:
    """A table that forgets what was not used for longest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the entry and count it as used."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: Key, value: Value) -> None:
        """Remember an entry; the least recently used one goes when there are too many."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Forget an entry."""
        self._entries.pop(key, None)


@dataclass(frozen=True, slots=True)
class Good:
    """A verified identity, and what must still hold for it to count."""

    principal: Principal
    until: float  # wall clock: the token's end, leeway included
    forget_at: float  # monotonic
    still: Callable[[], bool]  # the issuer's keys are those it was verified with, and not too stale


@dataclass(frozen=True, slots=True)
class Bad:
    """A refusal, made anew for each caller."""

    again: Callable[[], AuthenticationError]
    forget_at: float  # monotonic


class Verdicts:
    """The two tables."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.good: Lru[Place, Good] = Lru(ENTRIES)
        self.bad: Lru[Place, Bad] = Lru(ENTRIES)

    def known(self, place: Place) -> Principal | None:
        """Return the identity that was verified here, None when nothing is known. Raises the refusal that is remembered."""
        good = self.good.get(place)
        if good is not None:
            if self._clock.monotonic() < good.forget_at and self._clock.now() < good.until and good.still():
                return good.principal
            self.good.drop(place)
        bad = self.bad.get(place)
        if bad is not None:
            if self._clock.monotonic() < bad.forget_at:
                raise bad.again()
            self.bad.drop(place)
        return None

    def accept(self, place: Place, principal: Principal, until: float, still: Callable[[], bool]) -> None:
        """Remember an identity."""
        self.good.put(place, Good(principal, until, self._clock.monotonic() + KEEP_GOOD, still))

    def refuse(self, place: Place, error: AuthenticationError) -> None:
        """Remember a refusal; not that of an unknown key name, which the next fetch may bring."""
        if error.detail == "key-unknown":
            return
        kind, message, code, detail, headers = type(error), str(error), error.code, error.detail, dict(error.headers)
        self.bad.put(place, Bad(lambda: kind(message, code=code, detail=detail, headers=headers), self._clock.monotonic() + KEEP_BAD))


@dataclass(slots=True)
class _Second:
    began: float = float("-inf")
    total: int = 0
    by_peer: dict[str, int] = field(default_factory=dict)


class ColdLimits:
    """How many tokens are verified anew: in flight per peer, and started per second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_flight: dict[str, int] = {}
        self._second = _Second()

    @contextmanager
    def slot(self, peer: str) -> Iterator[None]:
        """Hold one place for a verification. Raises `too-many-requests`."""
        self._count(peer)
        if self._in_flight.get(peer, 0) >= IN_FLIGHT_PER_PEER:
            raise challenge.flooded("cold-in-flight")
        self._in_flight[peer] = self._in_flight.get(peer, 0) + 1
        try:
            yield
        finally:
            self._in_flight[peer] -= 1
            if not self._in_flight[peer]:
                del self._in_flight[peer]

    def _count(self, peer: str) -> None:
        now = self._clock.monotonic()
        if now - self._second.began >= 1.0:
            self._second = _Second(began=now)
        second = self._second
        if second.total >= PER_SECOND or second.by_peer.get(peer, 0) >= PER_SECOND_AND_PEER:
            raise challenge.flooded("cold-rate")
        second.total += 1
        second.by_peer[peer] = second.by_peer.get(peer, 0) + 1
