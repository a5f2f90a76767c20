"""What was masked, where, by which rule, how often; and which fields were seen. Never a value.

Paths have `*` for indices, and the pseudonym where a key was itself masked.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.core.masking.spans import Span

MAX_FIELDS = 500
MAX_ROWS = 500
MAX_PATH = 512


@dataclass(frozen=True, slots=True)
class Finding:
    """One span within one decoded leaf, for `guardhouse mask --findings`."""

    pointer: str
    span: Span


@dataclass(slots=True)
class Tally:
    """Counts while a body is masked."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] | None = None

    def note(self, profile: str, info_type: str, path: str, transform: str) -> None:
        """One value was masked."""
        self.counts[info_type] += 1
        row = (profile, info_type, path[:MAX_PATH], transform)
        if row in self.rows or len(self.rows) < MAX_ROWS:
            self.rows[row] += 1

    def saw(self, path: str) -> None:
        """One field was in the answer."""
        if path in self.seen or len(self.seen) < MAX_FIELDS:
            self.seen[path[:MAX_PATH]] += 1

    def found(self, pointer: str, span: Span) -> None:
        """Keep a finding, when somebody wants them."""
        if self.findings is not None:
            self.findings.append(Finding(pointer, span))

    def receipt(self) -> list[dict[str, Any]]:
        """The rows as plain data, in a stable order."""
        return [
            {"profile": profile, "info_type": info_type, "path": path, "transform": transform, "count": count, "revealed": False}
            for (profile, info_type, path, transform), count in sorted(self.rows.items())
        ]


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked body with its receipt. `changed` is False when the very same bytes came out."""

    body: bytes
    changed: bool
    counts: Mapping[str, int] = field(default_factory=dict)
    receipt: list[dict[str, Any]] = field(default_factory=list)
    fields_seen: Mapping[str, int] = field(default_factory=dict)
    complete: bool = True
    withheld: str = ""  # the reason, when a stand-in took the body's place


def masked(body: bytes, changed: bool, tally: Tally, *, complete: bool = True, withheld: str = "") -> Masked:
    """Close the books."""
    return Masked(body, changed, dict(tally.counts), tally.receipt(), dict(tally.seen), complete, withheld)
