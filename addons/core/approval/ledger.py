"""What approvals need of the store, in their own words.

The audit area implements the store; areas do not import each other, so `addons.host.ledger` stands between. Every move
of an approval is one transaction with the `Note` that tells of it, and at use the approval is derived again from the
notes alone: they are signed, the rows are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from addons.core.moves import Move

EVENTS = ("requested", "voted", "approved", "denied", "ticketed", "expired", "cancelled", "used", "outcome")
"""What a note may tell of, each with one move of the row. `alert` stands beside them and moves nothing."""


@dataclass(frozen=True, slots=True)
class Note:
    """One event of one approval. `data` is canonical JSON and holds all that a derivation reads."""

    event: str
    approval: str
    core: Mapping[str, Any] = field(default_factory=dict)  # flow session trace service rules digest: never personal
    data: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None  # untrusted text of a person, masked


class Ledger(Protocol):
    """The store, as far as approvals see it. Every method raises AuditError when the store cannot be trusted to answer."""

    async def commit(self, note: Note, moves: Sequence[Move]) -> bool:
        """Write the note and make all moves, or neither. False: a guard failed and nothing was written."""

    async def append(self, note: Note) -> None:
        """Write a note that moves nothing."""

    async def rows(self, table: str, where: Mapping[str, Any], order: str = "", limit: int = 0) -> list[dict[str, Any]]:
        """Rows whose columns equal `where`."""

    async def notes(self, approval: str) -> list[Note]:
        """The notes of one approval, oldest first, each verified against the signed log while it is read."""

    async def whole(self) -> bool:
        """Every event of the log is what the newest signature covers: none was rewritten or taken out while nobody looked."""

    async def claim_once(self, kind: str, ident: str, until_us: int) -> bool:
        """True for the first claimant of this id, also across a restart; False for every later one."""
