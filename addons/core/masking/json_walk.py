"""Masks JSON by splicing bytes: what is not masked leaves exactly as it came.

The bytes are read as tokens with one anchored expression and a small state machine; a byte that the grammar does not
allow makes the document Unmaskable. A parse-and-dump round trip would lose duplicate keys, the spelling of numbers and
the spacing; here only masked tokens get new bytes. If there are none, the very same object comes back.

Decisions are made when the whole document has been read, never leaf by leaf: `{"value": "...", "name": "DB_PASSWORD"}`
and `{"data": {...}, "kind": "Secret"}` put the telling field last.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from addons.core.errors import Unmaskable
from addons.core.masking import key_words
from addons.core.masking.detector import CARD_WORDS, is_harmless
from addons.core.masking.leaf_mask import LeafMasker, Site, Tools, holds_no_text
from addons.core.masking.rules import literal_end
from addons.core.masking.spans import Span

_TOKEN = re.compile(
    rb'[ \t\n\r\x1e]*+(?:("[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")'
    rb"|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)|(true|false|null)|([{}\[\],:]))"
)
_SPACE = re.compile(rb"[ \t\n\r\x1e]*+")
_ESCAPED_SURROGATE = re.compile("[\ud800-\udfff]")
NAME_KEYS = frozenset({("name",), ("key",), ("header",), ("field",), ("param",), ("parameter",), ("variable",), ("label",), ("property",)})
VALUE_KEYS = frozenset({("value",), ("values",), ("val",), ("content",), ("default",), ("data",)})
NUMBER_KEYS = frozenset({("number",), ("no",), ("num",), ("nr",)})
SECRET_KINDS = frozenset({"secret", "secretlist"})
SECRET_FIELDS = frozenset({"data", "stringData"})


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


class JsonMasker:
    """Masks one document with the tools of one body."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.leaf = LeafMasker(tools, self._nested)
        self._names: dict[str, str | None] = {}
        self._dull: dict[tuple[str, str], bool] = {}

    def mask(self, body: bytes) -> bytes:
        """The masked document; the same object when nothing was masked."""
        return self._document(body, None)

    def line(self, line: bytes, site: Site) -> bytes:
        """Mask one line of a text that is JSON; `site` says where in the text it begins."""
        return self._document(line, site)

    def _document(self, body: bytes, above: Site | None) -> bytes:
        reader = Reader(body, self.tools.view.limits.depth, self._rename)
        reader.read()
        edits = reader.edits
        for leaf in reader.leaves:
            if above is None and self._is_dull(leaf, body):
                self.tools.tally.saw(general_of(leaf))
                continue
            site = self._site(leaf, above, body)
            self.tools.tally.saw(site.general)
            new = self._string(leaf, site, body) if leaf.kind == "string" else self._number(leaf, site, body)
            if new is not None:
                edits.append((leaf.start, leaf.end, new))
        return splice(body, edits)

    def _is_dull(self, leaf: Leaf, body: bytes) -> bool:
        """A leaf that no key, pair or field rule names and whose shape is harmless: counted as seen, and nothing more.

        Most of most answers is like that, so this asks in the cheapest order what the whole way would answer too.
        """
        frame = leaf.frame
        if frame.step in SECRET_FIELDS or (frame.pair_names and key_words.words(leaf.step) in VALUE_KEYS):
            return False
        key = own_key(frame, leaf.step)
        dull = self._dull.get((key, leaf.step))
        if dull is None:
            dull = self._dull[key, leaf.step] = self._nothing_names(key, leaf.step)
        if not dull or leaf.kind != "string":
            return dull
        text = unquote(body[leaf.start : leaf.end])
        return is_harmless(text, self.tools.view.hex) and holds_no_text(text)

    def _nothing_names(self, key: str, step: str) -> bool:
        if key_words.family(key) is not None or CARD_WORDS.intersection(key_words.words(key)):
            return False
        rules = [rule for profile in self.tools.view.profiles for rule in profile.fields]
        return not any(
            key_words.words(rule.key) == key_words.words(key)
            if rule.key is not None
            else literal_end(rule.path or "") in ("", "/" + escape(step))
            for rule in rules
        )

    def _nested(self, text: str, site: Site) -> str | None:
        """Mask a string that is JSON itself; None when it is not."""
        try:
            raw = text.encode("utf-8")
            return self._document(raw, site).decode("utf-8")
        except (Unmaskable, UnicodeError) as error:
            if isinstance(error, Unmaskable) and error.reason not in ("syntax", "charset"):
                raise
            return None

    def _string(self, leaf: Leaf, site: Site, body: bytes) -> bytes | None:
        token = body[leaf.start : leaf.end]
        masked = self.leaf.mask(unquote(token), site)
        return None if masked is None else quote(masked, token)

    def _number(self, leaf: Leaf, site: Site, body: bytes) -> bytes | None:
        """Numbers and words are masked only by a key or field rule; a number becomes 0, a word null."""
        active = self.tools.view.active(site.pointer)
        choice = self.leaf.field_choice(site, active) if active and self.tools.view.has_fields else None
        text = body[leaf.start : leaf.end].decode("ascii")
        if choice is None and tells_number("CREDIT_CARD", text) and CARD_WORDS.intersection(key_words.words(site.key)):
            choice = self.tools.view.choose("CREDIT_CARD", 1.0, text, active)
        if choice is None and leaf.kind == "number" and active:
            choice = next((hit.choice for hit in self.leaf.whole(text, site) if tells_number(hit.span.info_type, text)), None)
        if choice is None or choice.rule.transform == "keep":
            return None
        new = b"0" if leaf.kind == "number" else b"null"
        if new == body[leaf.start : leaf.end]:
            return None
        self.tools.tally.note(choice.profile, choice.rule.info_type, site.general, choice.rule.transform)
        self.tools.tally.found(site.pointer, Span(0, len(text), choice.rule.info_type, 1.0, "key"))
        return new

    def _site(self, leaf: Leaf, above: Site | None, body: bytes) -> Site:
        frame = leaf.frame
        key = own_key(frame, leaf.step)
        if frame.is_object and frame.pair_names and key_words.words(key) in VALUE_KEYS:
            key = telling_name(frame.pair_names)
        lone = frame.parent is None
        pointer = "" if lone else f"{frame.pointer}/{escape(leaf.step)}"
        general = "" if lone else f"{frame.general}/{escape(leaf.step) if frame.is_object else '*'}"
        namespace, name = identity_of(frame)
        if above is None:
            return Site(key, pointer, general, frame.near_person, frame.pointer, in_secret_data(frame), namespace, name)
        base = -1
        if above.root is not None and above.root[1] >= 0 and b"\\" not in body[leaf.start : leaf.end]:
            base = above.root[1] + len(body[: leaf.start + 1].decode("utf-8"))
        return Site(
            key or above.key, above.pointer + pointer, above.general + general, frame.near_person, above.object_pointer + frame.pointer,
            in_secret_data(frame), namespace or above.namespace, name or above.name, above.level, (above.root[0] if above.root else above.pointer, base),
        )  # fmt: skip

    def _rename(self, key: str) -> str | None:
        """The masked form of a key that is itself a value (an e-mail, a card number, a credential)."""
        if key not in self._names:
            self._names[key] = self._masked_key(key)
        return self._names[key]

    def _masked_key(self, key: str) -> str | None:
        mode = self.tools.view.keys_of_objects
        if mode == "keep" or not looks_like_value(key) or self.tools.transformer.marks.is_mark(key):
            return None
        hits = [hit for hit in self.leaf.find(key, Site()) if hit.span.start == 0 and hit.span.end == len(key)]
        if not hits:
            return None
        if mode == "block":
            raise Unmaskable("opaque", detail="an object key is itself a value")
        return self.leaf.become(key, hits[0], Site())


def general_of(leaf: Leaf) -> str:
    """The pointer of a leaf with `*` for indices."""
    if leaf.frame.parent is None:
        return ""
    return f"{leaf.frame.general}/{escape(leaf.step) if leaf.frame.is_object else '*'}"


def looks_like_value(key: str) -> bool:
    """A cheap necessary condition for a key to be an e-mail, a card, an IBAN, an SSN or a secret."""
    return "@" in key or len(key) >= 20 or sum(char.isdigit() for char in key) >= 8


def tells_number(info_type: str, text: str) -> bool:
    """Which families mask a bare number: secrets and national ids any, phones and cards by their length and checksum."""
    digits = text.lstrip("-")
    if info_type == "CREDIT_CARD":
        return digits.isdigit() and 13 <= len(digits) <= 19 and luhn(digits)
    if info_type in ("PHONE_NUMBER", "IBAN_CODE"):
        return digits.isdigit() and len(digits) >= 7
    if info_type == "US_SSN":
        return digits.isdigit() and len(digits) >= 7
    return info_type == "SECRET"


def luhn(digits: str) -> bool:
    """The checksum of card numbers (ISO/IEC 7812-1)."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def own_key(frame: Frame, step: str) -> str:
    """The key that a leaf is judged under: its own, the array's, and for a bare `number` the object's too (`card.number`)."""
    if not frame.is_object:
        return frame.key
    return f"{frame.key} {step}" if frame.key and key_words.words(step) in NUMBER_KEYS else step


def telling_name(names: list[str]) -> str:
    """The name of a pair under which its value is judged; of several (duplicate keys), one that tells."""
    return next((name for name in names if key_words.family(name) is not None), names[0])


def in_secret_data(frame: Frame) -> bool:
    """Whether this object is the `data` or `stringData` of an object that says it is a Secret, alone or in a list."""
    if not frame.is_object or frame.step not in SECRET_FIELDS or frame.parent is None:
        return False
    holder: Frame | None = frame.parent
    for _ in range(3):  # the Secret itself, `items`, the list
        if holder is None:
            return False
        if SECRET_KINDS.intersection(holder.kinds):
            return True
        holder = holder.parent
    return False


def identity_of(frame: Frame) -> tuple[str, str]:
    """Namespace and name of the nearest object above that has `metadata`; two empty texts when none has."""
    current: Frame | None = frame
    while current is not None:
        for metadata in (current, *current.metadata):
            if metadata.names:
                return (metadata.namespaces[0] if metadata.namespaces else "", metadata.names[0])
        current = current.parent
    return "", ""


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
