"""Which credential a request brings: exactly one, in exactly one place.

Two credentials are two answers to "who is this?", and a token in the query stands in logs and histories. So anything
but one `Authorization: Bearer` or one `X-Api-Key` is refused before a single byte of it is looked at.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from addons.core.identity import challenge

API_KEY_PREFIX = "gh_"
QUERY_NAMES = frozenset({"access_token"})  # RFC 6750 section 2.3, which nobody should use
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?: (.*))?\Z", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential as it came, nothing of it verified. Its value is kept out of every repr."""

    scheme: str  # bearer | api_key
    value: str = field(repr=False)


def pick(fields: Iterable[tuple[str, str]], query: str = "") -> Presented:
    """Return the one credential among these header fields. Raises ValidationError or AuthenticationError with a challenge."""
    authorization, api_key = [], []
    for name, value in fields:
        lowered = name.lower()
        if lowered == "authorization":
            authorization.append(value)
        elif lowered == "x-api-key":
            api_key.append(value)
    if len(authorization) + len(api_key) > 1:
        raise challenge.ambiguous("two-credentials")
    if query and any(name.lower() in QUERY_NAMES for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise challenge.ambiguous("token-in-query")
    for value in (*authorization, *api_key):
        if _CONTROL.search(value):
            raise challenge.malformed("control-byte")
    if api_key:
        return Presented("api_key", api_key[0])
    if not authorization:
        raise challenge.required()
    return _from_authorization(authorization[0])


def _from_authorization(value: str) -> Presented:
    match = _SCHEME.match(value)
    if match is None:
        raise challenge.required("scheme")
    scheme, token = match[1].lower(), match[2] or ""
    if scheme == "dpop":
        raise challenge.proof("dpop-not-served")
    if scheme != "bearer":
        raise challenge.required("scheme")
    if not _TOKEN68.match(token):
        raise challenge.invalid("token-shape")
    return Presented("api_key" if token.startswith(API_KEY_PREFIX) and token.count(".") != 2 else "bearer", token)
