"""Whether a request may say that it replays a recorded one (`Guardhouse-Replay-Of`).

Only an investigator's replay is one: it is bound to the recorded flow in the audit and never writes. From anybody else
the header means nothing; it is dropped and noted.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from addons.core.exchange import Principal

HEADER = "Guardhouse-Replay-Of"


@dataclass(frozen=True, slots=True)
class Replay:
    """The recorded flow that is replayed, or why there is none."""

    flow_id: str | None = None
    note: str | None = None


def decide(values: Sequence[str], principal: Principal, investigators: Collection[str]) -> Replay:
    """Return the flow's id when the caller is an investigator and names one flow, canonically."""
    if not values:
        return Replay()
    if not set(principal.groups) & set(investigators):
        return Replay(note="dropped:replay-of")
    if len(values) != 1 or not _is_id(values[0]):
        return Replay(note="malformed:replay-of")
    return Replay(values[0])


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
