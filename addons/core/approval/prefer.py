"""What a caller prefers about waiting (RFC 7240): `wait=SECONDS` and `respond-async`.

Both are said to us, so they are taken out; other preferences (`return=minimal`) are the upstream's and stay as they
came. A value that is no number of seconds is no preference.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

WAIT = re.compile(r"[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Preference:
    """How the caller wants to wait, and what is left of the header."""

    wait: float | None = None
    respond_async: bool = False
    rest: tuple[str, ...] = ()


def read(values: Iterable[str]) -> Preference:
    """Read all `Prefer` fields. The first of two equal preferences counts (RFC 7240 section 2)."""
    wait: float | None = None
    respond_async, rest = False, []
    for value in values:
        kept = []
        for part in _parts(value):
            name, _, given = part.partition(";")[0].partition("=")
            name, given = name.strip().lower(), given.strip().strip('"')
            if name == "respond-async":
                respond_async = True
            elif name == "wait":
                wait = float(given) if wait is None and WAIT.fullmatch(given) else wait
            else:
                kept.append(part.strip())
        if kept:
            rest.append(", ".join(kept))
    return Preference(wait, respond_async, tuple(rest))


def _parts(value: str) -> list[str]:
    """Split at commas outside quotes."""
    parts, quoted, start = [], False, 0
    for at, char in enumerate(value):
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            parts.append(value[start:at])
            start = at + 1
    return [part for part in [*parts, value[start:]] if part.strip()]
