"""Masks text: secrets over the whole of it (a key spans lines), everything else line by line.

Used for text/*, YAML, CSV, XML, HTML, log lines, header values and error texts. A mark holds none of `<>&"'`, so it can
stand wherever a value stood. A line that is itself JSON is walked as JSON, so that a telling key counts.
"""

import re

from addons.core.errors import Unmaskable
from addons.core.masking import key_words
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import LeafMasker, Site, Tools

_LINES = re.compile(r"[^\n]*\n?")
_ELEMENT = re.compile(r"<([A-Za-z_][\w.:-]{0,63})(?:\s[^<>]{0,512})?>([^<>]{1,1024})</")
_YAML = re.compile(
    r"(?m)^[ \t]*(?:-[ \t]+)?[\"']?([A-Za-z_][\w .-]{0,63})[\"']?[ \t]*[:=][ \t]+[\"']?([^\s\"'#][^\n\"'#]{0,512}?)[\"']?[ \t]*\r?$"
)
MAX_BLOCK = 32 << 10  # text is searched for secrets in blocks of at most this size, cut at a line end


class TextMasker:
    """Masks one text with the tools of one body."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._json = JsonMasker(tools)
        self.leaf: LeafMasker = self._json.leaf

    def mask(self, text: str, key: str = "") -> str:
        """The masked text; the same object when nothing was masked."""
        pieces = []
        changed = False
        for number, block in enumerate(blocks(text)):
            masked = self._block(block, key, number)
            changed = changed or masked is not None
            pieces.append(block if masked is None else masked)
        return "".join(pieces) if changed else text

    def _block(self, block: str, key: str, number: int) -> str | None:
        """The masked block, None when nothing changes: named values first, then the whole by form."""
        named = self._named(self._json_lines(block), number)
        masked = self.leaf.mask(named, Site(key=key, object_pointer=f"/{number}"))
        result = named if masked is None else masked
        return result if result != block else None

    def _json_lines(self, block: str) -> str:
        if "{" not in block:
            return block
        return "".join(self._json_line(line) for line in _LINES.findall(block))

    def _json_line(self, line: str) -> str:
        bare = line.strip()
        if bare[:1] != "{" or bare[-1:] != "}":
            return line
        try:
            masked = self._json.mask(bare.encode("utf-8"))
        except (Unmaskable, UnicodeError) as error:
            if isinstance(error, Unmaskable) and error.reason != "syntax":
                raise
            return line
        return line.replace(bare, masked.decode("utf-8"))

    def _named(self, block: str, number: int) -> str:
        """Mask what a name in the text tells: `<email>..</email>`, `date_of_birth: 1980-01-02`."""
        edits: list[tuple[int, int, str]] = []
        for pattern in (_ELEMENT, _YAML):
            for match in pattern.finditer(block):
                name = match[1].rpartition(":")[2].strip()
                if key_words.family(name) is None and not self.tools.view.has_fields:
                    continue
                site = Site(key=name, object_pointer=f"/{number}", general=f"/{name}")
                masked = self.leaf.mask(match[2], site)
                if masked is not None and not (edits and match.start(2) < edits[-1][1]):
                    edits.append((match.start(2), match.end(2), masked))
        for start, end, new in sorted(edits, reverse=True):
            block = block[:start] + new + block[end:]
        return block


def blocks(text: str) -> list[str]:
    """The text in blocks that end at line ends. A block that opens a PEM key runs until the key's end."""
    if len(text) <= MAX_BLOCK:
        return [text]
    found: list[str] = []
    current: list[str] = []
    size, in_key = 0, False
    for line in _LINES.findall(text):
        if not line:
            continue
        in_key = (in_key or "-----BEGIN" in line) and "-----END" not in line
        current.append(line)
        size += len(line)
        if size >= MAX_BLOCK and (not in_key or size >= 2 * MAX_BLOCK):
            found.append("".join(current))
            current, size = [], 0
    return [*found, "".join(current)] if current else found
