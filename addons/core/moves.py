"""What an area may ask the store to change in the same transaction as the event that tells of it.

Both are plain data, so that an area describes its rows without knowing the store, and the store runs them without knowing the area.
A move whose guard fails (no row matched an ``Update``, the row of an ``Insert`` is already there) undoes the whole transaction:
neither the rows nor the event are written, and ``commit`` answers None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Update:
    """Change exactly one row of ``table``: the one where every guard holds. ``where`` is equality, None means SQL ``IS NULL``."""

    table: str
    set: Mapping[str, Any]
    where: Mapping[str, Any]
    after: Mapping[str, int] = field(default_factory=dict)
    """Columns that must be greater than this value (a deadline still ahead)."""
    not_after: Mapping[str, int] = field(default_factory=dict)
    """Columns that must be at most this value (a deadline that has passed)."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Add exactly one row; a row that breaks a unique key is a guard that failed."""

    table: str
    row: Mapping[str, Any]


Move = Update | Insert
