"""Values that are spread over several events: the deltas of a model's answer (`joined_paths` in masking.yaml).

A card number whose digits come in five events is invisible to each of them. So the text at such a path is joined over the events: what may
still grow into a value is held and moves into the next event; what has left is remembered as context, because `my ssn is` may
stand in one event and the number in another. Plain words pass with the delay of one word. Held text leaves in an event of its own, made
after the last one with text, before the event that ends it (`finish_reason`, an event of the same `index` without text, `[DONE]`).
"""

import re
from copy import deepcopy
from dataclasses import dataclass, field

from addons.core.errors import Unmaskable
from addons.core.masking import key_words
from addons.core.masking.json_read import Frame, Leaf, Reader, escape, quote, splice, unquote
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import Hit, Site, Tools
from addons.core.masking.rules import path_matches
from addons.core.masking.stream_sse import EventMasker, Line, put_back

TAIL = 64  # characters in which a number, an address or a word that tells of one still counts
LONGEST = 4096  # a word that is longer is no value that the table knows
ENDS = frozenset({"finish_reason", "stop_reason", "done_reason"})
MAX_KEYS = 256  # texts that grow side by side
_WORD = re.compile(r"\S+\s*")
_PLAIN = re.compile(r"[^\W\d_]{1,24}[,.;:!?'\")]{0,2}\s+")

type Key = tuple[str, str]  # the pointer, and the `index` beside or above it


@dataclass(slots=True)
class Growing:
    """One text that grows: the end of what has left, what is held, and the event it came in last."""

    context: str = ""
    held: str = ""
    lines: list[Line] = field(default_factory=list)


class DeltaMasker(EventMasker):
    """Masks events, and joins the texts at these paths."""

    def __init__(self, tools: Tools, paths: tuple[str, ...]) -> None:
        super().__init__(tools)
        self._tools, self._paths = tools, paths
        self._leaf = JsonMasker(tools).leaf
        self._growing: dict[Key, Growing] = {}

    def mask(self, lines: list[Line]) -> str:
        """The event as it may leave, and before it what it ends."""
        data = [line for line in lines if line.is_data]
        if not data:
            return super().mask(lines)
        text = "\n".join(line.value for line in data)
        document = self._read(text)
        if document is None:
            return self.rest() + super().mask(lines)
        found = {key_of(leaf, document): leaf for leaf in document.leaves if self._is_joined(leaf)}
        indices = {index for leaf in document.leaves if (index := index_of(leaf, document)) is not None}
        before = "".join(self._flush(key) for key in list(self._growing) if key not in found and key[1] in indices)
        if found:
            ends = any(leaf.kind == "string" and leaf.step in ENDS for leaf in document.leaves)
            template = deepcopy(lines)
            edits = [(leaf.start, leaf.end, self._grow(key, leaf, document, template, ends=ends)) for key, leaf in found.items()]
            put_back(lines, data, splice(document.body, edits).decode("utf-8"))
        return before + super().mask(lines)

    def rest(self) -> str:
        """Everything that is held: the stream ends."""
        return "".join(self._flush(key) for key in list(self._growing))

    def _read(self, text: str) -> Reader | None:
        if text.lstrip()[:1] not in ("{", "["):
            return None
        reader = Reader(text.encode("utf-8"), self._tools.view.limits.depth, lambda _: None)
        try:
            reader.read()
        except Unmaskable as error:
            if error.reason != "syntax":
                raise
            return None
        return reader

    def _is_joined(self, leaf: Leaf) -> bool:
        return leaf.kind == "string" and any(path_matches(path, pointer_of(leaf)) for path in self._paths)

    def _grow(self, key: Key, leaf: Leaf, document: Reader, template: list[Line], *, ends: bool) -> bytes:
        """Take what has come; return what may leave in its place."""
        token = document.body[leaf.start : leaf.end]
        known = self._growing.get(key)
        if known is None:
            if len(self._growing) >= MAX_KEYS:
                raise Unmaskable("size", detail="texts that grow side by side")
            known = self._growing[key] = Growing()
        known.held += unquote(token)
        known.lines = template
        return quote(self._give(known, key, whole=ends), token)

    def _give(self, known: Growing, key: Key, *, whole: bool) -> str:
        """What of a growing text may leave: all of it at its end, else up to where a value may begin."""
        text, start = known.context + known.held, len(known.context)
        site = Site(key=key[0].rpartition("/")[2], pointer=key[0], general=key[0])
        hits = self._leaf.find(text, site)
        end = len(text) if whole else max(start, safe_end(text, hits))
        masked = self._masked(text, hits, start, end, site)
        known.context, known.held = text[:end][-TAIL:], text[end:]
        return masked

    def _masked(self, text: str, hits: list[Hit], start: int, end: int, site: Site) -> str:
        pieces, at = [], start
        for hit in hits:
            first, last = max(hit.span.start, at), min(hit.span.end, end)
            if first >= last:
                continue
            value = text[hit.span.start : hit.span.end]
            pieces += [text[at:first], self._leaf.become(value, hit, site)]
            self._tools.tally.note(hit.choice.profile, hit.span.info_type, site.general, hit.choice.rule.transform)
            at = last
        return "".join([*pieces, text[at:end]])

    def _flush(self, key: Key) -> str:
        """An event of its own for what is held."""
        known = self._growing.pop(key)
        if not known.held:
            return ""
        lines = deepcopy(known.lines)
        data = [line for line in lines if line.is_data]
        document = self._read("\n".join(line.value for line in data))
        assert document is not None
        edits = []
        for leaf in document.leaves:
            if self._is_joined(leaf):
                told = self._give(known, key, whole=True) if key_of(leaf, document) == key else ""
                edits.append((leaf.start, leaf.end, quote(told, document.body[leaf.start : leaf.end])))
        put_back(lines, data, splice(document.body, edits).decode("utf-8"))
        last = lines[-1].end
        return super().mask(lines) + last


def safe_end(text: str, hits: list[Hit]) -> int:
    """Up to where the text can leave: before the last word, and before the first of the newest words that is more than a plain one."""
    words = list(_WORD.finditer(text))
    if not words:
        return 0
    end = words[-1].start()
    for word in reversed(words[:-1]):
        if word.end() < len(text) - TAIL:
            break
        if not is_plain(word[0]):
            end = word.start()
    if len(text) - end > LONGEST:
        end = len(text) - TAIL
    for hit in hits:
        if hit.span.start < end < hit.span.end + 1:
            end = hit.span.start
    return end


def is_plain(word: str) -> bool:
    """Whether this word can neither be a value nor tell of one."""
    return _PLAIN.fullmatch(word) is not None and key_words.family(word.strip(" \t\r\n,.;:!?'\")")) is None


def pointer_of(leaf: Leaf) -> str:
    """The JSON pointer of a leaf."""
    return "" if leaf.frame.parent is None else f"{leaf.frame.pointer}/{escape(leaf.step)}"


def key_of(leaf: Leaf, document: Reader) -> Key:
    """Which growing text a leaf belongs to: where it stands, and under which `index`."""
    told = {id(one.frame): document.body[one.start : one.end].decode() for one in document.leaves if _is_index(one)}
    frame: Frame | None = leaf.frame
    while frame is not None:
        if id(frame) in told:
            return pointer_of(leaf), told[id(frame)]
        frame = frame.parent
    return pointer_of(leaf), ""


def index_of(leaf: Leaf, document: Reader) -> str | None:
    """The value of an `index`."""
    return document.body[leaf.start : leaf.end].decode() if _is_index(leaf) else None


def _is_index(leaf: Leaf) -> bool:
    return leaf.kind == "number" and leaf.frame.is_object and leaf.step == "index"
