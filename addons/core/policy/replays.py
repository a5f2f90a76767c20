"""A replay reads: it never writes, whatever the rules would allow the investigator.

A recorded request that is sent again is somebody's curiosity and not the caller's intent (design/audit.md 3.13). The
mark was verified by identity; a caller who leaves the mark out is no replay, and is judged like anybody.
"""

from addons.core.errors import PolicyDeniedError
from addons.core.exchange import Access, Exchange

SENTENCE = "A replay does not write. Send the request as your own, without Guardhouse-Replay-Of, if you mean it."


def check(record: Exchange) -> None:
    """Raise PolicyDeniedError `replay-write` for a replayed request that does more than read."""
    if record.replay_of is None:
        return
    if record.operation is None or record.operation.access != frozenset({Access.READ}):
        raise PolicyDeniedError(SENTENCE, code="replay-write")
