"""Rows 1 to 11 of the check table (design/identity.md 3.2): the token's shape, its header, its signature.

PyJWT checks signatures and nothing else here: it never looks at `typ`, lets the last of two equal JSON keys win, takes
numbers as strings and ignores `cnf`. So the bytes are split and parsed by our own strict parser, and PyJWT gets the
same bytes only to check the signature over them. The header decides nothing by itself: it can only be refused.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jwt import PyJWK
from jwt.api_jws import PyJWS

from addons.core.config.model import Issuer
from addons.core.identity import challenge
from addons.core.wire import strict_json

MAX_TOKEN = 16 << 10  # Kubernetes and Entra reach 4-8 KiB
MAX_HEADER = 2 << 10
MAX_KID = 256
ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "ES384", "EdDSA"})  # asymmetric only: a shared secret signs for everybody who checks
FORBIDDEN_PARAMETERS = ("crit", "b64", "zip", "enc")  # no extensions, no detached payload, no JWE
FOREIGN_KEY_PARAMETERS = ("jku", "x5u", "jwk", "x5c")  # a key that the token brings along is never used
OTHER_KINDS = frozenset({"logout+jwt", "dpop+jwt", "secevent+jwt", "id_token+jwt"})
_PART = re.compile(rb"[A-Za-z0-9_-]+\Z")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,256}\Z")
_JWS = PyJWS(algorithms=sorted(ALGORITHMS), options={"enforce_minimum_key_length": True})


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT taken apart, nothing of it verified yet."""

    raw: bytes
    header: Mapping[str, Any]
    payload: bytes

    @property
    def noted(self) -> dict[str, list[str]]:
        """Row 5: the keys that the token brought along, by the names of their parameters. Never followed; the audit tells of them."""
        found = [name for name in FOREIGN_KEY_PARAMETERS if name in self.header]
        return {"foreign_keys": found} if found else {}

    @property
    def algorithm(self) -> str:
        return str(self.header["alg"])

    @property
    def kid(self) -> str:
        return str(self.header["kid"])


def looks_like_jwt(text: str) -> bool:
    """True when the text has the three parts of a JWT. Says nothing about its worth."""
    return text.count(".") == 2


def split(text: str) -> Token:
    """Rows 1 and 2: size, three base64url parts without padding or stray bits, a strict JSON header."""
    if len(text) > MAX_TOKEN:
        raise challenge.malformed("token-size")
    parts = text.encode("utf-8", "surrogatepass").split(b".")
    if len(parts) != 3 or not all(_PART.match(part) for part in parts):
        raise challenge.invalid("token-shape")
    if len(parts[0]) > MAX_HEADER:
        raise challenge.invalid("token-shape")
    header_bytes, payload, _ = (_decode(part) for part in parts)
    try:
        header = strict_json.load_object(header_bytes)
    except strict_json.StrictJsonError as error:
        raise challenge.invalid("header-json") from error
    return Token(b".".join(parts), header, payload)


def check_header(token: Token, issuer: Issuer) -> None:
    """Rows 3 to 7: the algorithm, no extensions, a usable `kid`, the right kind of token. (Row 5 is only noted: `Token.noted`.)"""
    check_algorithm(token, issuer)
    check_parameters(token)
    check_key_id(token)
    check_type(token, issuer)


def check_algorithm(token: Token, issuer: Issuer) -> None:
    """Row 3: one of the issuer's, and asymmetric."""
    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or algorithm not in issuer.signing_algorithms:
        raise challenge.invalid("algorithm")


def check_parameters(token: Token) -> None:
    """Row 4: no extensions, no detached or compressed payload, nothing nested."""
    if any(name in token.header for name in FORBIDDEN_PARAMETERS) or _is_nested(token.header.get("cty")):
        raise challenge.invalid("header-parameter")


def check_key_id(token: Token) -> None:
    """Row 6: a printable `kid`, before anything is looked up by it."""
    kid = token.header.get("kid")
    if not isinstance(kid, str) or not _PRINTABLE.match(kid):
        raise challenge.invalid("key-id")


def check_type(token: Token, issuer: Issuer) -> None:
    """Row 7: an access token."""
    kind = token.header.get("typ")
    if not isinstance(kind, str) or kind not in accepted_types(issuer):
        raise challenge.invalid("token-type")


def check_kind(token: Token, claims: Mapping[str, Any]) -> None:
    """Rows 8 and 9: no ID token, no logout or security event, whatever its `typ` says."""
    check_no_id_token(token, claims)
    check_no_event(claims)


def check_no_id_token(token: Token, claims: Mapping[str, Any]) -> None:
    """Row 8: an ID token tells its client who signed in; it opens nothing."""
    if token.header.get("typ") not in ("at+jwt", "application/at+jwt") and ("nonce" in claims or "at_hash" in claims):
        raise challenge.invalid("id-token")


def check_no_event(claims: Mapping[str, Any]) -> None:
    """Row 9: a logout or security event is no access token."""
    if "events" in claims:
        raise challenge.invalid("security-event")


def check_signature(token: Token, key: PyJWK) -> bytes:
    """Row 11: return the payload bytes that this key signed. Any exception at all is a refusal."""
    try:
        decoded = _JWS.decode_complete(token.raw, key, algorithms=[token.algorithm])
    except Exception as error:  # PyJWT raises TypeError on some key and algorithm confusions
        raise challenge.invalid("signature") from error
    payload = decoded["payload"]
    if payload != token.payload:
        raise challenge.invalid("signature")
    return token.payload


def accepted_types(issuer: Issuer) -> frozenset[str]:
    """The `typ` values that this issuer's access tokens may have (RFC 9068; `JWT` only where the file says so)."""
    names = {name.removeprefix("application/") for name in issuer.token_types} - OTHER_KINDS
    return frozenset(names | {f"application/{name}" for name in names if name != "JWT"})


def _is_nested(content_type: Any) -> bool:
    return content_type is not None and (not isinstance(content_type, str) or content_type.lower().removeprefix("application/") == "jwt")


def _decode(part: bytes) -> bytes:
    """Decode one part; a part that another base64url text also stands for is refused (stray bits in the last character)."""
    try:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as error:
        raise challenge.invalid("token-shape") from error
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise challenge.invalid("token-shape")
    return decoded
