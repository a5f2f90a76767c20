"""An event made ready for the writer: core completed and encoded, fields committed, bodies compressed.

Heavy for large bodies, so `AuditLog` calls `prepare_fields` in a thread for those; `finish` is light and is called right
before the entry is queued, so that the times in the log stand in the order of the log.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.core.audit import blobs, canonical, events
from addons.core.audit.blobs import Blob
from addons.core.audit.canonical import Field, Kept
from addons.core.audit.columns import columns_of
from addons.core.audit.events import Event
from addons.core.audit.store import Move
from addons.core.audit.writer import Pending

INLINE_WORK = 64 << 10  # fields up to this size together are committed on the loop (about 0.1 ms)


@dataclass(frozen=True, slots=True)
class Origin:
    """What every event says about where it was written."""

    replica: str
    boot: str
    snapshot: str


def is_heavy(event: Event) -> bool:
    """True when the fields should be prepared in a thread."""
    return sum(map(len, event.fields.values())) > INLINE_WORK


def prepare_fields(event: Event, blob_key: bytes) -> tuple[tuple[Field, ...], tuple[tuple[str, Blob], ...]]:
    """Commit the fields and compress those that are kept as blobs."""
    fields: list[Field] = []
    bodies: list[tuple[str, Blob]] = []
    for one in canonical.commit_fields(event.fields):
        value = one.value or b""
        if blobs.belongs(one.name, value):
            bodies.append((one.name, blobs.put(blob_key, value)))
            one = Field(one.name, one.commit, Kept.BLOB, one.salt)
        fields.append(one)
    return tuple(fields), tuple(bodies)


def finish(
    event: Event,
    prepared: tuple[tuple[Field, ...], tuple[tuple[str, Blob], ...]],
    moves: Sequence[Move],
    origin: Origin,
    times: Mapping[str, Any],
    future: "asyncio.Future[int | None]",
) -> Pending:
    """Return the entry to be queued. Raises ValueError for a core without an exact encoding."""
    snapshot = event.core.get("snapshot", origin.snapshot)
    known = {
        "v": events.VERSION,
        "stage": event.stage,
        "kind": event.kind,
        "replica": origin.replica,
        "boot": origin.boot,
        "snapshot": snapshot,
    }
    core = {**event.core, **known, **times}
    encoded = canonical.core_bytes(core)
    if len(encoded) > events.CORE_LIMIT:
        raise ValueError("the core is too large")
    fields, bodies = prepared
    size = len(encoded) + sum(len(f.value or b"") + 64 for f in fields) + sum(len(blob.body) for _, blob in bodies)
    return Pending(event, future, encoded, columns_of(core, event.fields), fields, bodies, moves, size, recorded_us=int(core["ts_us"]))
