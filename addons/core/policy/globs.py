"""Globs: `*` within one segment, `**` across segments, all else literal and case-sensitive.

`/**/` also stands for a single `/`, as in every shell and `.gitignore`; a trailing `/**` needs the slash. Time is
linear in the text for a given glob: the set of places in the glob that the text may have reached is one integer, moved
along character by character. A backtracking matcher would let a caller's long path stall the whole gateway.
"""

from dataclasses import dataclass
from functools import lru_cache

_CACHED = 4096


@dataclass(frozen=True, slots=True)
class _Machine:
    size: int
    literal: dict[str, int]  # character -> bits of the places where it steps forward
    within: int  # bits of `*`: stay on anything but "/"
    across: int  # bits of `**`: stay on anything
    skip: tuple[tuple[int, int], ...]  # (from, to): may move without reading, in ascending order


def matches(glob: str, text: str) -> bool:
    """True when the whole text is of this form."""
    start = glob.find("*")
    if start < 0:
        return glob == text
    if not text.startswith(glob[:start]):
        return False
    if glob[start:] == "**":
        return True
    machine = _compile(glob)
    places = _follow(machine, 1)
    for char in text:
        stay = places & machine.across
        if char != "/":
            stay |= places & machine.within
        places = _follow(machine, stay | ((places & machine.literal.get(char, 0)) << 1))
        if not places:
            return False
    return bool(places >> machine.size & 1)


def matches_any(globs: tuple[str, ...], text: str) -> bool:
    """True when one of the globs has this form."""
    return any(matches(glob, text) for glob in globs)


def _follow(machine: _Machine, places: int) -> int:
    for start, end in machine.skip:
        if places >> start & 1:
            places |= 1 << end
    return places


@lru_cache(maxsize=_CACHED)
def _compile(glob: str) -> _Machine:
    literal: dict[str, int] = {}
    within = across = place = at = 0
    skip: list[tuple[int, int]] = []
    while at < len(glob):
        end = at
        while end < len(glob) and glob[end] == "*":
            end += 1
        if end == at:
            literal[glob[at]] = literal.get(glob[at], 0) | 1 << place
            place, at = place + 1, at + 1
        elif end - at == 1:
            within |= 1 << place
            skip.append((place, place + 1))
            place, at = place + 1, end
        else:
            if (at == 0 or glob[at - 1] == "/") and glob[end : end + 1] == "/":  # `/**/`: may be left out with its slash
                skip += [(place, place + 1), (place, place + 3)]
                place += 1
            across |= 1 << place
            skip.append((place, place + 1))
            place, at = place + 1, end
    return _Machine(place, literal, within, across, tuple(skip))
