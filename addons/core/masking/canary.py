"""Made-up values to plant, every spelling in which one may lie somewhere, and the search for them.

`guardhouse doctor --canary` and the tests plant these and then look for them in everything that was left behind. All are
formally valid (check digits, prefixes, number ranges that regulators keep for films) and belong to nobody. The randomness
comes in as an argument; a value is in no repr and in no finding, since a report that repeats what leaked leaks it again.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

import zstandard

START = 8  # bytes of a spelling by which it is looked up; no spelling is shorter
MOST = 64 << 20  # bytes that one compressed part may become
UK_AREAS = ("2079460", "1134960", "1214960", "1314960", "1414960", "1514960", "1614960")  # Ofcom: numbers for drama
INFO_TYPES = {
    "email": "EMAIL_ADDRESS", "card": "CREDIT_CARD", "ssn": "US_SSN", "iban": "IBAN_CODE", "phone": "PHONE_NUMBER", "aws": "SECRET",
    "jwt": "SECRET",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Value:
    """One planted value: where it was put, what it is."""

    place: str
    kind: str
    text: str = field(repr=False)

    @property
    def info_type(self) -> str:
        return INFO_TYPES.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A planted value was found: which one, and in which spelling. Never the value."""

    place: str
    kind: str
    info_type: str
    spelling: str


def make(place: str, entropy: bytes) -> tuple[Value, ...]:
    """The values of one place, one of each kind. The same entropy gives the same values."""

    def stream(kind: str) -> bytes:
        return hashlib.sha256(b"canary/" + kind.encode() + b"/" + entropy).digest()

    def number(kind: str, below: int) -> int:
        return int.from_bytes(stream(kind)) % below

    name = base64.b32encode(stream("email")).decode().lower()[:12]
    claims = json.dumps({"sub": f"canary-{name}", "iat": 1700000000}).encode()
    area = UK_AREAS[number("area", len(UK_AREAS))]
    made = {
        "email": f"quentin.{name}@initech-corp.example",
        "card": " ".join(re.findall("....", luhn(f"453201{number('card', 10**9):09d}"))),  # bare digits may be an article's number
        "ssn": f"536-{number('ssn', 88) + 11}-{number('ssn4', 8888) + 1111}",
        "iban": iban(f"37040044{number('iban', 10**10):010d}"),
        "phone": f"+44{area}{number('phone', 1000):03d}",
        "aws": "AKIA" + base64.b32encode(stream("aws")).decode()[:16],
        "jwt": f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{_base64url(claims)}.{_base64url(stream('jwt'))}",
    }
    return tuple(Value(place, kind, text) for kind, text in made.items())


def luhn(digits: str) -> str:
    """The digits with their check digit."""
    total = sum(sum(divmod(int(one) * 2, 10)) if at % 2 == 0 else int(one) for at, one in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def iban(account: str) -> str:
    """A German IBAN around eighteen digits."""
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def spellings(text: str) -> dict[bytes, str]:
    """Every way to write a value that does not depend on its neighbours, with the name of the way."""
    raw = text.encode()
    found: dict[bytes, str] = {}

    def add(name: str, *ways: str | bytes) -> None:
        for way in ways:
            found.setdefault(way.encode() if isinstance(way, str) else way, name)

    add("plain", raw, text.lower(), text.replace(" ", ""))
    percent = (quote(text, safe=""), quote_plus(text), quote(text, safe="@"), "".join(f"%{one:02X}" for one in raw))
    add("percent-encoded", *percent, *(re.sub("%..", lambda found: found[0].lower(), one) for one in percent))
    add("JSON-escaped", *_escaped(text, "\\u{:04x}"), *_escaped(text, "\\u{:04X}"), text.replace("/", "\\/"))
    add("HTML-escaped", html.escape(text), *_escaped(text, "&#{};"), *_escaped(text, "&#x{:x};"), *_escaped(text, "&#x{:X};"))
    add("hex", raw.hex(), raw.hex().upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            whole = encode(b"\0" * offset + raw)
            add("base64", whole[(0, 2, 3)[offset] : (offset + len(raw)) // 3 * 4])
    return {way: name for way, name in found.items() if len(way) >= START}


def _escaped(text: str, form: str) -> tuple[str, str]:
    """Everything escaped, and only what is no letter or digit."""
    return "".join(form.format(ord(one)) for one in text), "".join(one if one.isalnum() else form.format(ord(one)) for one in text)


class Search:
    """Looks for every planted value, in every spelling, in whatever it is shown."""

    def __init__(self) -> None:
        self._wanted: dict[bytes, dict[bytes, Hit]] = {}  # by the first bytes of each spelling
        self.values: list[Value] = []
        self.longest = START

    def plant(self, place: str, entropy: bytes) -> tuple[Value, ...]:
        """Make the values of a place and look for them from now on."""
        values = make(place, entropy)
        for value in values:
            self.add(value)
        return values

    def add(self, value: Value) -> None:
        """Look for this value too."""
        self.values.append(value)
        for way, name in spellings(value.text).items():
            self._wanted.setdefault(way[:START], {}).setdefault(way, Hit(value.place, value.kind, value.info_type, name))
            self.longest = max(self.longest, len(way))

    def hits(self, data: bytes) -> set[Hit]:
        """What stands in there, also in what is compressed in it."""
        return {hit for part in layers(data) for hit in self._within(part)}

    def _within(self, part: bytes) -> Iterator[Hit]:
        wanted = self._wanted
        for at in range(len(part) - START + 1):
            if (start := part[at : at + START]) in wanted:
                yield from (hit for way, hit in wanted[start].items() if part.startswith(way, at))


def layers(data: bytes) -> Iterator[bytes]:
    """The data, and whatever zstd frames and gzip members stand in it, as far as they can be read."""
    yield data
    for found in re.finditer(re.escape(zstandard.FRAME_HEADER), data):
        try:
            yield from _nested(zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data[found.start() :]).read(MOST))
        except zstandard.ZstdError:
            continue
    for found in re.finditer(rb"\x1f\x8b\x08", data):
        try:
            yield from _nested(zlib.decompressobj(31).decompress(data[found.start() :], MOST))
        except zlib.error:
            continue


def _nested(data: bytes) -> Iterator[bytes]:
    """Once more: a compressed body within a compressed record. Deeper nobody here packs."""
    yield data
    for found in re.finditer(re.escape(zstandard.FRAME_HEADER), data):
        try:
            yield zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data[found.start() :]).read(MOST)
        except zstandard.ZstdError:
            continue


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
