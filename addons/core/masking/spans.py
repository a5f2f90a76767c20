"""What the detector finds, and how overlapping findings become one.

Overlaps mask the union: the winner names the type, and what only the loser covered is masked with it. Dropping a loser
would leave its rest in clear.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text, in code points. `source`: key | pattern | secret | nlp. `whole`: named by its key or by a field rule."""

    start: int
    end: int
    info_type: str
    score: float
    source: str


CHECKED = frozenset({"CREDIT_CARD", "IBAN_CODE", "CRYPTO"})  # verified by a checksum when the score is 1


def rank(span: Span) -> tuple[bool, bool, bool, int, float]:
    """Who wins an overlap: secret, then key, then checksum-verified, then longer, then the higher score."""
    verified = span.info_type in CHECKED and span.score >= 1.0
    return (span.info_type == "SECRET", span.source == "key", verified, span.end - span.start, span.score)


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Disjoint spans, in order, that cover exactly what the given ones cover."""
    merged: list[Span] = []
    best: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if span.end <= span.start:
            continue
        if merged and span.start < merged[-1].end:
            end = max(merged[-1].end, span.end)
            best[-1] = max(best[-1], span, key=rank)
            merged[-1] = replace(merged[-1], end=end)
        else:
            merged.append(span)
            best.append(span)
    return tuple(replace(winner, start=cover.start, end=cover.end) for winner, cover in zip(best, merged, strict=True))
