"""Make hostile text harmless to look at: what a reader cannot see, or could take for something else, becomes an escape.

What was recorded or is asked for comes from callers and upstreams. A right-to-left override turns `gpj.exe` around, a
zero-width space hides a difference, an escape sequence rewrites the terminal, and a Cyrillic `а` passes for a Latin
one. Each of these is shown as `\\u202e`, so that two different texts never look the same to the person who decides.
Pages and the command line both use `visible`; HTML escaping comes after it and is Jinja2's job.
"""

import re
import unicodedata

# Letters of other alphabets that most fonts draw like a Latin one (a small part of Unicode's confusables.txt, UTS 39).
LOOKALIKES = frozenset("аеорсухіјѕһԁӏԛԝАВЕЅІЈКМНОРСТУХԌανορΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")
PLAIN = re.compile(r"[\x20-\x7e]*")
WORD = re.compile(r"\w+")
# Cc control, Cf format (bidi, zero-width, tags), Co private, Cs surrogate, Cn unassigned, Zl/Zp separators
HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")  # drawn as nothing, though they are no spaces
MAX_MARKS = 4  # combining marks on one letter; more is drawn over the neighbouring lines


def visible(text: str, keep: str = "") -> str:
    """Return the text on which nothing is hidden. Characters in `keep` (a newline) stay as they are."""
    if PLAIN.fullmatch(text):
        return text
    suspicious = _confusable_positions(text)
    marks = 0
    shown: list[str] = []
    for at, char in enumerate(text):
        marks = marks + 1 if unicodedata.combining(char) else 0
        if char in keep:
            shown.append(char)
        elif at in suspicious or marks > MAX_MARKS or _is_hidden(char):
            shown.append(_escape(char))
        else:
            shown.append(char)
    return "".join(shown)


def visible_lines(text: str) -> list[str]:
    """Return the lines of a text, each made visible. Only a line feed ends a line; tabs become four spaces."""
    return [visible(line.replace("\t", "    ")) for line in text.split("\n")]


def _is_hidden(char: str) -> bool:
    if char == " ":
        return False
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


def _confusable_positions(text: str) -> set[int]:
    """Where a letter could be taken for a Latin one: lookalikes beside Latin letters, or a word made of nothing else."""
    found: set[int] = set()
    for word in WORD.finditer(text):
        places = [at for at in range(*word.span()) if text[at] in LOOKALIKES]
        letters = [char for char in word.group() if char.isalpha()]
        has_latin = any(_is_latin(char) for char in letters)
        if places and (has_latin or len(places) == len(letters)):
            found.update(places)
    return found


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
