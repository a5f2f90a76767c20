"""presidio's recognizers, as we use them: an allow set, offline, and with a faster phone reader.

`load` is slow (it imports presidio, spaCy and phonenumbers) and runs in the worker thread. Nothing here reaches the
network: tldextract, which the e-mail recognizer calls, would fetch the public suffix list at the first address, so an
extractor with the list it ships is put in its place before anything is analysed.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import phonenumbers
import tldextract
from presidio_analyzer import Pattern
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    MacAddressRecognizer,
    UsItinRecognizer,
    UsSsnRecognizer,
)

from addons.core.masking.nlp import LANGUAGE, make_engine

CARD_PATTERN = (
    r"\b(?!1\d{12}(?!\d))((4\d{3})|(5\d{3})|(2[1-7]\d{2})|(6\d{3})|(1\d{3})|(3\d{3}))[- ]?(\d{3,4})[- ]?(\d{3,4})[- ]?(\d{3,5})\b"
)
LONG_CARD_PATTERN = r"\b[1-6]\d{11,18}\b"  # twelve to nineteen digits in one run: Maestro, UnionPay, old JCB
CARD_START = re.compile(r"4|5[0-8]|2(?:2[2-9]|[3-6]|7[01]|720)|3[0-9]|6")
CARD_CONTEXT = ("card", "credit", "debit", "visa", "mastercard", "amex", "maestro", "jcb", "pan")
PHONE_CONTEXT = ("phone", "telephone", "cell", "mobile", "call", "fax", "whatsapp", "sms", "dial", "contact", "reach", "tel")
VALID, STRICT_GROUPING = 1, 2  # libphonenumber's leniency
_PHONE_RUN = re.compile(r"[+(\uff0b]?[0-9](?:[ .\-/()\u00a0]{0,3}[0-9]){5,19}(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?")
_MACHINE_BEFORE = re.compile(r"[A-Za-z0-9_=/#@.\-:+%]$")
_MACHINE_AFTER = re.compile(r"^(?:[A-Za-z_=/@%]|[.\-:][A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Found:
    """What a recognizer says about a piece of text."""

    start: int
    end: int
    info_type: str
    score: float


SHARED_LOGINS = frozenset({"git", "hg", "svn", "ssh"})  # git@host is an address of a repository, of nobody
PRIVATE_SUFFIXES = frozenset(["example", "test", "invalid", "localhost", "local", "internal", "intranet", "corp", "lan", "home", "private"])


class InternalEmailRecognizer(EmailRecognizer):
    """Also takes addresses under names that no public list has, because a gateway stands in front of internal systems."""

    def validate_result(self, pattern_text: str) -> bool:
        return pattern_text.rpartition(".")[2].lower() in PRIVATE_SUFFIXES or bool(super().validate_result(pattern_text))


def install_offline_suffix_list() -> None:
    """Make tldextract read the public suffix list it ships, and never the network."""
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    tldextract.extract = _offline_extract  # type: ignore[assignment]  # fewer parameters: presidio passes one
    tldextract.extract("warm-up.example.com")


def _offline_extract(url: str, **_: Any) -> Any:
    return tldextract.tldextract.TLD_EXTRACTOR(url)


class Recognizers:
    """The recognizers of the allow set with their context words, behind one call."""

    def __init__(self, nlp: NlpEngine, home: str, regions: Sequence[str]) -> None:
        self.nlp = nlp
        self.enhancer = LemmaContextAwareEnhancer()
        self.phone = PhoneReader(home, tuple(regions))
        card = Pattern("cards, with the 2-series", CARD_PATTERN, 0.3)
        self.by_type: dict[str, Any] = {
            "EMAIL_ADDRESS": InternalEmailRecognizer(),
            "CREDIT_CARD": CreditCardRecognizer(patterns=[card, Pattern("any length", LONG_CARD_PATTERN, 0.3)]),
            "US_SSN": UsSsnRecognizer(),
            "US_ITIN": UsItinRecognizer(),
            "IBAN_CODE": IbanRecognizer(),
            "CRYPTO": CryptoRecognizer(),
            "IP_ADDRESS": IpRecognizer(),
            "MAC_ADDRESS": MacAddressRecognizer(),
        }

    @property
    def info_types(self) -> tuple[str, ...]:
        """Every type that can be found by its form."""
        return (*self.by_type, "PHONE_NUMBER")

    def find(self, text: str, info_types: Sequence[str], context: list[str], *, all_regions: bool) -> list[Found]:
        """What is in `text`, with scores after presidio's context words. Raises whatever a recognizer raises."""
        found: list[Found] = []
        raw: list[Any] = []
        used: list[Any] = []
        for info_type in info_types:
            if info_type == "PHONE_NUMBER":
                found += self.phone.find(text, context, all_regions=all_regions)
            elif (recognizer := self.by_type.get(info_type)) is not None:
                results = recognizer.analyze(text=_spelling(text, info_type, context), entities=[info_type], nlp_artifacts=None)
                raw += results
                used.append(recognizer)
        if raw:
            found += [
                Found(_start(r, text), r.end, r.entity_type, _score(r, text, context)) for r in self._in_context(text, raw, used, context)
            ]
        return [one for one in found if _accept(one, text, context)]

    def _in_context(self, text: str, raw: list[Any], used: list[Any], context: list[str]) -> list[Any]:
        if all(result.score >= 1.0 for result in raw):
            return raw
        artifacts = self.nlp.process_text(text, LANGUAGE)
        enhanced: list[Any] = self.enhancer.enhance_using_context(text, raw, artifacts, used, context)
        return enhanced


def _spelling(text: str, info_type: str, context: list[str]) -> str:
    """An IBAN may come in lower case where the word stands beside it; elsewhere that would catch identifiers."""
    if info_type == "IBAN_CODE" and ("iban" in context or "iban" in text.lower()) and len(text.upper()) == len(text):
        return text.upper()
    return text


def _start(result: Any, text: str) -> int:
    """Where it begins. The recognizer takes all that RFC 5322 allows before an `@`; in paths and queries the address begins later."""
    if result.entity_type != "EMAIL_ADDRESS":
        return int(result.start)
    local = text[result.start : result.end].rpartition("@")[0]
    cut = max(local.rfind(char) for char in "/?=&#|{}`")
    start = cut + 1 if cut + 1 < len(local) else 0
    while start + 1 < len(local) and local[start] in "'*":  # a quote or emphasis around it, which XML and Markdown need back
        start += 1
    return int(result.start) + start


def _score(result: Any, text: str, context: list[str]) -> float:
    """Nine bare digits beside the words of a social security number are one: presidio stops at 0.4, under every threshold."""
    near = text[max(0, result.start - 48) : result.start].lower() + " ".join(context)
    if result.entity_type == "US_SSN" and ("ssn" in near or "social sec" in near):
        return max(float(result.score), 0.5)
    return float(result.score)


def _accept(found: Found, text: str, context: list[str]) -> bool:
    value = text[found.start : found.end]
    if found.info_type == "IP_ADDRESS":
        return _is_public_address(value)
    if found.info_type == "EMAIL_ADDRESS":
        return value.partition("@")[0].lower() not in SHARED_LOGINS
    if found.info_type == "CREDIT_CARD":
        return _is_brand(value) or _word_near(text, found.start, CARD_CONTEXT) or any(word in CARD_CONTEXT for word in context)
    return True


def _is_brand(value: str) -> bool:
    """A number that a card scheme issues. Others (twelve digits, UATP, ranges of nobody) need a word about cards."""
    digits = value.replace(" ", "").replace("-", "")
    return 13 <= len(digits) <= 19 and CARD_START.match(digits) is not None


def _is_public_address(value: str) -> bool:
    try:
        return ipaddress.ip_address(value.strip("[]").partition("/")[0].partition("%")[0]).is_global
    except ValueError:
        return False


class PhoneReader:
    """Phone numbers by libphonenumber: candidates are found once and shared by all regions, verdicts are remembered.

    Machine-like text is read with the home region, plus any number with a plus sign, and only in the groups in which
    people write it (`3033-510398` is a part number); free text and phone-named fields with every region of masking.yaml. A run of bare digits counts only beside a word about phones.
    """

    SCORE = 0.4
    IN_CONTEXT = 0.75

    def __init__(self, home: str, regions: tuple[str, ...]) -> None:
        self.home = home
        self.regions = regions if home in regions else (home, *regions)
        self.verdict: Callable[[str, tuple[str, ...], int], tuple[tuple[int, int], ...]] = lru_cache(maxsize=16384)(_verdict)

    def find(self, text: str, context: list[str], *, all_regions: bool) -> list[Found]:
        """Every phone number in `text`."""
        regions = self.regions if all_regions else (self.home,)
        telling = any(word in key for key in context for word in PHONE_CONTEXT)
        found = []
        for match in _PHONE_RUN.finditer(text):
            if len(match[0]) < 7 or _stands_in_machine_token(text, match.start(), match.end()):
                continue
            near = telling or _word_near(text, match.start(), PHONE_CONTEXT)
            for start, end in self.verdict(match[0], regions, VALID if near or all_regions else STRICT_GROUPING):
                score = self.IN_CONTEXT if near else self.SCORE
                if near or not match[0][start:end].isdigit():
                    found.append(Found(match.start() + start, match.start() + end, "PHONE_NUMBER", score))
        return found


def _verdict(candidate: str, regions: tuple[str, ...], leniency: int) -> tuple[tuple[int, int], ...]:
    spans: set[tuple[int, int]] = set()
    for region in regions:
        spans.update((match.start, match.end) for match in phonenumbers.PhoneNumberMatcher(candidate, region, leniency=leniency))
        if candidate.startswith("+") and spans:
            break
    return tuple(sorted(spans))


def _stands_in_machine_token(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    if text[start] in "+(" and before not in ("", " "):
        return before.isalnum()
    if before == "=" or before == ":":
        return bool(_MACHINE_AFTER.match(after))
    return bool(_MACHINE_BEFORE.search(before) or _MACHINE_AFTER.match(after))


def _word_near(text: str, start: int, words: Sequence[str]) -> bool:
    """One of these words within the 48 characters before the number."""
    before = text[max(0, start - 48) : start].lower()
    return any(word in before for word in words)


def load(configuration: Any, home: str, regions: Sequence[str]) -> Recognizers:
    """Make the recognizers and run each once, so that the first real text does not pay for regex and metadata."""
    install_offline_suffix_list()
    recognizers = Recognizers(make_engine(configuration), home, regions)
    sample = "call +1 212 555 0123 or mail a@b.example, card 4111 1111 1111 1111, ssn 219-09-9999, DE89370400440532013000, 8.8.8.8"
    recognizers.find(sample, recognizers.info_types, ["phone"], all_regions=True)
    return recognizers
