"""What a masked value becomes.

Every text result but `encrypt`, `keep`, `bucket` and `date_shift` is a mark (marks.py), so that it can be recognised when
somebody writes it back. The keys come from the masking key: one label per use.
"""

import base64
import datetime
import hashlib
import hmac
import re

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from addons.core.config.model import EntityRule
from addons.core.errors import Unmaskable
from addons.core.masking.marks import MarkMaker
from addons.core.masking.pseudonym import Place, derive, normalise, pseudonym, scope_of

_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
MAX_KEPT = 8


class Transformer:
    """Turns values into marks. Holds the masking key; `older` keys are only recognised."""

    def __init__(self, key: bytes, older: tuple[bytes, ...] = ()) -> None:
        self._key = key
        self.marks = MarkMaker(tuple(derive(one, b"mark") for one in (key, *older)))
        self._etag = AESSIV(derive(key, b"etag"))
        self._token = AESSIV(derive(key, b"encrypt"))

    def apply(self, rule: EntityRule, info_type: str, value: str, place: Place, *, scope: str, region: str) -> str:
        """The text that stands for `value`. Raises Unmaskable for `block`."""
        if rule.transform == "block":
            raise Unmaskable("opaque", detail=f"{info_type}: the profile says block")
        plain = normalise(info_type, value, region)
        if rule.transform == "mask":
            return self.marks.make(info_type, kept=_kept(plain, rule))
        if rule.transform in ("redact", "replace"):
            return self.marks.make(info_type)
        if rule.transform in ("pseudonym", "hash"):
            return self._pseudonym(rule, info_type, plain, place, scope)
        return self._unmarked(rule, info_type, value, place)

    def _pseudonym(self, rule: EntityRule, info_type: str, plain: str, place: Place, scope: str) -> str:
        body = pseudonym(self._key, scope_of(scope, info_type, place), info_type, plain)
        if rule.shape and info_type == "EMAIL_ADDRESS":
            return self.marks.make_email(body)
        return self.marks.make(info_type, body=body)

    def _unmarked(self, rule: EntityRule, info_type: str, value: str, place: Place) -> str:
        if rule.transform == "encrypt":
            sealed = self._token.encrypt(value.encode("utf-8", "surrogatepass"), [info_type.encode()])
            return "tok_v1_" + base64.b32encode(sealed).decode().rstrip("=").lower()
        if rule.transform == "bucket":
            return _bucket(value) or self.marks.make(info_type)
        if rule.transform == "date_shift":
            return self._shift(value, place) or self.marks.make(info_type)
        return value

    def _shift(self, value: str, place: Place) -> str | None:
        match = _DATE.match(value)
        if match is None:
            return None
        subject = f"{place.service}\0{place.namespace}\0{place.name}".encode("utf-8", "surrogatepass")
        digest = hmac.digest(derive(self._key, b"date_shift"), subject, hashlib.sha256)
        days = int.from_bytes(digest[:4]) % 365 - 182
        try:
            moved = datetime.date(int(match[1]), int(match[2]), int(match[3])) + datetime.timedelta(days=days)
        except (ValueError, OverflowError):
            return None
        return moved.isoformat() + value[match.end() :]

    def seal_etag(self, etag: str) -> str:
        """The upstream's tag, encrypted: in clear it would confirm guesses of the body."""
        return base64.urlsafe_b64encode(self._etag.encrypt(etag.encode("latin-1", "replace"), None)).decode().rstrip("=")

    def open_etag(self, sealed: str) -> str | None:
        """The upstream's tag of one that we sealed; None for anybody else's."""
        try:
            data = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._etag.decrypt(data, None).decode("latin-1")
        except Exception:  # noqa: BLE001  # InvalidTag, binascii.Error, ValueError: all mean "not ours"
            return None


def _kept(plain: str, rule: EntityRule) -> str:
    shown = [char for char in plain if char.isascii() and (char.isalnum() or char == ".")]
    first, last = min(rule.keep_first, MAX_KEPT), min(rule.keep_last, MAX_KEPT)
    if (first + last) * 2 > len(shown):
        return ""  # a short value would be given away whole
    return ("".join(shown[:first]) + "".join(shown[len(shown) - last :] if last else []))[:MAX_KEPT]


def _bucket(value: str) -> str | None:
    """A date becomes its year's first day; a number loses all but its first digit."""
    if match := _DATE.match(value):
        return f"{match[1]}-01-01"
    if value.isascii() and value.isdigit():
        return value[0] + "0" * (len(value) - 1)
    return None
