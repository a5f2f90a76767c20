"""Finds what is personal or secret in one text: the only door to presidio.

Order: `by_key`, a telling key names the whole text; `spans`: a text whose shape is harmless (UUID, time, digest, version, short integer,
plain words) is left alone; then the table of secrets; then a screen, and the recognizers whose pattern may match, with
the key's words as context. The detector says what is there; which profile masks it is decided by the caller.

`load` imports presidio and takes seconds: it belongs into a worker thread. Everything else refuses until it has run.
"""

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from addons.core.masking import key_words, secret_patterns
from addons.core.masking.cache import MAX_TEXT, VerdictCache
from addons.core.masking.folding import fold
from addons.core.masking.screen import RegexScreen, Screen
from addons.core.masking.spans import Span

if TYPE_CHECKING:
    from addons.core.masking.recognizers import Found, Recognizers

THRESHOLDS = {
    "EMAIL_ADDRESS": 0.5, "CREDIT_CARD": 0.5, "US_SSN": 0.5, "US_ITIN": 0.5, "IBAN_CODE": 0.5, "CRYPTO": 0.5, "PHONE_NUMBER": 0.4, "SECRET": 0.5,
    "IP_ADDRESS": 0.5, "MAC_ADDRESS": 0.5, "DATE_OF_BIRTH": 0.5, "PERSON": 0.5, "STREET_ADDRESS": 0.5,
}  # fmt: skip
DEFAULT_TYPES = frozenset({"EMAIL_ADDRESS", "CREDIT_CARD", "US_SSN", "US_ITIN", "IBAN_CODE", "CRYPTO", "PHONE_NUMBER", "SECRET"})
BY_FORM = ("EMAIL_ADDRESS", "CREDIT_CARD", "US_SSN", "US_ITIN", "IBAN_CODE", "CRYPTO", "PHONE_NUMBER", "IP_ADDRESS", "MAC_ADDRESS")
WINDOW = 4096
OVERLAP = 256
KEY_SCORE = 0.95
SECRET_SCORE = 0.9

_HEXLIKE = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|sha(?:256|512|1):[0-9a-fA-F]{7,128}"
)
_HARMLESS = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?"  # RFC 3339
    r"|v?\d{1,5}\.\d{1,5}\.\d{1,5}(?:-[0-9A-Za-z.\-]{1,40})?(?:\+[0-9A-Za-z.\-]{1,40})?"  # semver
    r"|\d{1,12}(?:\.\d{1,6})?(?:[numkMGTPE]|[KMGTPE]i)"  # a Kubernetes quantity
    r"|-?\d{1,8}|-?\d{1,6}\.\d{1,12}"
    r"|[A-Za-z]{1,19}(?: [A-Za-z]{1,19})*"  # words; an AWS key has 20 characters, and one in thirty has no digit
)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the detector may know beside the text."""

    key: str = ""
    near_person: bool = False  # beside other fields about a person
    info_types: frozenset[str] = DEFAULT_TYPES
    hex: bool = False  # judge UUID- and hex-shaped texts too
    scan: bool = False  # a field rule says: free text, whatever its shape

    def inputs(self) -> list[str]:
        """Every input but the text, for the cache."""
        return [self.key[: key_words.MAX_KEY], f"{self.near_person:d}{self.hex:d}{self.scan:d}", *sorted(self.info_types)]


class NotLoaded(RuntimeError):
    """The detector was asked before it was loaded."""


class Detector:
    """`spans` is the one question. Safe to use from several threads."""

    def __init__(self, screen: Screen | None = None) -> None:
        self.cache = VerdictCache()
        self._screen = screen or RegexScreen()
        self._recognizers: Recognizers | None = None
        self._identity = ""
        self._lock = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        return self._recognizers is not None

    @property
    def identity(self) -> str:
        """How it is configured: part of the key of everything that is remembered of its verdicts."""
        return self._identity

    def load(self, nlp_engine: Any, home: str, regions: Iterable[str]) -> None:
        """Import presidio and warm it up; again after a reload that names another engine or other regions."""
        from addons.core.masking import recognizers

        identity = repr((nlp_engine, home, tuple(regions)))
        if identity == self._identity:
            return
        loaded = recognizers.load(nlp_engine, home, tuple(regions))
        with self._lock:
            self._recognizers, self._identity = loaded, identity

    def spans(self, text: str, sight: Sight, alive: Callable[[], None] = lambda: None) -> tuple[Span, ...]:
        """What stands in `text`; spans may overlap. `alive` raises when the time for the body is over."""
        if self._recognizers is None:
            raise NotLoaded("the detector has not been loaded")
        if not text or text.isspace():
            return ()
        if not sight.scan and is_harmless(text, sight.hex):
            return ()
        if len(text) > MAX_TEXT:
            return self._look(text, sight, alive)
        key = self.cache.key([self._identity, text, *sight.inputs()])
        known = self.cache.get(key)
        if known is None:
            known = self._look(text, sight, alive)
            self.cache.put(key, known)
        return known

    def _look(self, text: str, sight: Sight, alive: Callable[[], None]) -> tuple[Span, ...]:
        found = set(self._plain(text, sight, alive))
        folded = fold(text)
        if folded is not None:
            for span in self._plain(folded.text, sight, alive):
                start, end = folded.back(span.start, span.end)
                found.add(Span(start, end, span.info_type, span.score, span.source))
        return tuple(sorted(found, key=lambda span: (span.start, span.end, span.info_type)))

    def _plain(self, text: str, sight: Sight, alive: Callable[[], None]) -> Iterable[Span]:
        if "SECRET" in sight.info_types:
            for hit in secret_patterns.find(text):
                yield Span(hit.start, hit.end, "SECRET", SECRET_SCORE, "secret")
        wanted = [name for name in BY_FORM if name in sight.info_types]
        context = list(key_words.words(sight.key)) or []
        for offset, piece in windows(text):
            alive()
            for found in self._recognize(piece, wanted, context, sight):
                yield Span(found.start + offset, found.end + offset, found.info_type, found.score, "pattern")

    def _recognize(self, text: str, wanted: list[str], context: list[str], sight: Sight) -> Iterable["Found"]:
        types = self._screen.may_hold(text, wanted)
        if not types:
            return []
        assert self._recognizers is not None
        with self._lock:
            found = self._recognizers.find(text, types, context, all_regions=is_free_text(text) or _is_phone_key(sight.key))
        return [one for one in found if _counts(one, text, sight)]


def windows(text: str) -> Iterable[tuple[int, str]]:
    """Pieces of at most 4 KB that overlap by 256 characters: presidio is worse than linear in long texts."""
    if len(text) <= WINDOW:
        yield 0, text
        return
    for offset in range(0, len(text) - OVERLAP, WINDOW - OVERLAP):
        yield offset, text[offset : offset + WINDOW]


def by_key(text: str, sight: Sight) -> Span | None:
    """The whole text, when its key tells what it is."""
    family = key_words.family(sight.key) if sight.key else None
    if family is None or family.info_type not in sight.info_types or (family.needs_person and not sight.near_person):
        return None
    if not key_words.believable(family.info_type, sight.key, text):
        return None
    return Span(0, len(text), family.info_type, KEY_SCORE, "key")


def is_harmless(text: str, judge_hex: bool) -> bool:
    """A whole text that is an identifier, a time, a digest, a version, a quantity, a short number or plain words."""
    if not text.isascii():
        return False
    if not judge_hex and _HEXLIKE.fullmatch(text):
        return True
    return len(text) <= 4096 and _HARMLESS.fullmatch(text) is not None


def is_free_text(text: str) -> bool:
    """Three words or more."""
    return text.count(" ") >= 2


def _is_phone_key(key: str) -> bool:
    family = key_words.family(key) if key else None
    return family is not None and family.info_type == "PHONE_NUMBER"


def _counts(found: "Found", text: str, sight: Sight) -> bool:
    """A card number that is the whole of a numeric leaf needs a key about cards: article numbers pass Luhn one time in ten."""
    if found.info_type == "CREDIT_CARD" and text.strip().isdigit():
        family = key_words.family(sight.key) if sight.key else None
        return (family is not None and family.info_type == "CREDIT_CARD") or bool(CARD_WORDS.intersection(key_words.words(sight.key)))
    return found.score > 0


CARD_WORDS = frozenset(["card", "cc", "pan", "credit", "debit", "visa", "mastercard", "amex", "payment"])
