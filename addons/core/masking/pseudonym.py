"""Same value, same pseudonym, within one scope; and the keys it takes.

A pseudonym is 50 bits of HMAC-SHA-256 over the normalised value. Its key is derived from the masking key with the scope
and the type in the info, so that equal values in two scopes do not join. Small value spaces (SSN, phone) can be
enumerated by whoever can plant values and read them back: choose the narrowest scope that still joins what has to be
joined. For SECRET the scope is always the object that holds it: joins are for personal data, never an oracle over
somebody else's secrets.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from addons.core.masking.marks import base32

BODY = 10  # base32 characters: 50 bits
SEPARATORS: Mapping[int, None] = {ord(char): None for char in " -.\u00a0\u2011/()"}
COMPACT = frozenset({"CREDIT_CARD", "US_SSN", "US_ITIN", "IBAN_CODE"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, as far as pseudonyms care: service, session, and the object that holds it."""

    service: str = ""
    session: str = ""
    namespace: str = ""
    name: str = ""


@lru_cache(maxsize=4096)
def derive(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand-SHA-256(key, info, 32)."""
    return HKDFExpand(hashes.SHA256(), 32, info).derive(key)


def scope_of(scope: str, info_type: str, place: Place) -> tuple[str, ...]:
    """The parts of the scope that go into the key's info."""
    if info_type == "SECRET":
        return ("object", place.service, place.namespace, place.name)
    if scope == "service":
        return ("service", place.service)
    if scope == "session":
        return ("session", place.session)
    return ("tenant",)


def pseudonym(key: bytes, scope: tuple[str, ...], info_type: str, value: str) -> str:
    """The ten characters that stand for `value` (already normalised) in this scope."""
    info = "\0".join(("pseudonym", *scope, info_type)).encode("utf-8", "surrogatepass")
    digest = hmac.digest(derive(key, info), value.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base32(digest, BODY)


def normalise(info_type: str, value: str, region: str = "US") -> str:
    """One spelling per value, so that the same thing joins: e-mail lower-case, phone to E.164, numbers without separators."""
    if info_type == "EMAIL_ADDRESS":
        return value.strip().lower()
    if info_type in COMPACT:
        return value.translate(SEPARATORS).upper()
    if info_type == "PHONE_NUMBER":
        return _e164(value, region)
    return value


def _e164(value: str, region: str) -> str:
    import phonenumbers  # loaded by the warm-up; slow to import

    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return "".join(char for char in value if char.isdigit() or char == "+")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
