"""Masks line by line: logs and other text, and newline-delimited JSON. What leaves never depends on how the bytes were cut.

A line is judged when its end has come, each on its own. A PEM key is one value over many lines: it is held from BEGIN to END, and one
that is too long becomes a mark and is dropped until its END. A line without an end is judged in pieces that are cut between
words, far enough behind the newest byte that no value is cut.
"""

import codecs
import re

from addons.core.config.model import EntityRule
from addons.core.errors import Unmaskable
from addons.core.masking import encodings
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import Site, Tools
from addons.core.masking.spans import Span
from addons.core.masking.stream_json import JsonStreamMasker, Unfinished
from addons.core.masking.text_mask import TextMasker

HOLD = 8 << 10  # of a line of text without an end; a log that shows progress has such lines
CONTEXT = 65  # before a value, where the word may stand that tells what it is
KEEP = 512  # of those, what may still be the beginning of a value
MAX_PEM = 32 << 10
CLEAN = 2048  # lines that are remembered, of at most
MAX_CLEAN = 256  # characters: logs say the same again and again
NL = b"\n"
_BETWEEN = re.compile(r"[\s,;|<>\"'(){}\[\]]")


class NdjsonMasker:
    """One line, one document."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._masker = JsonMasker(tools)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The lines that are whole by now, masked."""
        head, newline, rest = data.rpartition(NL)
        if newline:
            whole, self._held = self._held + head + NL, rest
            out = b"".join(self._line(line) for line in whole.splitlines(keepends=True))
            self._masker.forget()
        else:
            self._held += data
            out = b""
        if len(self._held) > self._tools.view.limits.line:
            raise Unmaskable("size", detail="a line")
        return out

    def finish(self) -> bytes:
        """A last line without its end."""
        return self._line(self._held) if self._held else b""

    def _line(self, line: bytes) -> bytes:
        if len(line) > self._tools.view.limits.line:
            raise Unmaskable("size", detail="a line")
        if not line.strip(b" \t\r\n\x1e"):
            return line
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unmaskable("charset") from error
        return self._masker.mask(line)


class LineMasker:
    """Text, in UTF-8 or what the answer declares."""

    def __init__(self, tools: Tools, charset: str | None) -> None:
        name, _ = encodings.charset_of(b"", charset)
        self._tools = tools
        self._charset = name
        self._text = TextMasker(tools)
        self._held = b""
        self._key: list[str] | None = None  # the lines of a PEM block that has begun
        self._key_size = 0
        self._is_first = True
        self._clean: set[str] = set()  # lines of this stream in which nothing was found; every other input stays the same

    def feed(self, data: bytes) -> bytes:
        """What can leave by now."""
        self._held += data
        out: list[str] = []
        while (end := self._held.find(NL)) >= 0:
            line, self._held = self._held[: end + 1], self._held[end + 1 :]
            out.append(self._long(line))
        while len(self._held) > self._most():
            out.append(self._cut())
        return "".join(out).encode(self._charset, "xmlcharrefreplace")

    def finish(self) -> bytes:
        """The rest, and the mark of a key that did not end."""
        out = self._long(self._held) if self._held else ""
        if self._key is not None:
            out += self._end_key()
        self._held = b""
        return out.encode(self._charset, "xmlcharrefreplace")

    def _most(self) -> int:
        """A line that may be a JSON object is judged whole, if it is not larger than an event."""
        return self._tools.view.limits.event if self._held.lstrip()[:1] == b"{" else HOLD

    def _long(self, line: bytes) -> str:
        """A whole line; one that came in a single long piece is cut where it would have been cut on its way."""
        pieces: list[str] = []
        self._held, rest = line, self._held
        while len(self._held) > self._most() and len(self._held) > HOLD:
            pieces.append(self._cut())
        line, self._held = self._held, rest
        return "".join(pieces) + self._line(self._decode(line))

    def _cut(self) -> str:
        """Give out the front of a line that has become too long, up to a place where no value goes on."""
        if self._held.lstrip()[:1] == b"{":
            raise Unmaskable("size", detail="a line")
        text = self._decode(self._held[: HOLD + 1], whole=False)
        at = cut_place(text, [hit.span for hit in self._text.leaf.find(text, Site())])
        if at is None:
            raise Unmaskable("size", detail="a word")
        self._held = self._held[len(text[:at].encode(self._charset)) :]
        return self._line(text[:at])

    def _line(self, line: str) -> str:
        if self._key is not None:
            return self._in_key(line)
        if "-----BEGIN" in line and "-----END" not in line.rpartition("-----BEGIN")[2]:
            self._key, self._key_size = [], 0
            return self._in_key(line)
        if line in self._clean:
            return line
        masked = self._text.mask(line)
        if masked is line and len(line) <= MAX_CLEAN:
            self._clean.add(line)
            if len(self._clean) > CLEAN:
                self._clean.clear()
        return masked

    def _in_key(self, line: str) -> str:
        assert self._key is not None
        self._key_size += len(line)
        if self._key_size <= MAX_PEM:
            self._key.append(line)
        if "-----END" in line:
            return self._end_key()
        return ""

    def _end_key(self) -> str:
        """The block as one text: a key becomes a mark, a certificate stays. One that is too long or cut off is taken for a key."""
        lines, self._key = self._key or [], None
        block = "".join(lines)
        if self._key_size <= MAX_PEM and "-----END" in block:
            return self._text.mask(block)
        before, _, _ = block.partition("-----BEGIN")
        choice = self._tools.view.choose("SECRET", 1.0, "", self._tools.view.profiles)
        rule = choice.rule if choice else EntityRule("SECRET", "redact")
        mark = self._tools.transformer.apply(
            rule, "SECRET", block, self._tools.place, scope=self._tools.view.scope, region=self._tools.view.home_region
        )
        self._tools.tally.note(choice.profile if choice else "gateway", "SECRET", "", rule.transform)
        return self._text.mask(before) + mark + ("\n" if block.endswith("\n") else "")

    def _decode(self, line: bytes, *, whole: bool = True) -> str:
        if self._is_first and line.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
            raise Unmaskable("charset")
        self._is_first = False
        try:
            text = codecs.getincrementaldecoder(self._charset)().decode(line, whole)
        except UnicodeDecodeError as error:
            raise Unmaskable("charset") from error
        if "\x00" in text:
            raise Unmaskable("charset")
        return text


def cut_place(text: str, spans: list[Span]) -> int | None:
    """Where a long line can be cut: between words, before no value and not after what tells of one. Where values stand so close that
    there is no such place: right behind one. None when there is neither."""
    places = [at for at in range(len(text) - KEEP, KEEP, -1) if _BETWEEN.match(text, at)]
    for at in places:
        if not any(span.start < at + CONTEXT and span.end > at for span in spans):
            return at + 1
    ends = {span.end for span in spans}
    return next((at for at in places if at in ends), None)


class TextStreamMasker:
    """Text that may be JSON under another name: the first line says which. The declared type never lowers protection."""

    def __init__(self, tools: Tools, charset: str | None) -> None:
        self._tools, self._charset = tools, charset
        self._held = b""
        self._chosen: LineMasker | JsonStreamMasker | None = None

    def feed(self, data: bytes) -> bytes:
        """What can leave by now."""
        if self._chosen is not None:
            return self._chosen.feed(data)
        self._held += data
        first = self._held.lstrip(b" \t\r\n")
        if first[:1] not in (b"", b"{", b"[") or NL in first or len(self._held) > HOLD:
            return self._choose(first)
        return b""

    def finish(self) -> bytes:
        """The rest."""
        out = b"" if self._chosen is not None else self._choose(self._held.lstrip(b" \t\r\n"))
        assert self._chosen is not None
        return out + self._chosen.finish()

    def _choose(self, first: bytes) -> bytes:
        line = first.partition(NL)[0] if NL in first else first
        is_json = line[:1] in (b"{", b"[") and self._is_document(line)
        self._chosen = JsonStreamMasker(self._tools) if is_json else LineMasker(self._tools, self._charset)
        held, self._held = self._held, b""
        return self._chosen.feed(held)

    def _is_document(self, line: bytes) -> bool:
        """Whether the first line is JSON that goes on, or an array. An object on a line of its own is a line of a log."""
        reader = Unfinished(self._tools.view.limits.depth, lambda _: None)
        try:
            reader.add(line)
        except (Unmaskable, UnicodeDecodeError):
            return False
        return not reader.is_complete or line[:1] == b"["
