"""Which of the 22 checks a token fails: the verifier's own functions, one after the other, without stopping at the first.

The gateway stops at the first failure and tells the caller little; whoever holds the token may know all. What is said
here are rows, slugs and what the policy files expect: never the token, and never a value out of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from addons.core.config.model import Identity, Issuer
from addons.core.errors import GuardhouseError
from addons.core.exchange import Principal
from addons.core.identity import claims, issuers, jose
from addons.core.identity.jose import Token
from addons.core.identity.jwks import KeySet
from addons.core.identity.verify import principal_of

NAMES: Mapping[int, str] = {
    1: "size and shape", 2: "header JSON", 3: "alg", 4: "crit, b64, zip, enc, cty", 5: "jku, x5u, jwk, x5c", 6: "kid", 7: "typ", 8: "not an ID token",
    9: "not an event", 10: "key", 11: "signature", 12: "payload JSON", 13: "iss", 14: "aud", 15: "azp, client_id", 16: "exp, iat, nbf",
    17: "lifetime", 18: "sub", 19: "groups", 20: "bound_claims", 21: "cnf", 22: "act",
}  # fmt: skip
ROW_OF = {"header-json": 2, "lifetime": 17}  # where one function answers for two rows: the slug of the second
WORDS: Mapping[str, str] = {
    "token-size": "longer than 16 KiB",
    "token-shape": "not three base64url parts; was it cut off when it was copied?",
    "header-json": "the header is not one strict JSON object",
    "payload-json": "the payload is not one strict JSON object",
    "key-unknown": "the issuer's set has no key of this name; was the token made before the issuer was restarted?",
    "key-algorithm": "the key does not fit the algorithm",
    "signature": "the signature is not this key's",
    "times": "missing, or not numbers",
    "expired": "the token has expired; get a fresh one",
    "not-yet-valid": "not valid yet; compare the clocks",
    "id-token": "this is an ID token; send the access token",
    "security-event": "this is a logout or security event",
    "groups-overage": "the provider only points at the groups; let it send them",
    "proof-missing": "bound to a key, so it does not count as a bearer token",
    "proof-required": "not bound to a key, and the policy files demand it",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table."""

    row: int
    state: str  # ok | fails | note | unknown (the keys cannot be had) | skipped
    says: str = ""

    @property
    def name(self) -> str:
        return NAMES[self.row]


@dataclass(frozen=True, slots=True)
class Examination:
    """All 22 rows, and who it would be if every one holds."""

    findings: tuple[Finding, ...]
    principal: Principal | None = None

    @property
    def is_good(self) -> bool:
        return self.principal is not None


class _Rows:
    """Collects findings; a row that nobody looked at is skipped."""

    def __init__(self) -> None:
        self.found: dict[int, Finding] = {}

    def look(self, row: int, check: Callable[[], Any], hint: str = "", also: int | None = None) -> Any:
        """Run one check for its row (and the row after it, where it answers for two); None when it fails."""
        try:
            made = check()
        except GuardhouseError as error:
            failed = ROW_OF.get(error.detail, row)
            if failed != row:
                self.found[row] = Finding(row, "ok")
            self.found[failed] = Finding(failed, "fails", WORDS.get(error.detail) or hint or error.detail)
            return None
        for one in (row, also):
            if one is not None:
                self.found[one] = Finding(one, "ok")
        return made

    def note(self, row: int, state: str, says: str) -> None:
        self.found[row] = Finding(row, state, says)

    def all(self) -> tuple[Finding, ...]:
        return tuple(self.found.get(row, Finding(row, "skipped", "cannot be looked at")) for row in NAMES)


async def examine(
    text: str, identity: Identity, audiences: tuple[str, ...] | None, keyset_of: Callable[[Issuer], KeySet], now: float
) -> Examination:
    """Look at a token under all rows. `audiences` is None for the data path (each issuer has its own)."""
    rows = _Rows()
    token: Token | None = rows.look(1, partial(jose.split, text), also=2)
    if token is None:
        return Examination(rows.all())
    brought = [name for name in jose.FOREIGN_KEY_PARAMETERS if name in token.header]
    ignored = f"{', '.join(brought)} is there and ignored: a key that a token brings along is never used" if brought else ""
    rows.note(5, "note" if ignored else "ok", ignored)
    rows.look(4, partial(jose.check_parameters, token), "a parameter is there that is never accepted")
    rows.look(6, partial(jose.check_key_id, token), "missing, or not printable ASCII of at most 256 characters")
    told = rows.look(12, partial(claims.parse, token.payload))
    if told is None:
        return Examination(rows.all())
    _kinds(rows, token, told)
    known = ", ".join(issuer.issuer for issuer in identity.issuers)
    issuer: Issuer | None = rows.look(
        13, partial(issuers.select, identity, told.get("iss")), f"not exactly one of the configured issuers: {known}"
    )
    if issuer is None:
        return Examination(rows.all())
    accepted = issuer.audiences if audiences is None else audiences
    _header(rows, token, issuer)
    await _signed(rows, token, keyset_of(issuer))
    _claims(rows, told, issuer, identity, accepted, now)
    if any(finding.state not in ("ok", "note") for finding in rows.all()):
        return Examination(rows.all())
    return Examination(rows.all(), principal_of(told, issuer, identity, now, accepted))


def _kinds(rows: _Rows, token: Token, told: Mapping[str, Any]) -> None:
    rows.look(8, partial(jose.check_no_id_token, token, told))
    rows.look(9, partial(jose.check_no_event, told))


def _header(rows: _Rows, token: Token, issuer: Issuer) -> None:
    rows.look(3, partial(jose.check_algorithm, token, issuer), f"expected one of {', '.join(sorted(issuer.signing_algorithms))}")
    rows.look(7, partial(jose.check_type, token, issuer), f"expected one of {', '.join(sorted(jose.accepted_types(issuer)))}")


async def _signed(rows: _Rows, token: Token, keyset: KeySet) -> None:
    """Rows 10 and 11: only where the header names a key and an algorithm that may be looked up."""
    if any(rows.found[row].state != "ok" for row in (3, 6)):
        return
    try:
        key = await keyset.key(token.kid, token.algorithm)
    except GuardhouseError as error:
        is_ours = error.code == "identity-unavailable"
        says = "the issuer's keys cannot be had from here" if is_ours else WORDS.get(error.detail, error.detail)
        rows.note(10, "unknown" if is_ours else "fails", says)
        return
    rows.note(10, "ok", "")
    rows.look(11, partial(jose.check_signature, token, key))


def _claims(rows: _Rows, told: Mapping[str, Any], issuer: Issuer, identity: Identity, accepted: tuple[str, ...], now: float) -> None:
    must_be_bound = issuer.require_proof_of_possession or identity.require_proof_of_possession is not None
    single = " alone" if issuer.single_audience else ""
    rows.look(14, partial(claims.check_audience, told, accepted, issuer.single_audience), f"expected {' or '.join(accepted)}{single}")
    parties = issuer.authorized_parties
    expected = "the two differ, or are no names" if parties is None else f"expected one of {', '.join(parties)}"
    rows.look(15, partial(claims.client_of, told, issuer), expected)
    lifetime = f"made to live longer than {issuer.max_token_lifetime:g} s, or made in the future"
    rows.look(16, partial(claims.check_times, told, issuer, now), lifetime, also=17)
    rows.look(18, partial(claims.subject_of, told), "missing, or not a name of 1 to 255 characters")
    rows.look(19, partial(claims.groups_of, told, issuer), f"{issuer.groups_claim} is not a list of names")
    wanted = ", ".join(f"{name} like {value}" for name, value in issuer.bound_claims.items())
    rows.look(20, partial(claims.bound_of, told, issuer), f"expected {wanted}")
    rows.look(21, partial(claims.check_confirmation, told, must_be_bound))
    rows.look(22, partial(claims.actors_of, told, issuer), "act is not a chain of at most 8 actors with a sub")
