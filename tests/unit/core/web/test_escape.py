import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.web.escape import visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("DELETE /customers/7", "DELETE /customers/7", id="plain"),
        pytest.param("Zoë Müller, 東京, Москва", "Zoë Müller, 東京, Москва", id="honest-other-alphabets"),
        pytest.param("a\x1b[2Jb", "a\\x1b[2Jb", id="terminal-escape"),
        pytest.param("a\r\nb\tc", "a\\r\\nb\\tc", id="line-breaks"),
        pytest.param("\u202egpj.exe", "\\u202egpj.exe", id="bidi-override"),
        pytest.param("\u2066x\u2069", "\\u2066x\\u2069", id="bidi-isolate"),
        pytest.param("pro\u200bd", "pro\\u200bd", id="zero-width-space"),
        pytest.param("\ufeffx", "\\ufeffx", id="byte-order-mark"),
        pytest.param("pr\u043ed", "pr\\u043ed", id="cyrillic-letter-among-latin"),
        pytest.param("\u0441\u043e\u0440", "\\u0441\\u043e\\u0440", id="word-of-lookalikes-only"),
        pytest.param("\uff50rod", "\\uff50rod", id="full-width"),
        pytest.param("\U0001d429rod", "\\U0001d429rod", id="mathematical-bold"),
        pytest.param("a\u00a0b", "a\\xa0b", id="no-break-space"),
        pytest.param("a\u3164b", "a\\u3164b", id="hangul-filler"),
        pytest.param("x\U000e0041", "x\\U000e0041", id="tag-character"),
        pytest.param("o\u0301\u0301\u0301\u0301\u0301", "o\u0301\u0301\u0301\u0301\\u0301", id="stacked-marks"),
        pytest.param("\ud800", "\\ud800", id="lone-surrogate"),
        pytest.param("a\u2028b", "a\\u2028b", id="line-separator"),
    ],
)
def test_what_cannot_be_seen_becomes_an_escape(text, shown):
    assert visible(text) == shown


def test_only_a_line_feed_makes_a_line():
    assert visible_lines("a\n\tb\rc\u2028d") == ["a", "    b\\rc\\u2028d"]


@given(st.text())
def test_nothing_hidden_is_left_whatever_comes(text):
    assert not {unicodedata.category(char) for char in visible(text)} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_printable_ascii_stays_as_it_is(text):
    assert visible(text) == text
