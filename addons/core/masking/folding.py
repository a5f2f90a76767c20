"""Reads a text as a person or a program would decode it, and remembers where each character came from.

A value can hide behind a percent escape, an HTML entity, a `\\u` escape, full-width digits, a zero-width character or a
soft hyphen. The folded text is searched like the plain one, and what is found is mapped back, so the hidden form is
masked too. Text that holds none of these is not folded at all.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_SPOT = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});|%[0-9A-Fa-f]{2}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[/nrt\"']"
    r"|(?<=[0-9])\+(?=[0-9])"  # a form's space inside a number
    r"|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
    r"|[\u00a0\u2010-\u2015\u2007\u202f\u3000\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\uff01-\uff5e\ufe52\ufe6b\u2024]|[\U0001d400-\U0001d7ff]"
)
_HYPHENS = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015")
MAX_ROUNDS = 3  # a percent escape of a percent escape of an entity; deeper is nobody's value


@dataclass(frozen=True, slots=True)
class Folded:
    """The decoded text; `starts[i]` and `ends[i]` say which characters of the original made its character `i`."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The place in the original of a place in the folded text."""
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded | None:
    """The decoded form, None when there is nothing to decode."""
    folded: Folded | None = None
    for _ in range(MAX_ROUNDS):
        current = folded.text if folded else text
        if _SPOT.search(current) is None:
            break
        step = _once(current)
        if step.text == current:
            break
        folded = step if folded is None else _compose(folded, step)
    return folded if folded and folded.text else None


def _once(text: str) -> Folded:
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for piece, start, end in _pieces(text):
        pieces.append(piece)
        if len(piece) == end - start:
            starts.extend(range(start, end))
            ends.extend(range(start + 1, end + 1))
        else:
            starts.extend([start] * len(piece))
            ends.extend([end] * len(piece))
    return Folded("".join(pieces), tuple(starts), tuple(ends))


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    position = 0
    for match in _SPOT.finditer(text):
        yield text[position : match.start()], position, match.start()
        yield _decode(match[0]), match.start(), match.end()
        position = match.end()
    yield text[position:], position, len(text)


def _decode(spot: str) -> str:
    if spot[0] == "&":
        return html.unescape(spot)
    if spot == "+":
        return " "
    if spot[0] == "%":
        return chr(int(spot[1:], 16))
    if spot[0] == "\\":
        return chr(int(spot[2:], 16)) if spot[1] in "ux" else {"n": "\n", "r": "\r", "t": "\t"}.get(spot[1], spot[1])
    if spot in _HYPHENS:
        return "-"
    if spot.isdigit():
        return str(unicodedata.digit(spot))
    folded = unicodedata.normalize("NFKC", spot)
    return "" if unicodedata.category(spot) in ("Cf", "Mn") or spot in "\u115f\u1160" else folded


def _compose(outer: Folded, inner: Folded) -> Folded:
    starts = tuple(outer.starts[index] for index in inner.starts)
    ends = tuple(outer.ends[index - 1] for index in inner.ends)
    return Folded(inner.text, starts, ends)
