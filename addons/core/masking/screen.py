"""What a text must hold before a recognizer is worth calling: a necessary condition per info type.

presidio costs a millisecond where a look for an `@` costs a microsecond. A screen may let too much through, never too
little; text that is not ASCII is not screened at all, because the recognizers' `\\d` and `\\w` mean Unicode there.
"""

import re
from collections.abc import Iterable
from typing import Protocol

_SEPARATED = r"[ .\-]?"


class Screen(Protocol):
    """Which of these info types may be in the text."""

    def may_hold(self, text: str, info_types: Iterable[str]) -> list[str]: ...


_CONDITIONS: dict[str, re.Pattern[str]] = {
    "EMAIL_ADDRESS": re.compile(r"@"),
    "CREDIT_CARD": re.compile(r"[0-9](?:[ \-]?[0-9]){11}"),
    "US_SSN": re.compile(r"[0-9]{3}[- .]?[0-9]{2}[- .]?[0-9]{4}"),
    "US_ITIN": re.compile(r"9[0-9]{2}[- ]?[0-9]{2}[- ]?[0-9]{4}"),
    "IBAN_CODE": re.compile(r"[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{4}"),
    "CRYPTO": re.compile(r"(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{24}", re.IGNORECASE),
    "PHONE_NUMBER": re.compile(r"[0-9](?:[ .\-/()xX+]{0,4}[0-9]){5}"),
    "IP_ADDRESS": re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]|:[0-9a-fA-F]{0,4}:|::"),
    "MAC_ADDRESS": re.compile(r"[0-9a-fA-F]{2}[:\-][0-9a-fA-F]{2}[:\-]|[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\."),
}


class RegexScreen:
    """The default screen."""

    def may_hold(self, text: str, info_types: Iterable[str]) -> list[str]:
        if not text.isascii():
            return list(info_types)
        return [name for name in info_types if (condition := _CONDITIONS.get(name)) is None or condition.search(text)]
