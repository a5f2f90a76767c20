"""What a start does before it accepts anything: prove that the log is where its last signature says, then say what was cut off.

Signature of the newest checkpoint under a known key, the tail after the checkpoint before it (one group at most) hashed
again, the anchors compared. Any failure refuses the start: a log that cannot be continued honestly is not continued.
Whole-log verification is `verify`; this is what can be done at every start.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addons.core.audit import anchor
from addons.core.audit.events import KINDS, STAGES, TERMINAL, Event, make
from addons.core.audit.merkle import Frontier
from addons.core.audit.note import Checkpoint, LogKey, Signature
from addons.core.audit.reader import TamperedError, checked
from addons.core.audit.sessions import closed
from addons.core.audit.sqlite_store import SqliteStore
from addons.core.audit.store import Checkpointed, StoredEvent

logger = logging.getLogger(__name__)

COPIED = ("flow", "session", "trace", "span", "parent", "service", "protocol", "verb", "access", "effect", "approval")
RECOVERED = "recovered"  # meta: no flow or session that began at or below this seq is open


class RecoveryError(Exception):
    """The log cannot be continued. The text says what to look at."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the log stands, and what must be written before traffic: the ends of what was cut off."""

    frontier: Frontier
    tip: Checkpointed | None
    endings: tuple[Event, ...]


def recover(store: SqliteStore, origin: str, anchors: Sequence[Path]) -> Recovered:
    """Check the store and return where it stands. Raises RecoveryError (and StoreError from the store)."""
    found = store.quick_check()
    if found is not None:
        raise RecoveryError(f"the audit store is damaged: {found}")
    tip = store.tip()
    frontier = Frontier() if tip is None else _frontier(tip)
    if tip is not None:
        _check_signature(store, origin, tip)
        _check_tail(store, frontier)
    last = store.query("SELECT coalesce(max(seq), 0) FROM event")[0][0]
    if last != frontier.size:
        raise RecoveryError(f"the newest event is {last}, the newest checkpoint covers {frontier.size}")
    _check_anchors(store, origin, frontier.size, anchors)
    return Recovered(frontier, tip, tuple(endings(store)))


def endings(store: SqliteStore) -> list[Event]:
    """The events that close what a crash left open: `Interrupted` for flows, `closed` for sessions."""
    since = int.from_bytes(store.meta(RECOVERED) or b"", "big")
    terminal = ", ".join(str(STAGES[name]) for name in sorted(TERMINAL))
    flows = store.query(
        f"SELECT seq FROM event b WHERE seq > ? AND stage = {STAGES['RequestReceived']} AND NOT EXISTS "
        f"(SELECT 1 FROM event t WHERE t.flow = b.flow AND t.stage IN ({terminal})) ORDER BY seq",
        (since,),
    )
    sessions = store.query(
        f"SELECT max(seq), verb FROM event WHERE seq > ? AND kind = {KINDS['session']} GROUP BY session HAVING verb = 'opened' ORDER BY 1",
        (since,),
    )
    made = [interrupted(_event(store, seq)) for (seq,) in flows]
    for seq, _ in sessions:
        opened = _event(store, seq)
        made.append(closed(str(opened.core["session"]), "restart", opened.fields.get("principal"), opened.fields.get("purpose")))
    return made


def interrupted(begin: StoredEvent, reason: str = "restart") -> Event:
    """The terminal event of a flow that nobody can finish any more."""
    return interruption(begin.core, begin.fields.get("principal"), begin.kind, reason)


def interruption(core: Mapping[str, Any], principal: bytes | None, kind: str, reason: str) -> Event:
    """The `Interrupted` event of a flow, with what is known of its begin."""
    return make("Interrupted", kind, {name: core.get(name) for name in COPIED}, {"principal": principal, "reason": reason.encode()})


def _event(store: SqliteStore, seq: int) -> StoredEvent:
    return checked(next(iter(store.read(seq - 1, 1))))


def _frontier(tip: Checkpointed) -> Frontier:
    try:
        frontier = Frontier.from_bytes(tip.size, tip.frontier)
    except ValueError as error:
        raise RecoveryError(f"the checkpoint of size {tip.size} is damaged") from error
    if frontier.root() != tip.root:
        raise RecoveryError(f"the checkpoint of size {tip.size} does not have the root of its frontier")
    return frontier


def _check_signature(store: SqliteStore, origin: str, tip: Checkpointed) -> None:
    note = Checkpoint(origin, tip.size, tip.root, (Signature(origin, tip.key_id, tip.sig),))
    for row in store.log_keys():
        inside = row.from_size < tip.size and (row.to_size is None or tip.size <= row.to_size)
        if inside and note.signed_by(LogKey(origin, row.pub)):
            return
    raise RecoveryError(f"the checkpoint of size {tip.size} is not signed by a key of this log (or the origin changed)")


def _check_tail(store: SqliteStore, frontier: Frontier) -> None:
    before = store.before_tip()
    start = Frontier() if before is None else _frontier(before)
    try:
        events = [checked(event) for event in store.read(start.size, -1)]
    except TamperedError as error:
        raise RecoveryError(str(error)) from error
    if [event.seq for event in events] != list(range(start.size + 1, frontier.size + 1)):
        raise RecoveryError("the newest events have gaps, or stand behind the newest checkpoint")
    if start.extend([event.leaf for event in events]) != frontier:
        raise RecoveryError("the newest events are not those of the newest checkpoint")


def _check_anchors(store: SqliteStore, origin: str, size: int, paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            newest = anchor.read(path).newest
        except FileNotFoundError:
            continue  # the first start, or another place: `verify` says what that means
        except OSError as error:
            logger.warning(
                "the witness file %s cannot be read (%s): nobody checks that the log was not cut back", path.name, error.strerror
            )
            continue
        if newest is None:
            continue
        if newest.origin != origin:
            raise RecoveryError(f"the witness file {path.name} is of another log ({newest.origin})")
        if newest.size > size:
            raise RecoveryError(f"the log has {size} events, the witness file {path.name} saw {newest.size}: the log was cut back")
        there = store.checkpoint_at(newest.size)
        if newest.size and (there is None or there.root != newest.root):
            raise RecoveryError(f"the log differs from what the witness file {path.name} saw at size {newest.size}")
