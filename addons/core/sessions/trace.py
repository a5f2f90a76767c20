"""Where a request stands in a W3C trace, and whether the parent it names is really its parent.

Each flow gets a span id of ours, and the upstream receives it. A span id is 28 bits of a counter and 36 bits of an HMAC
over the trace, the one who acted and the counter: so when a request names one of ours as its parent, we can tell
without a look-up whether we issued it, and to whom. Issued to somebody the caller acts for (or who acts in its chain,
or who owns it), it is a *verified child*: an agent's work below its principal's. Any other parent is only a claim.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from addons.core.config.model import Identity
from addons.core.errors import ValidationError
from addons.core.exchange import Principal, Trace

MAX_STATE, MAX_STATE_MEMBERS = 512, 32  # W3C Trace Context section 3.3.1
COUNTER_BITS, MAC_BITS = 28, 36
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A traceparent that can be read."""

    trace_id: str
    parent_id: str
    flags: str


@dataclass(frozen=True, slots=True)
class Started:
    """The trace of this flow, and the headers that the upstream receives."""

    trace: Trace
    traceparent: str
    tracestate: str | None = None
    note: str | None = None  # what was wrong with what came


class Spans:
    """Issues span ids and recognises them. One per process; the counter starts at a random place."""

    def __init__(self, key: bytes, start: int) -> None:
        self._key = key
        self._counter = start % (1 << COUNTER_BITS)

    def issue(self, trace_id: str, acting: str) -> str:
        """Return a new span id for whoever acts (`acting_key`). Never the zero id, which means "none"."""
        while True:
            self._counter = (self._counter + 1) % (1 << COUNTER_BITS)
            span = f"{self._counter:07x}{self._mac(trace_id, acting, self._counter):09x}"
            if int(span, 16):
                return span

    def issued_to(self, span_id: str, trace_id: str, acting: str) -> bool:
        """True when we issued this span of this trace to this one."""
        counter, mac = int(span_id[:7], 16), span_id[7:]
        return hmac.compare_digest(f"{self._mac(trace_id, acting, counter):09x}", mac)

    def _mac(self, trace_id: str, acting: str, counter: int) -> int:
        message = "\0".join((trace_id, acting, str(counter))).encode("utf-8", "surrogatepass")
        return int.from_bytes(hmac.digest(self._key, message, "sha256")[:8], "big") >> (64 - MAC_BITS)


def parse(values: Sequence[str]) -> Incoming | None:
    """Read a traceparent strictly; None for what is not one. Two of them are two readings: 400."""
    if len(values) > 1:
        raise ValidationError("Send one traceparent header.", detail="traceparent-repeated")
    match = _PARENT.match(values[0]) if values else None
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None) or not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return Incoming(trace_id, parent_id, flags if version == "00" else f"{int(flags, 16) & 1:02x}")


def start(
    parents: Sequence[str], states: Sequence[str], principal: Principal, identity: Identity, spans: Spans, new_trace_id: Callable[[], str]
) -> Started:
    """Return the trace of a flow: a child of what came, or the root of a new trace."""
    incoming = parse(parents)
    if incoming is None:
        trace_id = new_trace_id()
        span = spans.issue(trace_id, acting_key(principal))
        note = "traceparent-malformed" if parents else None
        return Started(Trace(trace_id, span), f"00-{trace_id}-{span}-01", None, note)
    span = spans.issue(incoming.trace_id, acting_key(principal))
    verified = any(spans.issued_to(incoming.parent_id, incoming.trace_id, who) for who in acts_for(principal, identity))
    trace = Trace(incoming.trace_id, span, incoming.parent_id, verified)
    state = state_of(states)
    note = "tracestate-dropped" if states and state is None else None
    return Started(trace, f"00-{incoming.trace_id}-{span}-{incoming.flags}", state, note)


def state_of(values: Sequence[str]) -> str | None:
    """The tracestate to pass on, None when there is none or it is too long to be one."""
    text = ",".join(values)
    if not text or len(text) > MAX_STATE or text.count(",") >= MAX_STATE_MEMBERS or not (text.isascii() and text.isprintable()):
        return None
    return text


def acting_key(principal: Principal) -> str:
    """Who acts right now: the current actor, else the subject itself."""
    if principal.actors:
        return f"{principal.actors[0].issuer}\n{principal.actors[0].subject}"
    return principal.key


def acts_for(principal: Principal, identity: Identity) -> Iterable[str]:
    """Whose spans are verified parents of this principal's: its subject, everybody in its act chain, its owner."""
    yield principal.key
    for actor in principal.actors:
        yield f"{actor.issuer}\n{actor.subject}"
    if principal.owner is not None:
        alias, _, subject = principal.owner.partition(":")
        for issuer in identity.issuers:
            if issuer.name == alias:
                yield f"{issuer.issuer}\n{subject}"
