"""Guarded moves: changes of state that are durable together with the event that records them.

An approval's decision and its audit event must be one transaction, so an area hands its moves to the audit writer
beside the event. A move whose guard does not hold fails the whole batch: nothing is written, and the caller reads the
row again. The types stand here, at the bottom, because the area that decides and the area that writes do not import
each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Update:
    """Change exactly one row: all of `where` must be equal, `after` columns greater, `not_after` columns at most."""

    table: str
    set: Mapping[str, Any]
    where: Mapping[str, Any]
    after: Mapping[str, int] = field(default_factory=dict)  # column > value
    not_after: Mapping[str, int] = field(default_factory=dict)  # column <= value


@dataclass(frozen=True, slots=True)
class Insert:
    """Add one row; a row that is there already (a unique key) fails the guard."""

    table: str
    row: Mapping[str, Any]


type Move = Update | Insert
