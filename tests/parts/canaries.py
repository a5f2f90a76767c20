"""Made-up secrets and personal values, another one for each place, and every spelling in which one may lie somewhere.

All are formally valid (check digits, prefixes) and belong to nobody.
"""

import base64
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import zstandard

START = 8
ZSTD = b"\x28\xb5\x2f\xfd"


def digits(place: str, kind: str, count: int) -> str:
    """So many digits that belong to this place alone."""
    return str(int(hashlib.sha256(f"{place}/{kind}".encode()).hexdigest(), 16))[3 : 3 + count]


def luhn(digits: str) -> str:
    """The digits with their check digit."""
    total = sum(sum(divmod(int(one) * 2, 10)) if at % 2 == 0 else int(one) for at, one in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def iban(account: str) -> str:
    """A German IBAN around eighteen digits."""
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def planted(place: str) -> dict[str, str]:
    """The values of one place, by kind."""
    text = base64.urlsafe_b64encode(hashlib.sha256(place.encode()).digest()).decode().rstrip("=")
    upper = base64.b32encode(hashlib.sha256(place.encode()).digest()).decode()[:16]
    claims = base64.urlsafe_b64encode(json.dumps({"sub": f"canary-{place}", "iat": 1700000000}).encode()).decode().rstrip("=")
    return {
        "email": f"quentin.{place}@initech-corp.example",
        "card": " ".join(re.findall("....", luhn("453201" + digits(place, "card", 9)))),  # bare digits may be an article's number
        "ssn": f"536-{int(digits(place, 'ssn', 2)) % 88 + 11}-{int(digits(place, 'ssn4', 4)) % 8888 + 1111}",
        "iban": iban("37040044" + digits(place, "iban", 10)),
        "phone": "+4420794600" + f"{int(digits(place, 'phone', 2)) % 90 + 10}",
        "aws": "AKIA" + upper,
        "jwt": f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{claims}.{text}",
    }


def spellings(value: str) -> set[bytes]:
    """The value plain, percent-encoded, JSON-escaped and in base64 at each of the three offsets (without what depends on neighbours)."""
    raw = value.encode()
    found = {raw, quote(value, safe="").encode(), quote_plus(value).encode(), json.dumps(value)[1:-1].encode()}
    found |= {quote(value, safe="").lower().encode(), "".join(f"%{one:02X}" for one in raw).encode()}
    found |= {value.replace("@", "\\u0040").replace("+", "\\u002b").encode(), value.replace("@", "&#64;").replace("+", "&#43;").encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            whole = encode(b"\0" * offset + raw)
            found.add(whole[(0, 2, 3)[offset] : (offset + len(raw)) // 3 * 4])
    return found


class Search:
    """Looks for every planted value in everything that was left behind."""

    def __init__(self) -> None:
        self.wanted: dict[bytes, dict[bytes, str]] = {}  # by the first bytes of each spelling

    def plant(self, place: str) -> dict[str, str]:
        values = planted(place)
        for kind, value in values.items():
            self.add(f"{place}/{kind}", value)
        return values

    def add(self, name: str, value: str) -> None:
        for spelling in spellings(value):
            self.wanted.setdefault(spelling[:START], {})[spelling] = name

    def hits(self, data: bytes) -> set[str]:
        """Names of the planted values that stand in there, also in what is compressed in it."""
        return {name for part in layers(data) for name in self._within(part)}

    def _within(self, part: bytes) -> Iterator[str]:
        wanted = self.wanted
        for at in range(len(part) - START + 1):
            if (start := part[at : at + START]) in wanted:
                yield from (name for spelling, name in wanted[start].items() if part.startswith(spelling, at))


def layers(data: bytes) -> Iterator[bytes]:
    """The data, and whatever zstd frames stand in it."""
    yield data
    for found in re.finditer(re.escape(ZSTD), data):
        try:
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data[found.start() :])
        except zstandard.ZstdError:
            continue


def cells(database: Path) -> Iterator[tuple[str, bytes]]:
    """Every cell of every table: (table.column, its bytes)."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type = 'table' and sql not like '%virtual%'")]
        for table in tables:
            rows = db.execute(f'select * from "{table}"')
            names = [column[0] for column in rows.description]
            for row in rows:
                for name, value in zip(names, row, strict=True):
                    if isinstance(value, str | bytes):
                        yield f"{table}.{name}", value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def files(*folders: Path) -> Iterable[Path]:
    """Every file below these folders."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
