"""Which piece of work a request belongs to.

A caller may name its session; what we store is a hash of that name together with who says it, so nobody joins
another's session by guessing or copying its id, and an agent acting for a person has sessions of its own. A caller
that names none gets one per principal and client, until half an hour of quiet.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from addons.core.exchange import Principal
from addons.core.sessions.trace import acting_key

MAX_QUIET = 10_000  # callers remembered; the one that was silent for longest gets a new session
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class Named:
    """What the caller said of its session: a usable name or none, and whether it said something unusable."""

    name: str | None
    is_malformed: bool = False


def named(header: Sequence[str], baggage: Sequence[str]) -> Named:
    """Return the name that the caller gave: the header's, else the baggage's. What is no name counts as none."""
    told = list(header) or list(baggage)
    if not told:
        return Named(None)
    if len(told) == 1 and _NAME.match(told[0]):
        return Named(told[0])
    return Named(None, is_malformed=True)


def bound(principal: Principal, name: str) -> str:
    """Return the id under which this principal's session of this name is stored."""
    return _id("named", principal, name)


class Quiet:
    """The sessions of callers that name none: one per principal and client, as long as they are not quiet for too long."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def of(self, principal: Principal, quiet: float, now: float) -> str:
        """Return the caller's session, a new one after `quiet` seconds without a request."""
        who = (f"{principal.key}\n{acting_key(principal)}", principal.client_id or "")
        known = self._open.get(who)
        found = (
            known[0] if known is not None and now - known[1] < quiet else _id("quiet", principal, f"{principal.client_id or ''}\n{now!r}")
        )
        self._open[who] = (found, now)
        self._open.move_to_end(who)
        if len(self._open) > MAX_QUIET:
            self._open.popitem(last=False)
        return found


def _id(kind: str, principal: Principal, value: str) -> str:
    parts = "\0".join(("guardhouse session", kind, principal.key, acting_key(principal), value))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]
