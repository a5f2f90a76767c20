"""Keeps each issuer's public keys at hand: fetched in the background, read without I/O, never blocking the event loop.

    fetched      every `lifespan` (10 % jitter); at an unknown key name; never more than once per `cooldown`
    stale        an issuer that cannot be reached keeps its known keys until `max_stale` after the last good fetch
    too stale    503: our trouble, so neither open nor "your token is bad"
    unknown key  one shared fetch, waited for at most `timeout`; inside the cooldown 401 at once, whether the last fetch worked or not

The cooldown is what makes a flood of made-up key names harmless: it costs one fetch, and everybody else goes on with
the keys that are there. Ages are counted on the monotonic clock, so a clock jump neither ages nor revives a key.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path

from jwt import PyJWK

from addons.core.clock import Clock
from addons.core.config.model import Issuer, Jwks, Snapshot
from addons.core.identity import challenge, keys
from addons.core.identity.fetch import Fetch, FetchError, fetch, is_safe, origin
from addons.core.identity.keys import Keys, KeySetError
from addons.core.wire import strict_json

logger = logging.getLogger(__name__)

JITTER = 0.1
MIN_COOLDOWN, MAX_COOLDOWN = 5.0, 30.0


class KeySet:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer, clock: Clock, fetch: Fetch, jitter: Callable[[], float]) -> None:
        self.issuer = issuer
        self.generation = 0  # counts the different sets we have had; what was verified under an older one is verified again
        self.fetches = 0
        self._clock = clock
        self._fetch = fetch
        self._jitter = jitter
        self._keys: Keys | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._flight: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[None] | None = None

    @property
    def is_usable(self) -> bool:
        """True while there are keys and the last good fetch is not older than `max_stale`."""
        return self._keys is not None and self._clock.monotonic() - self._fetched_at <= self.issuer.jwks.max_stale

    def has(self, kid: str) -> bool:
        """True when the set at hand has this key."""
        return self._keys is not None and kid in self._keys.by_kid

    async def key(self, kid: str, algorithm: str) -> PyJWK:
        """Row 10: the key of this name, fit for this algorithm. Raises TokenInvalid, or IdentityUnavailableError without usable keys."""
        if not (self.is_usable and self.has(kid)):
            await self._refresh_once()
        if not self.is_usable or self._keys is None:
            raise challenge.unavailable(f"keys of {self.issuer.name}", self._cooldown)
        found = self._keys.by_kid.get(kid)
        if found is None:
            raise challenge.invalid("key-unknown")
        if algorithm not in found:
            raise challenge.invalid("key-algorithm")
        return found[algorithm]

    def start(self) -> None:
        """Begin to keep the set fresh in the background."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._keep_fresh(), name=f"keys of {self.issuer.name}")

    async def close(self) -> None:
        """Stop. A fetch that is under way ends by itself, within its deadline."""
        for task in (self._loop, self._flight):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in (self._loop, self._flight) if task is not None), return_exceptions=True)
        self._loop = self._flight = None

    @property
    def _cooldown(self) -> float:
        return min(max(self.issuer.jwks.cooldown, MIN_COOLDOWN), MAX_COOLDOWN)

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh_once()
            is_fresh = self._tried_at is not None and self._fetched_at >= self._tried_at
            wait = self.issuer.jwks.lifespan * (1 + JITTER * self._jitter()) if is_fresh else self._cooldown
            await self._clock.sleep(wait)

    async def _refresh_once(self) -> None:
        """Share one fetch with whoever else wants one, and wait for it no longer than its own deadline."""
        if self._flight is None or self._flight.done():
            now = self._clock.monotonic()
            if self._tried_at is not None and now - self._tried_at < self._cooldown:
                return
            self._tried_at = now
            self._flight = asyncio.create_task(self._refresh(), name=f"fetch keys of {self.issuer.name}")
        await asyncio.wait({self._flight}, timeout=self.issuer.jwks.timeout)

    async def _refresh(self) -> None:
        self.fetches += 1
        started = self._clock.monotonic()
        try:
            fresh = await asyncio.to_thread(load, self.issuer, self._fetch)
        except (FetchError, KeySetError, OSError) as error:
            logger.warning(
                "keys of issuer %s: %s", self.issuer.name, error if isinstance(error, FetchError | KeySetError) else type(error).__name__
            )
            return
        if self._keys is None or fresh.fingerprint != self._keys.fingerprint:
            self.generation += 1
        self._keys, self._fetched_at = fresh, started


class KeySets:
    """The key sets of all configured issuers. Issuers come and go by reload; an unchanged one keeps its keys."""

    def __init__(self, clock: Clock, fetch: Fetch = fetch, jitter: Callable[[], float] = lambda: random.uniform(-1, 1)) -> None:
        self._clock = clock
        self._fetch = fetch
        self._jitter = jitter
        self._sets: dict[tuple[str, Jwks], KeySet] = {}
        self._started = False
        self._leaving: set[asyncio.Task[None]] = set()

    def of(self, issuer: Issuer) -> KeySet:
        """Return the key set of an issuer, made when it is first asked for."""
        place = (issuer.issuer, issuer.jwks)
        known = self._sets.get(place)
        if known is None:
            known = self._sets[place] = KeySet(issuer, self._clock, self._fetch, self._jitter)
            if self._started:
                known.start()
        return known

    def follow(self, snapshot: Snapshot) -> None:
        """Keep exactly the issuers of this Snapshot fresh."""
        self._started = True
        wanted = {(issuer.issuer, issuer.jwks): issuer for issuer in snapshot.gateway.identity.issuers}
        for place in [place for place in self._sets if place not in wanted]:
            task = asyncio.get_running_loop().create_task(self._sets.pop(place).close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for issuer in wanted.values():
            self.of(issuer).start()

    async def close(self) -> None:
        """Stop every background fetch."""
        self._started = False
        sets = list(self._sets.values())
        self._sets.clear()
        await asyncio.gather(*self._leaving, *(keyset.close() for keyset in sets), return_exceptions=True)


def load(issuer: Issuer, fetch: Fetch) -> Keys:
    """Get and read the set: from a file, from a configured address, or by discovery. Blocks: call it in a thread."""
    terms = issuer.jwks
    if terms.file is not None:
        return keys.parse(_read(terms.file, terms.max_size), terms.max_keys)
    place = terms.uri or discover(issuer, fetch)
    return keys.parse(fetch(place, terms.timeout, terms.max_size), terms.max_keys)


def discover(issuer: Issuer, fetch: Fetch) -> str:
    """Ask the issuer where its keys are (OpenID Connect Discovery). It may only speak for itself."""
    terms = issuer.jwks
    place = issuer.issuer.rstrip("/") + "/.well-known/openid-configuration"
    try:
        document = strict_json.load_object(fetch(place, terms.timeout, terms.max_size))
    except strict_json.StrictJsonError as error:
        raise KeySetError("discovery-json") from error
    if document.get("issuer") != issuer.issuer:
        raise KeySetError("discovery-issuer")
    uri = document.get("jwks_uri")
    if not isinstance(uri, str) or not is_safe(uri) or origin(uri) != origin(issuer.issuer):
        raise KeySetError("discovery-origin")
    return uri


def _read(path: Path, max_size: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(max_size + 1)
    if len(data) > max_size:
        raise KeySetError("set-size")
    return data
