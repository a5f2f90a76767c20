"""The only way from a credential to a Principal.

Verifying does no I/O unless a token names a key that is not known yet (addons.core.identity.jwks). The checks are the
22 rows of design/identity.md 3.2, in that order but for one: the payload is parsed before its signature is checked,
because the issuer it names selects the keys. It decides nothing before the signature over the very same bytes holds.

An identity is good when it is used, not only when it was read: `still_good` is asked again once the body is there,
when a hold is released, and at departure.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from addons.core.clock import Clock
from addons.core.config.model import Identity, Issuer, Snapshot
from addons.core.errors import AuthenticationError
from addons.core.exchange import Principal
from addons.core.identity import api_keys, challenge, claims, issuers, jose
from addons.core.identity.api_keys import ApiKeys
from addons.core.identity.jwks import KeySet, KeySets
from addons.core.identity.presented import Presented
from addons.core.identity.verdicts import ColdLimits, Lru, Verdicts

REMEMBERED = 50_000  # verified tokens whose key we can still name; beyond it the oldest must be verified again


class Verifier:
    """Verifies credentials under the Snapshot that the request was pinned to."""

    def __init__(self, clock: Clock, keysets: KeySets, keys: ApiKeys | None = None) -> None:
        self.keysets = keysets
        self.api_keys = keys
        self._clock = clock
        self._verdicts = Verdicts(clock)
        self._limits = ColdLimits(clock)
        self._current: Snapshot | None = None
        self._signed_by: Lru[tuple[str, str], str] = Lru(REMEMBERED)  # (issuer, token id) -> kid

    async def start(self, snapshot: Snapshot) -> None:
        """Begin to keep the issuers' keys fresh. Does not wait for the first fetch."""
        self.follow(snapshot)

    def follow(self, snapshot: Snapshot) -> None:
        """Take a new Snapshot: issuers that are gone from it no longer vouch for anybody."""
        self._current = snapshot
        self.keysets.follow(snapshot)

    async def close(self) -> None:
        """Stop fetching."""
        await self.keysets.close()
        if self.api_keys is not None:
            await self.api_keys.close()

    async def verify(self, credential: Presented, snapshot: Snapshot, listener: str, peer: str) -> Principal:
        """Return who this is, for the data path. Raises AuthenticationError, IdentityUnavailableError, or `too-many-requests`."""
        if credential.scheme == "api_key":
            return await self.verify_key(credential.value, snapshot, peer)
        return await self._verify_token(credential.value, None, snapshot, f"listener {listener}", peer)

    async def verify_bearer(self, token: str, audiences: tuple[str, ...], snapshot: Snapshot, peer: str) -> Principal:
        """Return who this is, for the control plane: only tokens made for one of its own audiences count, and no API keys."""
        return await self._verify_token(token, audiences, snapshot, "audiences " + " ".join(audiences), peer)

    async def verify_key(self, text: str, snapshot: Snapshot, peer: str) -> Principal:
        """Return whose API key it is. Raises AuthenticationError, or `too-many-requests`."""
        if len(text) > api_keys.MAX_KEY:
            raise challenge.malformed("token-size")
        if self.api_keys is None:
            raise challenge.key_unknown("keys-not-served")
        if self.api_keys.remembers(text):
            return await self.api_keys.verify(text, snapshot, peer)
        with self._limits.slot(peer):
            return await self.api_keys.verify(text, snapshot, peer)

    def still_good(self, principal: Principal, snapshot: Snapshot) -> None:
        """Look at an identity again, now. Raises TokenExpired or AuthenticationError.

        Good means: not expired, its issuer still configured as it was (in the Snapshot given and in the newest), and
        the key that signed it still in the issuer's set.
        """
        if principal.method == "api_key":
            if self.api_keys is None:
                raise challenge.key_unknown("keys-not-served")
            self.api_keys.still_good(principal)
            return
        issuer = issuers.by_name(snapshot.gateway.identity, principal.issuer_alias)
        if issuer is None or issuer.issuer != principal.issuer:
            raise challenge.invalid("issuer-removed")
        if self._clock.now() >= principal.expires_at + claims.leeway_of(issuer):
            raise challenge.expired("expired")
        current = self._current or snapshot
        now_known = issuers.by_name(current.gateway.identity, principal.issuer_alias)
        if now_known is None or now_known.issuer != principal.issuer:
            raise challenge.invalid("issuer-removed")
        kid = self._signed_by.get((principal.issuer, principal.token_id))
        if kid is None or not self.keysets.of(now_known).has(kid):
            raise challenge.invalid("key-removed")

    async def _verify_token(self, token: str, audiences: tuple[str, ...] | None, snapshot: Snapshot, where: str, peer: str) -> Principal:
        if len(token) > jose.MAX_TOKEN:
            raise challenge.malformed("token-size")
        place = (snapshot.digest, where, hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())
        known = self._verdicts.known(place)
        if known is not None:
            return known
        with self._limits.slot(peer):
            try:
                return await self._verify_cold(token, audiences, snapshot, place)
            except AuthenticationError as error:
                self._verdicts.refuse(place, error)
                raise

    async def _verify_cold(
        self, text: str, audiences: tuple[str, ...] | None, snapshot: Snapshot, place: tuple[str, str, bytes]
    ) -> Principal:
        identity = snapshot.gateway.identity
        token = jose.split(text)
        told = claims.parse(token.payload)
        issuer = issuers.select(identity, told.get("iss"))
        jose.check_header(token, issuer)
        jose.check_kind(token, told)
        keyset = self.keysets.of(issuer)
        key = await keyset.key(token.kid, token.algorithm)
        jose.check_signature(token, key)
        principal = principal_of(told, issuer, identity, self._clock.now(), issuer.audiences if audiences is None else audiences)
        principal = replace(principal, token_id=principal.token_id or place[2].hex(), attributes={**principal.attributes, **token.noted})
        self._signed_by.put((principal.issuer, principal.token_id), token.kid)
        self._verdicts.accept(place, principal, principal.expires_at + claims.leeway_of(issuer), _unchanged(keyset))
        return principal


def principal_of(told: Mapping[str, Any], issuer: Issuer, identity: Identity, now: float, audiences: Collection[str]) -> Principal:
    """Rows 14 to 22 on signed claims, in order; what they say becomes the Principal."""
    claims.check_audience(told, audiences, issuer.single_audience)
    client = claims.client_of(told, issuer)
    times = claims.check_times(told, issuer, now)
    subject = claims.subject_of(told)
    groups = claims.groups_of(told, issuer)
    attributes: dict[str, Any] = dict(claims.bound_of(told, issuer))
    claims.check_confirmation(told, issuer.require_proof_of_possession or identity.require_proof_of_possession is not None)
    actors = claims.actors_of(told, issuer)
    purpose = claims.purpose_of(told, issuer)
    if purpose is not None:
        attributes["purpose"] = purpose
    token_id, acr = told.get("jti"), told.get("acr")
    return Principal(
        issuer=issuer.issuer,
        issuer_alias=issuer.name,
        subject=subject,
        kind=issuers.kind_of(issuer, told, client),
        client_id=client,
        groups=groups,
        actors=actors,
        owner=issuers.owner_of(identity, issuer, subject, actors),
        attributes=attributes,
        auth_time=claims.number(told.get("auth_time")),
        acr=acr if claims.is_name(acr) else None,
        amr=claims.texts(told.get("amr")),
        token_id=token_id if isinstance(token_id, str) and claims.is_name(token_id) else "",
        expires_at=times.expires,
    )


def _unchanged(keyset: KeySet) -> Any:
    """A verdict counts while the keys are those it was made with and not too stale to make it again."""
    generation = keyset.generation
    return lambda: keyset.generation == generation and keyset.is_usable
