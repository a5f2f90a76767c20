"""No pattern of ours takes more than linear time: each gets 20 KB of its own literal and alphabet."""

import time

import pytest

from addons.core.masking import folding, secret_patterns
from addons.core.masking.detector import Sight
from tests.parts import masking as parts

SIZE = 20_000
ALPHABETS = (
    "a",
    "A",
    "0",
    "a0",
    "aA0_-",
    "-",
    "_",
    ".",
    "/",
    "=",
    " ",
    "+",
    "a:",
    "://",
    "://a:",
    "@",
    "a@",
    "a.",
    "'",
    '"',
    "\n",
    "\\",
    "%41",
    "&#1;",
)


def hostile(literal: str) -> list[str]:
    """Texts of this size around one literal: repeated alone, and with each alphabet between and behind."""
    texts = [literal * (SIZE // max(1, len(literal)))]
    for alphabet in ALPHABETS:
        texts.append(literal + alphabet * (SIZE // len(alphabet)))
        piece = literal + alphabet * 4
        texts.append(piece * (SIZE // len(piece)))
        texts.append(alphabet * (SIZE // len(alphabet)) + literal)
    return texts


def seconds(work) -> float:
    """CPU time of this thread; the least of three when it looks long, because a busy machine makes one run look slow."""
    tries: list[float] = []
    while len(tries) < 3 and (not tries or min(tries) >= LIMIT):
        start = time.thread_time()
        work()
        tries.append(time.thread_time() - start)
    return min(tries)


LIMIT = 0.25  # seconds for 20 KB on a slow machine; a quadratic pattern takes ten times as long


@pytest.mark.parametrize("row", secret_patterns.FORMATS, ids=lambda row: row.name)
def test_every_format_is_linear(row):
    for literal in row.literals:
        for text in hostile(literal):
            assert seconds(lambda text=text: list(row.expression.finditer(text))) < LIMIT


@pytest.mark.parametrize("pattern", ["_KEY", "_VALUE", "_LOGIN", "_LINE", "_OPTION", "_URL_LOGIN", "_SCHEME", "_VARIABLE"])
@pytest.mark.parametrize(
    "literal", ["password=", "a", "://", "Bearer ", "-u", "-u a:", "--password ", "${", "http://a:", "a:b@", "x=", "= "]
)
def test_every_rule_is_linear(pattern, literal):
    expression = getattr(secret_patterns, pattern)
    for text in hostile(literal):
        assert seconds(lambda text=text: list(expression.finditer(text))) < LIMIT


HOSTILE = ["@", "a@", "a.b@c", "1", "1 ", "+1 ", "(1", "1-", "DE89", "4111 ", "219-09-", ":", "::", "1.", "bc1"]


@pytest.mark.parametrize(
    "literal", ["a@", "1 ", *(pytest.param(one, marks=pytest.mark.slow) for one in HOSTILE if one not in ("a@", "1 "))]
)
def test_the_detector_is_bounded_on_hostile_leaves(literal):
    detector = parts.warm_detector()
    for text in hostile(literal):
        assert seconds(lambda text=text: detector.spans(text, Sight("x"))) < 4.0, text[:40]


@pytest.mark.parametrize("literal", ["%41", "&#65;", "&a", "\\u0041", "\u200b", "%", "&#", "%2541"])
def test_folding_is_linear(literal):
    for text in hostile(literal):
        assert seconds(lambda text=text: folding.fold(text)) < LIMIT


@pytest.mark.parametrize("piece", [b'"', b"\\", b'\\"', b"[", b"{", b'{"a":', b"-", b"1e", b" ", b'"\\u', b",", b"[]", b'"a"'])
def test_the_json_reader_is_linear(piece):
    body = piece * (200_000 // len(piece))

    def work() -> None:
        with pytest.raises(parts.Unmaskable):
            parts.mask(body)

    assert seconds(work) < 2.0


def test_there_are_at_least_sixty_formats():
    assert len(secret_patterns.FORMATS) >= 60
    assert len({row.name for row in secret_patterns.FORMATS}) == len(secret_patterns.FORMATS)
