"""The masked form of everything that is stored, shown or logged: `runtime.redactor`.

It applies every profile the service may owe and the built-in `record` profile, and no `reveal`: a person may see a value
in clear, a store may not hold it. What cannot be masked is not kept raw but as its length and an HMAC, so that two equal
bodies are still seen to be equal. It never raises for bad data, and never passes anything because the engine is cold.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable

from addons.core.config.model import Snapshot
from addons.core.errors import Unmaskable
from addons.core.exchange import Redacted
from addons.core.masking.engine import INLINE, Keys, MaskEngine
from addons.core.masking.form_mask import mask_pairs, mask_url
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.kept import Kept
from addons.core.masking.leaf_mask import LeafMasker, Tools
from addons.core.masking.pseudonym import Place
from addons.core.masking.receipt import Tally
from addons.core.masking.rules import MaskView, record_view
from addons.core.masking.text_mask import TextMasker

WARM_UP_WAIT = 20.0  # seconds that a worker thread waits for the engine; the event loop never waits
MAX_LINE = 256 << 10  # characters of one text; what lies beyond is withheld
MAX_TEXTS = 2 << 20  # bytes of masked lines that are remembered: paths, header values, addresses
MAX_VIEWS = 256  # services whose view is remembered
WITHHELD = "[withheld]"
_WORDS = re.compile(r"(\s+)")


class MaskRedactor:
    """Implements `Redactor` of core/exchange.py."""

    def __init__(self, engine: MaskEngine, snapshot: Callable[[], Snapshot | None], keys: Keys) -> None:
        self._engine = engine
        self._snapshot = snapshot
        self._tag_key = keys.derive("value-tags")
        self._bodies: Kept[Redacted] = Kept()
        self._texts: Kept[str] = Kept(MAX_TEXTS)
        self._views: dict[str | None, tuple[Snapshot, MaskView]] = {}

    def redact(self, data: bytes, media_type: str | None, service: str | None) -> Redacted:
        """Mask a body that is already content-decoded."""
        if not data:
            return Redacted(data)
        try:
            view = self._view(service)
            key = self._body_key(data, media_type, service)
            known = self._bodies.get(key, view)
            if known is not None:
                return known
            done = self._engine.mask_body(data, media_type, view, Place(service=service or ""))
            made = Redacted(done.body, done.counts)
            self._bodies.put(key, view, made, len(made.body))
        except Exception as error:  # noqa: BLE001  # whatever a detector raises: nothing unmasked is written
            return self._withheld(data, error.reason if isinstance(error, Unmaskable) else "crash")
        return made

    def is_quick(self, data: bytes, media_type: str | None, service: str | None) -> bool:
        """Whether `redact` may be asked for this in the event loop: the engine is warm, and it is small or was masked lately."""
        if not self._engine.is_warm:
            return False
        if len(data) < INLINE:
            return True
        try:
            return self._bodies.get(self._body_key(data, media_type, service), self._view(service)) is not None
        except Exception:  # noqa: BLE001  # see redact: the thread will say what is wrong
            return False

    def _body_key(self, data: bytes, media_type: str | None, service: str | None) -> bytes:
        return self._bodies.key((self._engine.detector.identity, repr(media_type), service or ""), data)

    def redact_text(self, text: str, service: str | None) -> str:
        """Mask a path, a URL, a header value, an error text or a log line."""
        if not text:
            return text
        try:
            view = self._view(service)
            key = self._texts.key((self._engine.detector.identity, service or "", text))
            known = self._texts.get(key, view)
            if known is not None:
                return known
            tools = self._tools(view, service)
            rest = WITHHELD if len(text) > MAX_LINE else ""
            shown = text[:MAX_LINE]
            made = TextMasker(tools).mask(mask_words(shown, JsonMasker(tools).leaf)) + rest
            self._texts.put(key, view, made, len(made))
            return made
        except Exception:  # noqa: BLE001  # see redact
            return WITHHELD

    def redact_fields(self, fields: list[tuple[str, str]], service: str | None) -> list[tuple[str, str]]:
        """Mask header fields, each judged under its name."""
        try:
            masker = TextMasker(self._tools(self._view(service), service))
            return [(name, masker.mask(value, key=name) if value else value) for name, value in fields]
        except Exception:  # noqa: BLE001  # see redact
            return [(name, WITHHELD) for name, _ in fields]

    def _tools(self, view: MaskView, service: str | None) -> Tools:
        engine = self._engine
        return Tools(engine.detector, engine.transformer, view, Place(service=service or ""), Tally(), engine.budget(view.limits.time))

    def _view(self, service: str | None) -> MaskView:
        if not self._engine.is_warm and (in_event_loop() or not self._engine.wait(WARM_UP_WAIT)):
            raise Unmaskable("crash", detail="the engine is not warm")
        snapshot = self._snapshot()
        if snapshot is None:
            raise Unmaskable("crash", detail="no Snapshot")
        known = self._views.get(service)
        if known is not None and known[0] is snapshot:
            return known[1]
        view = record_view(snapshot, service)
        if len(self._views) >= MAX_VIEWS:
            self._views.clear()
        self._views[service] = (snapshot, view)
        return view

    def _withheld(self, data: bytes, reason: str) -> Redacted:
        tag = hmac.digest(self._tag_key, data, hashlib.sha256).hex()
        return Redacted(f"[withheld: {reason}, {len(data)} bytes, hmac-sha-256:{tag}]".encode(), complete=False)


def mask_words(text: str, leaf: LeafMasker) -> str:
    """Mask the words that are URLs or query strings pair by pair, so that the names in them tell."""
    if "=" not in text or text.lstrip()[:1] == "{":
        return text  # a JSON object has names of its own; a pair cut out of it would break it
    return "".join(_word(word, leaf) for word in _WORDS.split(text))


def _word(word: str, leaf: LeafMasker) -> str:
    if "?" in word and "=" in word:
        return mask_url(word, leaf)
    return mask_pairs(word, leaf) if "&" in word and "=" in word else word


def in_event_loop() -> bool:
    """Whether this thread runs an event loop, which must not be made to wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
