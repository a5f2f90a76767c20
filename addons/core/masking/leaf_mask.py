"""Masks one string: judges it, replaces what must not be seen, and looks inside strings that hold JSON or base64.

The walkers (json_walk, text_mask, form_mask) find the strings and say where they stand; this module decides what becomes
of each. A mark of ours inside a text is left as it is, so masking twice changes nothing.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from addons.core.config.model import FieldRule, Profile
from addons.core.masking.detector import Detector, Sight, by_key
from addons.core.masking.folding import fold
from addons.core.masking.pseudonym import Place
from addons.core.masking.receipt import Tally
from addons.core.masking.rules import Choice, MaskView, strictest
from addons.core.masking.spans import Span, union
from addons.core.masking.transforms import Transformer

type Rules = list[tuple[Profile, FieldRule]]

MAX_LEVELS = 4  # JSON in base64 in JSON ...: deeper is scanned as text
FULL = 1.0
_BASE64 = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}|[A-Za-z0-9_-]{12,}={0,2}")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a string stands. `general` is the pointer with `*` for indices; `object_pointer` names the object that holds it."""

    key: str = ""
    pointer: str = ""
    general: str = ""
    near_person: bool = False
    object_pointer: str = ""
    in_secret: bool = False  # below `data` of an object that says it is a Secret
    namespace: str = ""
    name: str = ""
    level: int = 0
    root: tuple[str, int] | None = None  # inside a string: the pointer of that string, and where in it this one begins (-1: not one to one)


@dataclass(slots=True)
class Tools:
    """Everything that masking one body needs."""

    detector: Detector
    transformer: Transformer
    view: MaskView
    place: Place
    tally: Tally
    alive: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Hit:
    """A span and what becomes of it."""

    span: Span
    choice: Choice


class LeafMasker:
    """`mask` is the one door. `nested` masks a string that is itself JSON; it returns None when it is not."""

    def __init__(self, tools: Tools, nested: Callable[[str, Site], str | None]) -> None:
        self.tools = tools
        self._nested = nested

    def mask(self, text: str, site: Site, named: Sequence[Hit] = ()) -> str | None:
        """The masked text, None when nothing changes. `named` are hits that the caller already knows of."""
        self.tools.alive()
        if not text or self._is_ours(text, site):
            return None
        view = self.tools.view
        active = view.active(site.pointer)
        if not active:
            return None
        rules = self._rules(site, active)
        sight = self._sight(site, active, rules)
        hits = self._whole(text, site, active, rules, sight)
        if not hits and not named and site.level < MAX_LEVELS:
            inner = self._inside(text, site)
            if inner is not None:
                return inner if inner != text else None
        return self._replace(text, hits or self._parts(text, sight, active, named), site)

    def whole(self, text: str, site: Site) -> list[Hit]:
        """The one hit of a text that is masked whole: a field rule, a Secret's data, a telling key. None for a mark of ours."""
        active = self.tools.view.active(site.pointer)
        if not active or self._is_ours(text, site):
            return []
        rules = self._rules(site, active)
        return self._whole(text, site, active, rules, self._sight(site, active, rules))

    def _is_ours(self, text: str, site: Site) -> bool:
        """A mark of ours; in a Secret's data also the base64 of one, which is how we leave it there."""
        is_mark = self.tools.transformer.marks.is_mark
        if is_mark(text):
            return True
        if not site.in_secret or not _BASE64.fullmatch(text):
            return False
        try:
            return is_mark(base64.b64decode(text, validate=True).decode("ascii"))
        except (binascii.Error, UnicodeDecodeError):
            return False

    def find(self, text: str, site: Site) -> list[Hit]:
        """What would be masked in a plain string, without looking inside it."""
        active = self.tools.view.active(site.pointer)
        if not active:
            return []
        rules = self._rules(site, active)
        sight = self._sight(site, active, rules)
        return self._whole(text, site, active, rules, sight) or self._parts(text, sight, active)

    def field_choice(self, site: Site, active: tuple[Profile, ...]) -> Choice | None:
        """What the field rules say of this place, None when they say nothing or only `scan`."""
        return chosen_by_field(self._rules(site, active))

    def _rules(self, site: Site, active: tuple[Profile, ...]) -> Rules:
        return self.tools.view.field_rules(site.pointer, site.key, active) if self.tools.view.has_fields else []

    def _whole(self, text: str, site: Site, active: tuple[Profile, ...], rules: Rules, sight: Sight) -> list[Hit]:
        if rules and (best := chosen_by_field(rules)) is not None:
            return [Hit(Span(0, len(text), best.rule.info_type, FULL, "key"), best)]
        span = Span(0, len(text), "SECRET", FULL, "key") if site.in_secret else by_key(text, sight)
        choice = self.tools.view.choose(span.info_type, span.score, text, active) if span else None
        return [Hit(span, choice)] if span and choice else []

    def _parts(self, text: str, sight: Sight, active: tuple[Profile, ...], named: Sequence[Hit] = ()) -> list[Hit]:
        view = self.tools.view
        spans = self.tools.detector.spans(text, sight, self.tools.alive)
        if not spans and not named:
            return []
        marks = list(self.tools.transformer.marks.find(text))
        kept = [hit.span for hit in named]
        chosen = {hit.span: hit.choice for hit in named}
        for span in spans:
            if any(mark.start <= span.start and span.end <= mark.end for mark in marks):
                continue
            choice = view.choose(span.info_type, span.score, text[span.start : span.end], active)
            if choice is not None:
                kept.append(span)
                chosen[span] = choice
        return [Hit(span, _choice_in(span, chosen)) for span in union(kept)]

    def _sight(self, site: Site, active: tuple[Profile, ...], rules: Rules) -> Sight:
        view = self.tools.view
        scan = bool(rules) and any(rule.scan for _, rule in rules)
        types = view.info_types if len(active) == len(view.profiles) else frozenset(name for one in active for name in one.entities)
        return Sight(site.key, site.near_person, types, view.hex, scan)

    def _inside(self, text: str, site: Site) -> str | None:
        pointer, base = site.root or (site.pointer, 0)
        if text[0] in "{[ \t\r\n" and text.lstrip()[:1] in ("{", "["):
            return self._nested(text, replace(site, level=site.level + 1, root=(pointer, base)))
        decoded = decode_base64(text) if _BASE64.fullmatch(text) else None
        if decoded is None:
            return None
        masked = self.mask(decoded, replace(site, level=site.level + 1, key="", root=(pointer, -1)))
        return None if masked is None else encode_base64(masked, text)

    def _replace(self, text: str, hits: list[Hit], site: Site) -> str | None:
        if not hits:
            return None
        pieces: list[str] = []
        position = 0
        for hit in hits:
            value = text[hit.span.start : hit.span.end]
            pieces += [text[position : hit.span.start], self.become(value, hit, site)]
            position = hit.span.end
            self.tools.tally.note(hit.choice.profile, hit.span.info_type, site.general or site.pointer, hit.choice.rule.transform)
            self._report(hit.span, text, site)
        pieces.append(text[position:])
        result = "".join(pieces)
        return result if result != text else None

    def _report(self, span: Span, text: str, site: Site) -> None:
        pointer, base = site.root or (site.pointer, 0)
        moved = span if base < 0 else replace(span, start=span.start + base, end=span.end + base)
        self.tools.tally.found(pointer, moved)

    def become(self, value: str, hit: Hit, site: Site) -> str:
        """What stands for a value."""
        tools = self.tools
        place = replace(
            tools.place,
            namespace=site.namespace or tools.place.namespace,
            name=site.name or f"{tools.place.name}#{site.object_pointer}",
        )
        mark = tools.transformer.apply(
            hit.choice.rule,
            hit.span.info_type,
            _as_read(value, hit, site),
            place,
            scope=tools.view.scope,
            region=tools.view.home_region,
        )
        if site.in_secret and site.pointer.rpartition("/")[0].endswith("/data"):
            return encode_base64(mark, "====")
        return mark


def _as_read(value: str, hit: Hit, site: Site) -> str:
    """The value as its reader decodes it, so that `ann%40corp.example` has the pseudonym of `ann@corp.example`."""
    if site.in_secret:
        return decode_base64(value) or value
    folded = None if hit.span.info_type == "SECRET" else fold(value)
    return folded.text if folded else value


def chosen_by_field(rules: Rules) -> Choice | None:
    """The strictest of the field rules that say what a place becomes."""
    return strictest([Choice(rule.rule, profile.name) for profile, rule in rules if rule.rule is not None])


def _choice_in(merged: Span, chosen: Mapping[Span, Choice]) -> Choice:
    """The winner's own rule, unless a stricter one of the same type covers the place."""
    same = [
        one for span, one in chosen.items() if span.info_type == merged.info_type and span.start < merged.end and merged.start < span.end
    ]
    best = strictest(same)
    assert best is not None
    return best


def decode_base64(text: str) -> str | None:
    """The printable text that `text` is base64 of, in either alphabet, padded or not; None when it is none."""
    bare = text.rstrip("=")
    if len(bare) % 4 == 1:
        return None
    standard = bare.replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(standard + "=" * (-len(bare) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return decoded if decoded and all(char.isprintable() or char in "\r\n\t" for char in decoded) else None


def holds_no_text(text: str) -> bool:
    """Whether there is nothing to look into: the text is not base64 of a text."""
    return _BASE64.fullmatch(text) is None or decode_base64(text) is None


def encode_base64(text: str, like: str) -> str:
    """Base64 of `text` in the alphabet and with the padding of `like`, so that it still decodes for its reader."""
    encoded = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")
    if "-" in like or "_" in like:
        encoded = encoded.replace("+", "-").replace("/", "_")
    return encoded if like.endswith("=") or len(like) % 4 == 0 else encoded.rstrip("=")
