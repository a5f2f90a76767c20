"""The seam between the log and what keeps it: rows, blobs, guarded moves and checkpoints, in one transaction.

Hashing and signing sit *above* this seam (`seal` is handed in), so that the evidence is byte-equal in every store. The
conformance suite (tests/parts/audit_store.py) says what a store must do; SQLite is the first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from addons.core.audit import events
from addons.core.audit.blobs import Blob
from addons.core.audit.canonical import Field
from addons.core.moves import Insert, Move, Update

__all__ = ["Batch", "Checkpointed", "Columns", "Entry", "Insert", "KeyRow", "Move", "Row", "Store", "StoreError", "StoredEvent", "Update"]

MOVABLE = frozenset({"approval", "approval_vote", "approval_use", "api_key", "seen"})  # tables a move may touch: never the evidence


class StoreError(Exception):
    """The store could not do it; nothing was written."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Copies of the core and of fields, for indexes only. `verify` checks that they agree."""

    ts_us: int
    stage: int
    kind: int
    flow: bytes | None = None
    session: bytes | None = None
    trace: bytes | None = None
    span: bytes | None = None
    parent: bytes | None = None
    principal: tuple[str, str, str] | None = None  # issuer, subject, kind
    service: str | None = None
    purpose: str | None = None
    verb: str | None = None
    path: str | None = None
    status: int | None = None
    effect: int | None = None
    dur_us: int | None = None
    client: str | None = None
    upstream: str | None = None
    approval: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One event as it is stored."""

    seq: int
    columns: Columns
    core: bytes
    leaf: bytes
    fields: bytes
    blobs: tuple[tuple[str, Blob], ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """One stored checkpoint: what the tree was when a group was committed."""

    size: int
    ts_us: int
    root: bytes
    frontier: bytes
    key_id: bytes
    sig: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes besides the moves."""

    rows: tuple[Row, ...]
    checkpoint: Checkpointed


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A public key of the log and the sizes it may sign: from `from_size`, up to and with `to_size` (None: still in use)."""

    key_id: bytes
    pub: bytes
    from_size: int
    to_size: int | None = None


class Entry(Protocol):
    """One event on its way into the store, or moves alone."""

    @property
    def moves(self) -> Sequence[Move]: ...


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event read back. `fields` holds the values that are there; an erased field is missing."""

    seq: int
    core: Mapping[str, Any]
    fields: Mapping[str, bytes]
    leaf: bytes = b""
    committed: tuple[Field, ...] = field(default=(), repr=False)

    @property
    def stage(self) -> str:
        return str(self.core.get("stage", ""))

    @property
    def kind(self) -> str:
        return str(self.core.get("kind", ""))

    @property
    def is_terminal(self) -> bool:
        return self.stage in events.TERMINAL


class Store(Protocol):
    """What the writer thread needs. Every call is made by that one thread."""

    def commit[E: Entry](self, entries: Sequence[E], seal: Callable[[Sequence[E]], Batch | None]) -> Sequence[E]:
        """Run the moves of each entry, drop the entries one of whose guards fails, seal the rest, write, make durable.

        Returns the entries that were kept. One transaction: any exception means that nothing was written, or that it
        cannot be known (ask `tip`). Raises StoreError.
        """

    def tip(self) -> Checkpointed | None:
        """The newest checkpoint, read afresh. None for an empty log. Raises StoreError."""

    def reopen(self) -> None:
        """Forget whatever an error left behind and open anew. Raises StoreError."""

    def idle(self) -> None:
        """Housekeeping that may wait: called when nothing is queued."""

    def meta(self, key: str) -> bytes | None:
        """One value of the table `meta`."""

    def set_meta(self, values: Mapping[str, bytes]) -> None:
        """Write values of `meta`."""

    def log_keys(self) -> Sequence[KeyRow]:
        """The public keys of the log, oldest first."""

    def add_key(self, key: KeyRow) -> None:
        """Add a public key; the one before it ends where this one begins."""

    def read(self, after: int, limit: int) -> Iterator[StoredEvent]:
        """Events in order of seq, values fetched."""

    def close(self) -> None:
        """Close; calls after it raise StoreError."""
