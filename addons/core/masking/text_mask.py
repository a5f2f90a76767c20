"""Masks text: secrets over the whole of it (a key spans lines), everything else line by line.

Used for text/*, YAML, CSV, XML, HTML, log lines, header values and error texts. A mark holds none of `<>&"'`, so it can
stand wherever a value stood. A line that is itself JSON is walked as JSON, so that a telling key counts.
"""

import re
from dataclasses import replace

from addons.core.errors import Unmaskable
from addons.core.masking import key_words
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import Hit, LeafMasker, Site, Tools

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
        pieces: list[str] = []
        changed, offset = False, 0
        for number, block in enumerate(blocks(text)):
            for piece, is_json in segments(block):
                site = Site(key=key, object_pointer=f"/{number}", root=("", offset))
                masked = self._json_line(piece, site) if is_json else self._plain(piece, site)
                changed = changed or masked is not None
                pieces.append(piece if masked is None else masked)
                offset += len(piece)
        return "".join(pieces) if changed else text

    def _plain(self, piece: str, site: Site) -> str | None:
        """The masked piece, None when nothing changes: what a name in the text tells, and what is found by form."""
        return self.leaf.mask(piece, site, self._named(piece, site))

    def _json_line(self, line: str, site: Site) -> str | None:
        try:
            masked = self._json.line(line.encode("utf-8"), site).decode("utf-8")
        except (Unmaskable, UnicodeError) as error:
            if isinstance(error, Unmaskable) and error.reason != "syntax":
                raise
            return self._plain(line, site)
        return None if masked == line else masked

    def _named(self, piece: str, site: Site) -> list[Hit]:
        """What a name in the text tells: `<email>..</email>`, `date_of_birth: 1980-01-02`."""
        hits: list[Hit] = []
        for pattern in (_ELEMENT, _YAML):
            for match in pattern.finditer(piece):
                name = match[1].rpartition(":")[2].strip()
                if key_words.family(name) is None and not self.tools.view.has_fields:
                    continue
                inner = replace(site, key=name, pointer=f"/{name}")
                for hit in self.leaf.whole(match[2], inner):
                    moved = replace(hit.span, start=hit.span.start + match.start(2), end=hit.span.end + match.start(2))
                    hits.append(replace(hit, span=moved))
        return hits


def segments(block: str) -> list[tuple[str, bool]]:
    """The block cut into lines that are JSON objects and the pieces between them."""
    if "{" not in block:
        return [(block, False)]
    found: list[tuple[str, bool]] = []
    for line in _LINES.findall(block):
        bare = line.strip()
        is_json = bare[:1] == "{" and bare[-1:] == "}"
        if line and found and not is_json and not found[-1][1]:
            found[-1] = (found[-1][0] + line, False)
        elif line:
            found.append((line, is_json))
    return found


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
