"""The one grammar of a mark: make it, check it, find it.

    mark  = "[MASKED:" TYPE [ ":" kept ] ":" body check "]"
    body  = 10 base32 characters (the pseudonym), empty for redact, replace and mask
    check = 4 base32 characters, 20 bits of HMAC-SHA-256(check key, everything between "[" and the check)

Only a mark with a right check is ours. Anybody may write the text `[MASKED:...]` into an upstream; if such a forgery
counted, it would block every later write of that object. The e-mail form `p-<body check>@masked.invalid` carries the
same check, because an e-mail address has to stay one.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass

MARK = re.compile(r"\[(MASKED:[A-Z_]{2,32}:(?:[0-9A-Za-z.]{1,8}:)?(?:[A-Z2-7]{10})?)([A-Z2-7]{4})\]")
EMAIL_FORM = re.compile(r"p-([a-z2-7]{10})([a-z2-7]{4})@masked\.invalid")
EMAIL_DOMAIN = "masked.invalid"


@dataclass(frozen=True, slots=True)
class FoundMark:
    """A mark of ours in some text."""

    start: int
    end: int


def base32(data: bytes, characters: int) -> str:
    """The first so many base32 characters (RFC 4648, upper case, no padding) of `data`."""
    return base64.b32encode(data).decode("ascii")[:characters]


class MarkMaker:
    """Makes and checks marks. Old keys (after a rotation) go on being recognised, only the first one makes."""

    def __init__(self, check_keys: tuple[bytes, ...]) -> None:
        if not check_keys:
            raise ValueError("a mark needs a check key")
        self._keys = check_keys

    def make(self, info_type: str, *, body: str = "", kept: str = "") -> str:
        """The mark of a value. `kept` is what `mask` leaves in clear."""
        inner = f"MASKED:{info_type}:" + (f"{kept}:" if kept else "") + body
        return f"[{inner}{self._check(self._keys[0], inner)}]"

    def make_email(self, body: str) -> str:
        """The mark that still is an e-mail address."""
        check = self._check(self._keys[0], f"MASKED:EMAIL_ADDRESS:{body}")
        return f"p-{(body + check).lower()}@{EMAIL_DOMAIN}"

    def find(self, text: str) -> Iterator[FoundMark]:
        """Every mark in `text` whose check is right, in order of kind and then place."""
        if "MASKED:" in text:
            for match in MARK.finditer(text):
                if self._is_ours(match[1], match[2]):
                    yield FoundMark(match.start(), match.end())
        if "@" in text and EMAIL_DOMAIN in (lower := text.lower()) and len(lower) == len(text):
            for match in EMAIL_FORM.finditer(lower):
                if self._is_ours(f"MASKED:EMAIL_ADDRESS:{match[1].upper()}", match[2].upper()):
                    yield FoundMark(match.start(), match.end())

    def is_mark(self, text: str) -> bool:
        """Whether the whole text is one mark of ours."""
        return len(text) < 80 and any(found.start == 0 and found.end == len(text) for found in self.find(text))

    def _is_ours(self, inner: str, check: str) -> bool:
        return any(hmac.compare_digest(self._check(key, inner), check) for key in self._keys)

    @staticmethod
    def _check(key: bytes, inner: str) -> str:
        return base32(hmac.digest(key, inner.encode("ascii"), hashlib.sha256), 4)
