"""Masks server-sent events (HTML standard, section 9.2): one event at a time, when its blank line has come.

Lines end with LF, CR or CRLF. The `data:` lines of an event are one text, joined by LF, judged as JSON or as text and written back
into their lines; comments, ids and all other fields are judged as text. An event that did not end is dropped, as its reader
would drop it.
"""

from dataclasses import dataclass

from addons.core.errors import Unmaskable
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import Tools
from addons.core.masking.text_mask import TextMasker

BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Line:
    """One line of an event: what stands before its value, the value, and how it ended."""

    head: str
    value: str
    end: str

    @property
    def is_data(self) -> bool:
        return self.head.partition(":")[0] == "data"


class EventMasker:
    """Masks the lines of one event. `deltas` joins values that are spread over several."""

    def __init__(self, tools: Tools) -> None:
        self._json = JsonMasker(tools)
        self._text = TextMasker(tools)

    def mask(self, lines: list[Line]) -> str:
        """The event as it may leave."""
        data = [line for line in lines if line.is_data]
        if data:
            put_back(lines, data, self.data("\n".join(line.value for line in data)))
        out = [(line.head + line.value if line.is_data else self._other(line)) + line.end for line in lines]
        self._json.forget()
        return "".join(out)

    def rest(self) -> str:
        """What is still held of earlier events."""
        return ""

    def data(self, text: str) -> str:
        """The masked data of one event."""
        if text.lstrip()[:1] in ("{", "["):
            try:
                return self._json.mask(text.encode("utf-8")).decode("utf-8")
            except Unmaskable as error:
                if error.reason != "syntax":
                    raise
        return self._text.mask(text)

    def _other(self, line: Line) -> str:
        if line.head.partition(":")[0] not in ("event", "id", "retry", ""):
            return self._text.mask(line.head + line.value)  # readers ignore such a field, but it may hold anything
        return line.head + (self._text.mask(line.value) if line.value else "")


class SseMasker:
    """A whole stream of events."""

    def __init__(self, tools: Tools, events: EventMasker | None = None) -> None:
        self._tools = tools
        self._events = events or EventMasker(tools)
        self._held = b""
        self._lines: list[Line] = []
        self._size = 0
        self._after_cr = False
        self._is_first = True

    def feed(self, data: bytes) -> bytes:
        """The events that are whole by now, masked."""
        out: list[str] = []
        rest = self._held + data
        if self._after_cr and rest:
            self._after_cr = False
            if rest[:1] == b"\n":
                rest = rest[1:]
                out.append(self._linefeed())
        while (found := _line_end(rest)) is not None:
            line, end, rest = rest[: found[0]], rest[found[0] : found[1]], rest[found[1] :]
            if end == b"\r" and not rest:
                self._after_cr = True  # a line feed that follows belongs to it
            out.append(self._line(line, end.decode("ascii")))
        self._held = rest
        if self._size + len(rest) > self._tools.view.limits.event:
            raise Unmaskable("size", detail="an event")
        return "".join(out).encode("utf-8")

    def finish(self) -> bytes:
        """What was held for a later event. An event without its blank line is none."""
        return self._events.rest().encode("utf-8")

    def _linefeed(self) -> str:
        """The second half of a CRLF that was cut in two: part of the line that is held, or of what has left already."""
        if self._lines:
            self._lines[-1].end += "\n"
            return ""
        return "\n"

    def _line(self, raw: bytes, end: str) -> str:
        self._size += len(raw) + len(end)
        if self._size > self._tools.view.limits.event:
            raise Unmaskable("size", detail="an event")
        mark = ""
        if self._is_first:
            self._is_first = False
            if raw.startswith(BOM):
                mark, raw = "\ufeff", raw[len(BOM) :]
        text = _decode(raw)
        if text == "":
            return mark + self._end_of_event(end)
        line = split(text, end)
        if text.startswith(":") and not self._lines:
            self._size = 0
            return mark + self._events.mask([line])  # a comment keeps a connection alive: it does not wait
        if mark:
            line.head = mark + line.head if not line.is_data else line.head
        self._lines.append(line)
        return mark if line.is_data else ""

    def _end_of_event(self, end: str) -> str:
        lines, self._lines, self._size = self._lines, [], 0
        return (self._events.mask(lines) if lines else "") + end


def split(text: str, end: str) -> Line:
    """A line as its field and value. A comment has no field, a line without a colon no value."""
    name, colon, value = text.partition(":")
    if not colon:
        return Line(text, "", end)
    space = " " if value.startswith(" ") else ""
    return Line(f"{name}:{space}", value[len(space) :], end)


def put_back(lines: list[Line], data: list[Line], masked: str) -> None:
    """Write the masked data into its lines. A value of several lines may have become one, never more."""
    parts = masked.split("\n")
    for line, part in zip(data, parts, strict=False):
        line.value = part
        if part and ":" not in line.head:
            line.head = "data:"
    gone = {id(line) for line in data[len(parts) :]}
    lines[:] = [line for line in lines if id(line) not in gone]
    if len(parts) > len(data):
        last = data[-1]
        last.value += "".join(f"{last.end}data: {part}" for part in parts[len(data) :])


def _line_end(data: bytes) -> tuple[int, int] | None:
    """Where the first line ends, and where the next begins."""
    feed, carriage = data.find(b"\n"), data.find(b"\r")
    if carriage >= 0 and (feed < 0 or carriage < feed):
        return carriage, carriage + (2 if data[carriage + 1 : carriage + 2] == b"\n" else 1)
    return None if feed < 0 else (feed, feed + 1)


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unmaskable("charset") from error
    if "\x00" in text:
        raise Unmaskable("charset")
    return text
