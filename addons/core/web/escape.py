"""Make hostile text harmless to look at: what a reader cannot see, or could take for something else, becomes an escape.

What was recorded or is asked for comes from callers and upstreams. A right-to-left override turns `gpj.exe` around, a
zero-width space hides a difference, an escape sequence rewrites the terminal, and a Cyrillic `а` passes for a Latin
one. Each of these is shown as `\\u202e`, so that two different texts never look the same to the person who decides.
Pages and the command line both use `visible`; HTML escaping comes after it and is Jinja2's job.
"""

import re
import unicodedata
from functools import lru_cache

# Letters of other alphabets that most fonts draw like a Latin one (a small part of Unicode's confusables.txt, UTS 39).
LOOKALIKES = frozenset("аеорсухіјѕһԁӏԛԝАВЕЅІЈКМНОРСТУХԌανορΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")
LOOKALIKE = re.compile(f"[{''.join(sorted(LOOKALIKES))}]")
PLAIN = re.compile(r"[\x20-\x7e]*")
SPECIAL = re.compile(r"[^\x20-\x7e]+")
WORD = re.compile(r"\w+")
# Cc control, Cf format (bidi, zero-width, tags), Co private, Cs surrogate, Cn unassigned, Zl/Zp separators
HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")  # drawn as nothing, though they are no spaces
MAX_MARKS = 4  # combining marks on one letter; more is drawn over the neighbouring lines


def visible(text: str, keep: str = "") -> str:
    """Return the text on which nothing is hidden. Characters in `keep` (a newline) stay as they are."""
    if PLAIN.fullmatch(text):
        return text
    return SPECIAL.sub(lambda run: _shown(run.group(), keep), _without_lookalikes(text))


def visible_lines(text: str) -> list[str]:
    """Return the lines of a text, each made visible. Only a line feed ends a line; tabs become four spaces."""
    return [visible(line.replace("\t", "    ")) for line in text.split("\n")]


def _shown(run: str, keep: str) -> str:
    """A run of characters beyond printable ASCII: each as it is, or as its escape."""
    shown: list[str] = []
    marks = 0
    for char in run:
        drawn, is_mark = _drawn(char)
        marks = marks + 1 if is_mark else 0
        shown.append(char if char in keep else _escape(char) if marks > MAX_MARKS else drawn)
    return "".join(shown)


@lru_cache(maxsize=1 << 16)
def _drawn(char: str) -> tuple[str, bool]:
    """What stands for this character, and whether it is drawn on the letter before it."""
    return (_escape(char) if _is_hidden(char) else char), unicodedata.combining(char) != 0


def _is_hidden(char: str) -> bool:
    category = unicodedata.category(char)
    if category in HIDDEN or char in BLANK_LETTERS or category == "Zs":
        return True
    return _variation(char) or _styled_ascii(char)


def _variation(char: str) -> bool:
    """Variation selectors: invisible, and they can carry hidden bytes."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _styled_ascii(char: str) -> bool:
    """Full-width, mathematical and circled forms of ASCII: another character, the same look."""
    if char.isascii():
        return False
    plain = unicodedata.normalize("NFKC", char)
    return plain != "" and len(plain) <= 2 and plain.isascii()


def _without_lookalikes(text: str) -> str:
    """Escape letters that could be taken for Latin ones: beside Latin letters, or in a word made of nothing else."""
    return WORD.sub(lambda word: _plain_word(word.group()), text) if LOOKALIKE.search(text) else text


def _plain_word(word: str) -> str:
    if not LOOKALIKE.search(word):
        return word
    letters = [char for char in word if char.isalpha()]
    only_lookalikes = all(char in LOOKALIKES for char in letters)
    if not only_lookalikes and not any(_is_latin(char) for char in letters):
        return word
    return LOOKALIKE.sub(lambda found: _escape(found.group()), word)


@lru_cache(maxsize=1 << 16)
def _is_latin(char: str) -> bool:
    return unicodedata.name(char, "").startswith("LATIN")


def _escape(char: str) -> str:
    code = ord(char)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if short:
        return short
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
