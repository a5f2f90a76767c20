"""Reads JSON bytes into leaves with their places, and splices new bytes in: the lossless half of the JSON masker.

Tokens are matched at the current position only (never searched for, which would jump over bytes nobody knows), and a small
state machine checks the grammar: a byte that the grammar does not allow makes the document Unmaskable.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from addons.core.errors import Unmaskable
from addons.core.masking import key_words

_TOKEN = re.compile(
    rb'[ \t\n\r\x1e]*+(?:("[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")'
    rb"|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)|(true|false|null)|([{}\[\],:]))"
)
_SPACE = re.compile(rb"[ \t\n\r\x1e]*+")
_ESCAPED_SURROGATE = re.compile("[\ud800-\udfff]")
NAME_KEYS = frozenset({("name",), ("key",), ("header",), ("field",), ("param",), ("parameter",), ("variable",), ("label",), ("property",)})


@dataclass(slots=True, eq=False)
class Frame:
    """One object or array."""

    is_object: bool
    parent: "Frame | None"
    step: str  # the key or index under which it stands
    key: str  # the nearest key above or at it
    depth: int
    keys: list[str]
    kinds: list[str]
    names: list[str]
    namespaces: list[str]
    pair_names: list[str]
    metadata: "list[Frame]"
    index: int = 0
    pointer_kept: str | None = None
    general_kept: str | None = None
    near_kept: bool | None = None

    @property
    def is_top(self) -> bool:
        """A top-level value, or what stands above them all."""
        return self.parent is None or self.parent.parent is None

    @property
    def above(self) -> "Frame":
        assert self.parent is not None
        return self.parent

    @property
    def pointer(self) -> str:
        if self.pointer_kept is None:
            self.pointer_kept = "" if self.is_top else f"{self.above.pointer}/{escape(self.step)}"
        return self.pointer_kept

    @property
    def general(self) -> str:
        if self.general_kept is None:
            self.general_kept = "" if self.is_top else f"{self.above.general}/{escape(self.step) if self.above.is_object else '*'}"
        return self.general_kept

    @property
    def near_person(self) -> bool:
        if self.near_kept is None:
            self.near_kept = any(key_words.tells_of_person(key) for key in self.keys)
        return self.near_kept


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: byte offsets in the body, and where it stands."""

    start: int
    end: int
    kind: str  # string | number | word
    frame: Frame
    step: str


def escape(step: str) -> str:
    """A key as a segment of a JSON pointer (RFC 6901)."""
    return step.replace("~", "~0").replace("/", "~1")


def _frame(is_object: bool, parent: Frame | None, step: str, key: str) -> Frame:
    return Frame(is_object, parent, step, key, 1 if parent is None else parent.depth + 1, [], [], [], [], [], [])


def unquote(token: bytes) -> str:
    """The text of a string token; lone surrogates are allowed."""
    if b"\\" not in token:
        return token[1:-1].decode("utf-8")
    text: str = json.loads(token)
    return text


def quote(text: str, like: bytes) -> bytes:
    """A string token; not ASCII only when the original was not."""
    if like.isascii() or _ESCAPED_SURROGATE.search(text):
        return json.dumps(text).encode("ascii")
    return json.dumps(text, ensure_ascii=False).encode("utf-8")


class Reader:
    """Reads a body into leaves. `rename` gives the masked form of an object key, or None."""

    def __init__(self, body: bytes, depth: int, rename: Callable[[str], str | None]) -> None:
        self.body = body
        self.leaves: list[Leaf] = []
        self.edits: list[tuple[int, int, bytes]] = []
        self._depth = depth
        self._rename = rename
        self._root = _frame(False, None, "", "")
        self._root.depth = 0
        self._frame = self._root
        self._expect = "value"
        self._step = ""

    def read(self) -> None:
        """Fill `leaves` and the edits of keys. Raises Unmaskable for anything that is not JSON."""
        body, position, match = self.body, 0, _TOKEN.match
        while (found := match(body, position)) is not None:
            group = found.lastindex or 0
            if self._frame is self._root and self._expect == "comma" and found.start(group) > position:
                self._expect = "value"  # several top-level values, with space between them: NDJSON, RFC 7464
            position = found.end()
            if group == 4:
                self._sign(body[position - 1])
            else:
                self._token(found.start(group), position, group)
        space = _SPACE.match(body, position)
        complete = self._frame is self._root and self._expect == "comma"
        if not complete or space is None or space.end() != len(body):
            raise Unmaskable("syntax")

    def _sign(self, sign: int) -> None:
        if sign in b"{[":
            self._open(sign == 0x7B)
        elif sign in b"}]":
            self._close(sign == 0x7D)
        elif sign == 0x2C:
            self._comma()
        else:
            self._require("colon")
            self._expect = "value"

    def _require(self, *allowed: str) -> None:
        if self._expect not in allowed:
            raise Unmaskable("syntax")

    def _open(self, is_object: bool) -> None:
        self._require("value", "value or end")
        parent = self._frame
        frame = _frame(is_object, parent, self._step, self._step if parent.is_object else parent.key)
        if frame.depth > self._depth:
            raise Unmaskable("depth")
        if is_object and parent.is_object and self._step == "metadata":
            parent.metadata.append(frame)
        self._frame = frame
        self._expect = "key or end" if is_object else "value or end"
        self._step = "" if is_object else "0"

    def _close(self, is_object: bool) -> None:
        frame = self._frame
        self._require("comma", "key or end" if is_object else "value or end")
        if frame.parent is None or frame.is_object != is_object:
            raise Unmaskable("syntax")
        self._frame, self._expect = frame.parent, "comma"

    def _comma(self) -> None:
        self._require("comma")
        frame = self._frame
        if frame is self._root:
            raise Unmaskable("syntax")
        self._expect = "key" if frame.is_object else "value"
        if not frame.is_object:
            frame.index += 1
            self._step = str(frame.index)

    def _token(self, start: int, end: int, group: int) -> None:
        if self._expect in ("key", "key or end"):
            if group != 1:
                raise Unmaskable("syntax")
            self._key(start, end)
            self._expect = "colon"
            return
        self._require("value", "value or end")
        self._scalar(start, end, group)
        self._expect = "comma"

    def _key(self, start: int, end: int) -> None:
        token = self.body[start:end]
        key = unquote(token)
        self._frame.keys.append(key)
        renamed = self._rename(key)
        if renamed is not None:
            self.edits.append((start, end, quote(renamed, token)))
        self._step = key if renamed is None else renamed

    def _scalar(self, start: int, end: int, group: int) -> None:
        frame, step = self._frame, self._step
        self.leaves.append(Leaf(start, end, ("string", "number", "word")[group - 1], frame, step))
        if group != 1 or not frame.is_object:
            return
        if step == "kind":
            frame.kinds.append(unquote(self.body[start:end]).lower())
        elif step in ("name", "namespace") and frame.step == "metadata":
            (frame.names if step == "name" else frame.namespaces).append(unquote(self.body[start:end]))
        if key_words.words(step) in NAME_KEYS:
            frame.pair_names.append(unquote(self.body[start:end]))


def splice(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The body with these disjoint pieces replaced; the same object when there are none."""
    if not edits:
        return body
    pieces: list[bytes] = []
    position = 0
    for start, end, new in sorted(edits):
        pieces += [body[position:start], new]
        position = end
    pieces.append(body[position:])
    return b"".join(pieces)
