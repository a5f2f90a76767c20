"""Reads a JSON Web Key Set, all or nothing.

A set with anything in it that should not be there (a shared secret, a private key, two keys with one name, a key for
another use) was not made by a provider that knows what it does, or not by the provider at all: the whole set is refused
and the old one stays. Keys that no algorithm of ours can use are passed over.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from addons.core.wire import strict_json

MAX_KID = 256
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
USES = ("sig",)
KNOWN_ELSEWHERE = ("enc",)  # Keycloak publishes its encryption keys beside the others: passed over, not refused
FITS: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class KeySetError(ValueError):
    """The set is not one we use. The text names the rule, never the content."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The public keys of an issuer at one moment: by name and by the algorithm they may check."""

    by_kid: Mapping[str, Mapping[str, PyJWK]]
    fingerprint: str


def parse(data: bytes, max_keys: int) -> Keys:
    """Return the usable keys of a set. Raises KeySetError."""
    try:
        document = strict_json.load_object(data)
    except strict_json.StrictJsonError as error:
        raise KeySetError("set-json") from error
    listed = document.get("keys")
    if not isinstance(listed, list) or not 1 <= len(listed) <= max_keys:
        raise KeySetError("set-size")
    by_kid: dict[str, Mapping[str, PyJWK]] = {}
    seen: set[str] = set()
    for jwk in listed:
        kid = _checked(jwk)
        if kid is None:
            continue
        if kid in seen:
            raise KeySetError("duplicate-kid")
        seen.add(kid)
        usable = _usable(jwk)
        if usable:
            by_kid[kid] = usable
    if not by_kid:
        raise KeySetError("no-usable-key")
    return Keys(by_kid, hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest())


def _checked(jwk: Any) -> str | None:
    """Return the key's name; None for a key to pass over. Raises KeySetError for one that spoils the set."""
    if not isinstance(jwk, dict):
        raise KeySetError("key-shape")
    if jwk.get("kty") == "oct" or PRIVATE_MEMBERS & set(jwk):
        raise KeySetError("secret-key")
    use = jwk.get("use", "sig")
    if use in KNOWN_ELSEWHERE:
        return None
    if use not in USES:
        raise KeySetError("key-use")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeySetError("key-operations")
    kid = jwk.get("kid")
    if kid is None:
        return None  # a token must name its key, so nothing can use this one
    if not isinstance(kid, str) or not 1 <= len(kid) <= MAX_KID:
        raise KeySetError("key-name")
    return kid


def _usable(jwk: Mapping[str, Any]) -> Mapping[str, PyJWK]:
    """The key, prepared for each algorithm that fits its type and its own `alg`."""
    kty, curve = jwk.get("kty"), jwk.get("crv")
    fitting = FITS.get((str(kty), None if kty == "RSA" else str(curve)), ())
    named = jwk.get("alg")
    try:
        return {name: PyJWK(dict(jwk), algorithm=name) for name in fitting if named is None or named == name}
    except (PyJWTError, TypeError, ValueError) as error:
        raise KeySetError("key-material") from error
