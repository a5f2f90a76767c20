"""Rows 12 to 22 of the check table (design/identity.md 3.2): what the signed claims must say, one function a row.

Every function takes the claims and the issuer's terms, and either returns what it read or refuses with the slug of its
row. Nothing is repaired: a number in a string, a list where a string belongs, a control character in a name are all no.
"""

import fnmatch
import math
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.core.config.model import Issuer
from addons.core.exchange import Actor
from addons.core.identity import challenge
from addons.core.wire import strict_json

MAX_AUDIENCES = 10
MAX_SUBJECT = 255  # OpenID Connect Core section 2
MAX_GROUPS = 1000
MAX_ACTORS = 8
MAX_TIME = 2**53  # beyond it a float no longer counts seconds
MAX_LEEWAY = 120.0
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Times:
    """When a token counts."""

    issued: float
    expires: float


def parse(payload: bytes) -> dict[str, Any]:
    """Row 12: one unambiguous JSON object."""
    try:
        return strict_json.load_object(payload)
    except strict_json.StrictJsonError as error:
        raise challenge.invalid("payload-json") from error


def check_audience(claims: Mapping[str, Any], accepted: Collection[str], single: bool) -> None:
    """Row 14: the token is for us. A token for another audience is somebody else's, however well signed."""
    told = claims.get("aud")
    audiences = [told] if isinstance(told, str) else told
    if not isinstance(audiences, list) or not 1 <= len(audiences) <= MAX_AUDIENCES or not all(isinstance(item, str) for item in audiences):
        raise challenge.invalid("audience")
    if single and len(audiences) != 1:
        raise challenge.invalid("audience")
    if not set(audiences) & set(accepted):
        raise challenge.invalid("audience", f"The token is for another audience. Get one for {' or '.join(sorted(accepted))}.")


def client_of(claims: Mapping[str, Any], issuer: Issuer) -> str | None:
    """Row 15: the client that got the token, within `authorized_parties` where the file lists them."""
    mapped = mapped_claim(claims, issuer, "client_id")
    named = [claims[name] for name in ("client_id", "azp") if name in claims]
    parties = named if mapped is None else [mapped, *named]
    if any(not is_name(party) for party in parties) or len(set(named)) > 1:
        raise challenge.invalid("authorized-party")
    client: str | None = parties[0] if parties else None
    if issuer.authorized_parties is not None and client not in issuer.authorized_parties:
        raise challenge.invalid("authorized-party")
    return client


def check_times(claims: Mapping[str, Any], issuer: Issuer, now: float) -> Times:
    """Rows 16 and 17: real numbers, not expired, valid already, and not made to live for ever."""
    issued, expires, begins = (_time(claims, name) for name in ("iat", "exp", "nbf"))
    if issued is None or expires is None:
        raise challenge.invalid("times")
    leeway = leeway_of(issuer)
    if now >= expires + leeway:
        raise challenge.expired("expired")
    if begins is not None and begins > now + leeway:
        raise challenge.expired("not-yet-valid")
    if issued > now + leeway or expires - issued > issuer.max_token_lifetime:
        raise challenge.invalid("lifetime")
    return Times(issued, expires)


def leeway_of(issuer: Issuer) -> float:
    """How far the clocks may differ; never more than two minutes, whatever the file says."""
    return min(issuer.leeway, MAX_LEEWAY)


def subject_of(claims: Mapping[str, Any]) -> str:
    """Row 18: a name that cannot be mistaken for another when it is shown."""
    subject = claims.get("sub")
    if not is_name(subject):
        raise challenge.invalid("subject")
    assert isinstance(subject, str)
    return subject


def groups_of(claims: Mapping[str, Any], issuer: Issuer) -> tuple[str, ...]:
    """Row 19: the groups, prefixed with the issuer's alias. A provider that only points at its groups is refused, not "no groups"."""
    pointed = claims.get("_claim_names")
    root = issuer.groups_claim.split(".", 1)[0]
    if claims.get("hasgroups") or (isinstance(pointed, Mapping) and (issuer.groups_claim in pointed or root in pointed)):
        raise challenge.invalid("groups-overage")
    is_there, groups = find(claims, issuer.groups_claim)
    if not is_there:
        return ()
    if not isinstance(groups, list) or len(groups) > MAX_GROUPS or not all(is_name(group) for group in groups):
        raise challenge.invalid("groups")
    return tuple(dict.fromkeys(f"{issuer.name}:{group}" for group in groups))


def bound_of(claims: Mapping[str, Any], issuer: Issuer) -> dict[str, str]:
    """Row 20: every configured claim is there and matches, exactly or as a glob. Policy may read what was bound."""
    bound: dict[str, str] = {}
    for name, wanted in issuer.bound_claims.items():
        is_there, value = find(claims, name)
        if not is_there or not isinstance(value, str) or not fnmatch.fnmatchcase(value, wanted):
            raise challenge.invalid("bound-claim")
        bound[name] = value
    return bound


def check_confirmation(claims: Mapping[str, Any], must_be_bound: bool) -> None:
    """Row 21: a token bound to a key is never a plain bearer token; and where binding is demanded, an unbound one is nothing."""
    if "cnf" in claims:
        raise challenge.proof("proof-missing")
    if must_be_bound:
        raise challenge.proof("proof-required")


def actors_of(claims: Mapping[str, Any], issuer: Issuer) -> tuple[Actor, ...]:
    """Row 22: who acts for the subject (RFC 8693 section 4.1), the current actor first. A missing `iss` inherits the token's."""
    mapped = mapped_claim(claims, issuer, "actors")
    told: Any = claims.get("act") if mapped is None else mapped
    if told is None and "act" not in claims:
        return ()
    if isinstance(told, str) and mapped is not None:
        told = {"sub": told}
    chain: list[Actor] = []
    while told is not None:
        if not isinstance(told, Mapping) or len(chain) == MAX_ACTORS or not is_name(told.get("sub")):
            raise challenge.invalid("act")
        named_by = told.get("iss", issuer.issuer)
        if not is_name(named_by):
            raise challenge.invalid("act")
        chain.append(Actor(named_by, told["sub"]))
        if "act" in told and told["act"] is None:
            raise challenge.invalid("act")
        told = told.get("act")
    if not chain:
        raise challenge.invalid("act")
    return tuple(chain)


def purpose_of(claims: Mapping[str, Any], issuer: Issuer) -> Any:
    """The signed purpose: mapped claim, `purpose`, or RFC 9396 `authorization_details[].purpose`. Judged by the session step."""
    mapped = mapped_claim(claims, issuer, "purpose")
    if mapped is not None:
        return mapped
    if "purpose" in claims:
        return claims["purpose"]
    details = claims.get("authorization_details")
    told = [item["purpose"] for item in details if isinstance(item, Mapping) and "purpose" in item] if isinstance(details, list) else []
    if not told:
        return None
    return told[0] if all(item == told[0] for item in told) else told


def mapped_claim(claims: Mapping[str, Any], issuer: Issuer, wanted: str) -> Any:
    """The value of the provider's claim that the file maps to this word, else None."""
    for name, word in issuer.claim_mappings.items():
        if word == wanted:
            is_there, value = find(claims, name)
            if is_there:
                return value
    return None


def find(claims: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Look up a claim by its exact name, else as a dotted path (`realm_access.roles`)."""
    if path in claims:
        return True, claims[path]
    here: Any = claims
    for name in path.split("."):
        if not isinstance(here, Mapping) or name not in here:
            return False, None
        here = here[name]
    return True, here


def is_name(value: Any) -> bool:
    """True for a string that can name somebody: 1 to 255 characters, no control, direction or surrogate characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_SUBJECT:
        return False
    return (value.isascii() and value.isprintable()) or not any(_is_deceptive(char) for char in value)


def texts(value: Any) -> tuple[str, ...]:
    """A list of names as a tuple; anything else is nothing (for claims that can only narrow)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(is_name(item) for item in value):
        return ()
    return tuple(value)


def number(value: Any) -> float | None:
    """A point in time, None when it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < MAX_TIME and math.isfinite(value) else None


def _is_deceptive(char: str) -> bool:
    return char in _BIDI or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    found = number(claims[name])
    if found is None:
        raise challenge.invalid("times")
    return found
