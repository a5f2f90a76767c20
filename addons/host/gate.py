"""What the host remembers of a live flow and never writes into its metadata: the Gate.

A flow starts blocked. The guard notes each step that ended normally; `host.departure` alone unblocks. Metadata can be
forged by a file that is replayed; this cannot, because it lives beside the flow object and not in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mitmproxy import flow as mitmflow

from addons.core.config.model import Snapshot
from addons.core.errors import GuardhouseError

if TYPE_CHECKING:
    from addons.host.streams import StreamGuard


@dataclass(slots=True)
class Gate:
    """The state of one flow at the door."""

    snapshot: Snapshot | None  # pinned when the guard first saw the flow
    steps: list[str] = field(default_factory=list)  # "addon-name.hook", in the order in which they ended normally
    fingerprint: bytes | None = None  # of the request without its body, taken right after masking.Prepare
    body: bytes | None = None  # the body as it stood then; kept by mitmproxy anyway, so this is a reference
    injected: Mapping[str, str] = field(default_factory=dict)  # header name (lower case) -> what credentials put there
    scrub: tuple[bytes, ...] = ()  # the injected secret in every spelling, to be removed from answers
    intent_seq: int | None = None  # the durable intent
    departed: bool = False  # the only door out was passed
    closes: bool = False  # an HTTP/1 client asked for `Connection: close`, which is stripped before the upstream sees it
    gone: bool = False  # the client left or reset its stream: nothing may be sent for it any more
    receipt: bool = False  # masking.Apply has seen the whole answer
    received: Mapping[str, str | int] | None = None  # HMAC and length of the raw answer, before masking
    stream: "StreamGuard | None" = None  # what the answer passes through, when it passes as a stream (made by masking.Apply)
    terminal: bool = False  # audit has written the one terminal event
    refusal: GuardhouseError | None = None  # what we answered, if we did


_GATES: WeakKeyDictionary[mitmflow.Flow, Gate] = WeakKeyDictionary()


def find(flow: mitmflow.Flow) -> Gate | None:
    """Return the gate of a flow, None when the guard has not seen it."""
    return _GATES.get(flow)


def of(flow: mitmflow.Flow) -> Gate:
    """Return the gate of a flow the guard has seen. KeyError otherwise: closed."""
    return _GATES[flow]


def put(flow: mitmflow.Flow, gate: Gate) -> None:
    """Remember a flow for as long as mitmproxy keeps it."""
    _GATES[flow] = gate
