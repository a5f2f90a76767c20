"""Find the events of a trace, a session or a flow, and whether the log has every event of their range; `tree` draws them.

An id is tried as a trace, as a flow (whose trace is then meant), as a session. Whole traces are read, also where a
session saw only a part of one: a link into another session is what an investigator looks for.
"""

from collections.abc import Collection
from typing import Any

from addons.core.audit.columns import pack_id
from addons.core.audit.events import KINDS
from addons.core.audit.query import QueryError
from addons.core.audit.reader import Reader
from addons.core.audit.store import StoredEvent
from addons.core.audit.tree import Forest, grow

MAX_EVENTS = 5000  # of one tree: more is no picture any more
MAX_TRACES = 500  # SQLite takes 32,766 values; a page takes far fewer
PAGE = 20  # events read at once, bodies and all
NOT_DRAWN = "kind NOT IN ({}, {}, {})".format(*(KINDS[name] for name in ("read", "export", "chunk")))  # looking is no part of what was done
SHOWN = frozenset({"principal", "purpose", "path", "operation", "reviewers", "reason"})


class NoSuchTree(QueryError):
    """Nothing has this id."""


def tree(reader: Reader, id: str) -> Forest:
    """Return the task tree of a trace, a session or a flow. Raises NoSuchTree, QueryError when it is too large, TamperedError when a leaf differs."""
    what, events = _found(reader, id)
    seqs = [event.seq for event in events]
    return grow(id, what, events, missing(reader, min(seqs), max(seqs)))


def missing(reader: Reader, first: int, last: int) -> int:
    """How many numbers of this range stand for no event and no tombstone."""
    with reader.reading() as db:
        there = int(db.execute("SELECT count(*) FROM event WHERE seq BETWEEN ? AND ?", (first, last)).fetchone()[0])
        stones = "SELECT count(*) FROM tombstone t WHERE t.seq BETWEEN ? AND ? AND NOT EXISTS (SELECT 1 FROM event e WHERE e.seq = t.seq)"
        return max(0, last - first + 1 - there - int(db.execute(stones, (first, last)).fetchone()[0]))


def _found(reader: Reader, id: str) -> tuple[str, list[StoredEvent]]:
    key = pack_id(id)
    traced = _read(reader, "trace = ?", [key])
    if any(event.stage != "Mark" for event in traced):
        return "trace", _with_flows(reader, traced)
    of_flow = _read(reader, "flow = ?", [key])
    if any(event.stage != "Mark" for event in of_flow):
        return "flow", _whole(reader, of_flow)
    of_session = _read(reader, "session = ?", [key])
    if any(event.stage != "Mark" for event in of_session):
        return "session", _whole(reader, of_session)
    raise NoSuchTree("There is no trace, session or flow with this id.")


def _whole(reader: Reader, events: list[StoredEvent]) -> list[StoredEvent]:
    """These events, and everything of the traces that they belong to."""
    traces = {pack_id(trace) for event in events if isinstance(trace := event.core.get("trace"), str)}
    return _with_flows(reader, [*events, *_among(reader, "trace", traces)])


def _with_flows(reader: Reader, events: list[StoredEvent]) -> list[StoredEvent]:
    """These events, and everything else of their flows (an event of an approval may name the flow and no trace)."""
    flows = {pack_id(flow) for event in events if isinstance(flow := event.core.get("flow"), str)}
    merged = {event.seq: event for event in [*events, *_among(reader, "flow", flows)]}
    approvals = {approval for event in merged.values() if isinstance(approval := event.core.get("approval"), str)}
    since = min(merged, default=0)  # the column has no index, so only the part of the log that can tell of them is looked at
    merged |= {event.seq: event for event in _among(reader, f"seq >= {since} AND approval", approvals) if event.stage == "Mark"}
    if len(merged) > MAX_EVENTS:
        raise _too_many()
    return list(merged.values())


def _among(reader: Reader, column: str, keys: Collection[bytes | str | None]) -> list[StoredEvent]:
    wanted = [key for key in keys if key is not None]
    found: list[StoredEvent] = []
    for at in range(0, len(wanted), MAX_TRACES):
        part = wanted[at : at + MAX_TRACES]
        found += _read(reader, f"{column} IN ({', '.join('?' * len(part))})", part)
        if len(found) > MAX_EVENTS:
            raise _too_many()
    return found


def _read(reader: Reader, where: str, values: list[Any]) -> list[StoredEvent]:
    """Events of a condition, each checked whole and then kept without what no tree shows: bodies would fill the memory."""
    found: list[StoredEvent] = []
    after = -1
    while True:
        page = reader.events(f"{where} AND {NOT_DRAWN} AND seq > ?", [*values, after], limit=PAGE)
        found += [_light(event) for event in page]
        if len(found) > MAX_EVENTS:
            raise _too_many()
        if len(page) < PAGE:
            return found
        after = page[-1].seq


def _light(event: StoredEvent) -> StoredEvent:
    return StoredEvent(event.seq, event.core, {name: value for name, value in event.fields.items() if name in SHOWN}, event.leaf)


def _too_many() -> QueryError:
    return QueryError(f"This tree has more than {MAX_EVENTS} events. Name one of its traces or flows, or use guardhouse search.")
