"""Masks JSON of any length while it passes: only an unfinished token, or what a later field may still tell about, is held.

The tokens and the judgement are those of the whole-body masker (`json_read`, `json_walk`), so the same bytes come out however
the document was cut. Most leaves can be judged at once. Held until their object closes are those that a neighbour may
name: the value of a pair (`{"value": ..., "name": "DB_PASSWORD"}`), a name that counts only beside other fields about a person,
and the data of what may yet say that it is a Secret. More than `limits.whole` held is Unmaskable: closed.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import replace

from addons.core.errors import Unmaskable
from addons.core.masking import key_words
from addons.core.masking.json_read import _SPACE, _TOKEN, Frame, Leaf, Reader, splice
from addons.core.masking.json_walk import SECRET_FIELDS, SECRET_KINDS, VALUE_KEYS, JsonMasker
from addons.core.masking.leaf_mask import Tools

BOM = b"\xef\xbb\xbf"
_MORE_OF_A_NUMBER = re.compile(rb"[0-9.eE+-]*+")
WORDS = (b"true", b"false", b"null")
MAX_KEYS = 1000  # keys of an open object that are remembered one by one
HOLDER_LEVELS = 3  # the Secret itself, `items`, the list


class Unfinished(Reader):
    """The reader of a document that goes on. `body` is what is still held; offsets are within it."""

    def __init__(self, depth: int, rename: Callable[[str], str | None]) -> None:
        super().__init__(b"", depth, rename)
        self.at = 0
        self._gap = True

    @property
    def is_complete(self) -> bool:
        """Whether the document could end here."""
        return self._frame is self._root and self._expect == "comma" and self.at == len(self.body)

    def add(self, data: bytes, *, last: bool = False) -> None:
        """Read on. Raises Unmaskable(syntax) as soon as a byte cannot be right."""
        self.body += data
        while (found := _TOKEN.match(self.body, self.at)) is not None:
            group = found.lastindex or 0
            if group == 2 and not last and _MORE_OF_A_NUMBER.fullmatch(self.body, found.end()):
                return
            if self._frame is self._root and self._expect == "comma" and (self._gap or found.start(group) > self.at):
                self._expect = "value"
            self.at, self._gap = found.end(), False
            if group == 4:
                self._sign(self.body[self.at - 1])
            else:
                self._token(found.start(group), self.at, group)
        space = _SPACE.match(self.body, self.at)
        assert space is not None
        self._gap = self._gap or space.end() > self.at
        self.at = space.end()
        if self.at < len(self.body) and (last or not may_begin(self.body[self.at :])):
            raise Unmaskable("syntax")

    def open_frames(self) -> set[int]:
        """The identities of the objects and arrays that have not ended."""
        found: set[int] = set()
        frame: Frame | None = self._frame
        while frame is not None:
            found.add(id(frame))
            if len(frame.keys) > MAX_KEYS:
                _forget_keys(frame)
            frame = frame.parent
        return found

    def drop(self, size: int) -> None:
        """Forget the first bytes; they were given out."""
        self.body = self.body[size:]
        self.at -= size
        self.leaves = [replace(leaf, start=leaf.start - size, end=leaf.end - size) for leaf in self.leaves]
        self.edits = [(start - size, end - size, new) for start, end, new in self.edits if end > size]


class JsonStreamMasker:
    """Masks one document, or several with white space between them."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._masker = JsonMasker(tools)
        self._reader = Unfinished(tools.view.limits.depth, self._masker.rename)
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._start: bytes | None = b""  # until it is known whether a byte order mark stands there

    def feed(self, data: bytes) -> bytes:
        """What can leave by now."""
        mark = b""
        if self._start is not None:
            data = self._start + data
            if len(data) < len(BOM) and BOM.startswith(data):
                self._start = data
                return b""
            self._start = None
            if data.startswith(BOM):
                mark, data = BOM, data[len(BOM) :]
        self._check(data, last=False)
        self._reader.add(data)
        return mark + self._emit()

    def finish(self) -> bytes:
        """The rest. Raises Unmaskable for a document that did not end."""
        self._check(b"", last=True)
        self._reader.add(b"", last=True)
        if not self._reader.is_complete:
            raise Unmaskable("syntax")
        return self._emit()

    def _check(self, data: bytes, *, last: bool) -> None:
        try:
            self._utf8.decode(data, last)
        except UnicodeDecodeError as error:
            raise Unmaskable("charset") from error

    def _emit(self) -> bytes:
        reader = self._reader
        still_open = reader.open_frames()
        decided = 0
        for leaf in reader.leaves:
            if not is_decidable(leaf, still_open):
                break
            if id(leaf.frame) in still_open and leaf.frame.near_kept is False:
                leaf.frame.near_kept = None  # a later key may tell of a person
            new = self._masker.edit(leaf, reader.body)
            if new is not None:
                reader.edits.append((leaf.start, leaf.end, new))
            if id(leaf.frame) in still_open and leaf.frame.near_kept is False:
                leaf.frame.near_kept = None
            decided += 1
        waiting = reader.leaves[decided:]
        safe = waiting[0].start if waiting else reader.at
        if len(reader.body) - safe > self._tools.view.limits.whole:
            raise Unmaskable("size", detail="too much of a document waits for what a later field may tell")
        out = splice(reader.body[:safe], [edit for edit in reader.edits if edit[1] <= safe])
        reader.leaves = waiting
        reader.drop(safe)
        self._masker.forget()
        return out


def is_decidable(leaf: Leaf, still_open: set[int]) -> bool:
    """Whether nothing that may still come can change what becomes of this leaf."""
    frame = leaf.frame
    holder, name = (frame, leaf.step) if frame.is_object else (frame.parent, frame.step)
    if holder is not None and id(holder) in still_open and key_words.words(name) in VALUE_KEYS:
        return False
    if id(frame) in still_open and frame.is_object and _needs_neighbours(frame, leaf.step):
        return False
    return not (frame.is_object and frame.step in SECRET_FIELDS) or _holders_have_told(frame, still_open)


def _needs_neighbours(frame: Frame, step: str) -> bool:
    if frame.step in SECRET_FIELDS:
        return True
    family = key_words.family(step)
    return family is not None and family.needs_person and not any(key_words.tells_of_person(key) for key in frame.keys)


def _holders_have_told(frame: Frame, still_open: set[int]) -> bool:
    """Whether those who could say that this is the data of a Secret have said so, or can no more."""
    holder = frame.parent
    for _ in range(HOLDER_LEVELS):
        if holder is None or holder.parent is None:
            return True
        if SECRET_KINDS.intersection(holder.kinds):
            return True
        if holder.is_object and id(holder) in still_open and not holder.kinds:
            return False
        holder = holder.parent
    return True


def _forget_keys(frame: Frame) -> None:
    """A map with very many keys: remember only what they tell."""
    telling = next((key for key in frame.keys if key_words.tells_of_person(key)), None)
    frame.keys[:] = [] if telling is None else [telling]


def may_begin(rest: bytes) -> bool:
    """Whether these bytes may be the beginning of a token."""
    first = rest[:1]
    if first == b'"':
        return True
    if first == b"-" or first.isdigit():
        return len(rest) < 400  # no number is that long; the token table would have read it
    return any(word.startswith(rest) for word in WORDS)
