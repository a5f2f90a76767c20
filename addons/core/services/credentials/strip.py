"""What a caller may not say to an upstream: who it is, where it comes from, which method it "really" means.

Upstreams believe such headers because a gateway is supposed to have set them. So whatever comes from outside under
these names is removed, in every spelling: names are compared in lower case with `_` as `-`, because many servers fold
both into one variable. The caller's own credential is one of them: it never goes upstream. The table itself stands in
`addons.core.config.stripped`, because configuration refuses its names elsewhere; here are further ones that some servers believe.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from addons.core.config import stripped

FURTHER = frozenset(
    {
        "x-original-uri", "x-original-host", "x-forwarded", "remote-user", "remote-groups", "remote-email", "remote-name", "x-client-ip",
        "true-client-ip", "x-cluster-client-ip", "cf-connecting-ip",
    }
)  # fmt: skip
FURTHER_PREFIXES = ("x-authenticated-", "x-ssl-client-")
HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "upgrade"})
METHOD_OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
KEPT_ALWAYS = frozenset(
    {"host", "content-length", "transfer-encoding", "content-type"}
)  # framing and routing are not the caller's to unsay
EXPECTED = frozenset(
    {"authorization", "x-api-key", "connection", "keep-alive", "te", "cookie"}
)  # removed without a note: ordinary requests have them
_SAFE_NAME = re.compile(r"[a-z0-9-]{1,64}\Z")

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Stripped:
    """The fields that are left, and a short note for each that should not have been there."""

    fields: Fields
    notes: tuple[str, ...] = ()


def strip(fields: Iterable[tuple[bytes, bytes]], cookies: Collection[str] = (), method_override: bool = False) -> Stripped:
    """Remove what may not go upstream. `cookies` are the names that the service lists; all others are removed."""
    every = tuple(fields)
    listed = connection_options(every)
    kept: list[tuple[bytes, bytes]] = []
    notes: dict[str, None] = {}
    for name, value in every:
        folded = fold(name)
        if folded == "cookie":
            value = only_cookies(value, cookies)
            if value:
                kept.append((name, value))
            continue
        if folded in KEPT_ALWAYS or not is_stripped(folded, listed, method_override):
            kept.append((name, value))
        elif folded not in EXPECTED or b"_" in name:
            notes[f"stripped:{folded if _SAFE_NAME.match(folded) else 'unprintable'}"] = None
    return Stripped(tuple(kept), tuple(notes))


def is_stripped(folded: str, listed: Collection[str] = (), method_override: bool = False) -> bool:
    """True when a header of this name (see `fold`) may not go upstream."""
    if folded in METHOD_OVERRIDES:
        return not method_override
    return (
        stripped.is_stripped(folded) or folded in FURTHER or folded.startswith(FURTHER_PREFIXES) or folded in HOP_BY_HOP or folded in listed
    )


def fold(name: bytes) -> str:
    """The name as servers that are not careful see it: lower case, `_` the same as `-`."""
    return name.decode("latin-1").lower().replace("_", "-")


def connection_options(fields: Iterable[tuple[bytes, bytes]]) -> frozenset[str]:
    """The names that `Connection` marks as hop-by-hop (RFC 9110 section 7.6.1)."""
    values = (value for name, value in fields if fold(name) in ("connection", "proxy-connection"))
    return frozenset(fold(option.strip()) for value in values for option in value.split(b",") if option.strip()) - KEPT_ALWAYS


def only_cookies(value: bytes, names: Collection[str]) -> bytes:
    """The cookies that the service lists, joined as RFC 6265 section 4.2.1 has them."""
    pairs = (pair.strip() for pair in value.split(b";"))
    return b"; ".join(pair for pair in pairs if pair.split(b"=", 1)[0].strip().decode("latin-1") in names)
