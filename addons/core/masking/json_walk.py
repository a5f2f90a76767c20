"""Masks JSON by splicing bytes: what is not masked leaves exactly as it came.

The bytes are read as tokens with one anchored expression and a small state machine; a byte that the grammar does not
allow makes the document Unmaskable. A parse-and-dump round trip would lose duplicate keys, the spelling of numbers and
the spacing; here only masked tokens get new bytes. If there are none, the very same object comes back.

Decisions are made when the whole document has been read, never leaf by leaf: `{"value": "...", "name": "DB_PASSWORD"}`
and `{"data": {...}, "kind": "Secret"}` put the telling field last.
"""

from decimal import Decimal, InvalidOperation

from addons.core.errors import Unmaskable
from addons.core.masking import key_words
from addons.core.masking.detector import CARD_WORDS, is_harmless
from addons.core.masking.json_read import Frame, Leaf, Reader, escape, quote, splice, unquote
from addons.core.masking.leaf_mask import LeafMasker, Site, Tools, holds_no_text
from addons.core.masking.rules import literal_end
from addons.core.masking.spans import Span

VALUE_KEYS = frozenset({("value",), ("values",), ("val",), ("content",), ("default",), ("data",)})
NUMBER_KEYS = frozenset({("number",), ("no",), ("num",), ("nr",)})
SECRET_KINDS = frozenset({"secret", "secretlist"})
SECRET_FIELDS = frozenset({"data", "stringData"})
MAX_LEARNED = 4096  # keys; most documents have a few dozen
MOST_DIGITS = 40  # of a number that is looked at: no card, account or phone has more


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
        reader = Reader(body, self.tools.view.limits.depth, self.rename)
        reader.read()
        edits = reader.edits
        for leaf in reader.leaves:
            new = self.edit(leaf, body, above)
            if new is not None:
                edits.append((leaf.start, leaf.end, new))
        return splice(body, edits)

    def edit(self, leaf: Leaf, body: bytes, above: Site | None = None) -> bytes | None:
        """What takes the place of this leaf, None when it stays. Asked when all that may tell about it has been read."""
        if above is None and self._is_dull(leaf, body):
            self.tools.tally.saw(general_of(leaf))
            return None
        site = self._site(leaf, above, body)
        self.tools.tally.saw(site.general)
        return self._string(leaf, site, body) if leaf.kind == "string" else self._number(leaf, site, body)

    def forget(self) -> None:
        """Keep what was learned of keys small; a document without end may have a new key in every object."""
        for known in (self._names, self._dull):
            if len(known) > MAX_LEARNED:
                known.clear()

    def _is_dull(self, leaf: Leaf, body: bytes) -> bool:
        """A leaf that no key, pair or field rule names and whose shape is harmless: counted as seen, and nothing more.

        Most of most answers is like that, so this asks in the cheapest order what the whole way would answer too.
        """
        frame = leaf.frame
        if frame.step in SECRET_FIELDS:
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

    def rename(self, key: str) -> str | None:
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
    digits = digits_of(text)
    if info_type == "CREDIT_CARD":
        return digits.isdigit() and 13 <= len(digits) <= 19 and luhn(digits)
    if info_type in ("PHONE_NUMBER", "IBAN_CODE"):
        return digits.isdigit() and len(digits) >= 7
    if info_type == "US_SSN":
        return digits.isdigit() and len(digits) >= 7
    return info_type == "SECRET"


def digits_of(text: str) -> str:
    """The digits of a JSON number as its reader has them: `4.1e15` and `4100000000000000.0` are one number. Empty: no whole one."""
    if text.lstrip("-").isdigit():
        return text.lstrip("-")
    try:
        number = Decimal(text)
    except InvalidOperation:
        return ""
    if not number.is_finite() or number.adjusted() > MOST_DIGITS or number != number.to_integral_value():
        return ""
    return str(abs(int(number)))


def luhn(digits: str) -> bool:
    """The checksum of card numbers (ISO/IEC 7812-1)."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def own_key(frame: Frame, step: str) -> str:
    """The key that a leaf is judged under: its own, its array's, the name of its pair, and for a bare `number` the object's too
    (`card.number`)."""
    holder, name = (frame, step) if frame.is_object else (frame.parent, frame.step)
    if holder is not None and holder.pair_names and key_words.words(name) in VALUE_KEYS:
        return telling_name(holder.pair_names)
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
