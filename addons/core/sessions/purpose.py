"""Why a request is made: which of the places that may say so wins, and whether the label counts.

Order of trust: signed claim, header, W3C baggage. Every label that was sent must be well-formed, also one that would
lose; labels are neither trimmed nor lowered, so that a rule and a reader see the same text. The purpose belongs to the
request, not to the caller; what only a header says is *claimed*, and policy treats it so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from addons.core.config import model
from addons.core.errors import PurposeError

MAX_DETAIL = 512
_LABEL = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,127}\Z")

Told = Sequence[tuple[str, Sequence[Any]]]
"""Places in their order of trust, each with every label it gave: [("claim", [...]), ("header", [...]), ("baggage", [...])]."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """The label that counts, where it came from, and a label it overruled."""

    label: str
    source: str  # claim | header | baggage | none
    conflict: str | None = None


def decide(told: Told, terms: model.Purpose) -> Purpose:
    """Return the purpose. Raises PurposeError: 400 for what is no label, 403 for none or one outside the catalogue."""
    found: list[Purpose] = []
    for source, labels in told:
        if len(labels) > 1:
            raise _malformed(f"{source}-repeated", terms)
        found.extend(Purpose(_label(label, source, terms), source) for label in labels)
    if not found:
        return _without(terms)
    winner = found[0]
    if not is_known(winner.label, terms.catalogue):
        raise PurposeError(
            f"This purpose is not in the catalogue. Use one of: {', '.join(terms.catalogue)}.", code="purpose-unknown", detail=winner.source
        )
    conflict = next((other.label for other in found[1:] if other.label != winner.label), None)
    return Purpose(winner.label, winner.source, conflict)


def detail_of(values: Sequence[str], terms: model.Purpose) -> str | None:
    """Return the free text beside the purpose: untrusted, bounded, without control characters."""
    if not values:
        return None
    if len(values) > 1 or len(values[0]) > MAX_DETAIL or not all(char.isprintable() for char in values[0]):
        raise PurposeError(
            f"{terms.header}-Detail is one line of at most {MAX_DETAIL} printable characters.", code="purpose-malformed", detail="detail"
        )
    return values[0]


def is_known(label: str, catalogue: Sequence[str]) -> bool:
    """True when the catalogue has this label: `*` stands for anything within one segment, `**` for anything."""
    return any(_glob(pattern).match(label) for pattern in catalogue)


def _label(label: Any, source: str, terms: model.Purpose) -> str:
    if not isinstance(label, str) or not _LABEL.match(label):
        raise _malformed(source, terms)
    return label


def _without(terms: model.Purpose) -> Purpose:
    if terms.required:
        raise PurposeError(
            f"Say why: send the header {terms.header} with one of: {', '.join(terms.catalogue)}.", code="purpose-missing", detail="none"
        )
    return Purpose("", "none")


def _malformed(detail: str, terms: model.Purpose) -> PurposeError:
    return PurposeError(
        f"A purpose is one label of a-z 0-9 . _ : / - (at most 128, lower case, not trimmed), sent once, in {terms.header}.",
        code="purpose-malformed",
        detail=detail,
    )


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts) + r"\Z")
