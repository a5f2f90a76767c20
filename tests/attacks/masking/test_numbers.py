"""A number is what its reader makes of it, however it is spelled."""

import pytest

from addons.core.masking.json_walk import digits_of, tells_number


@pytest.mark.parametrize(
    "text",
    ["4111111111111111", "-4111111111111111", "4111111111111111.0", "4111111111111111.000", "4.111111111111111e15", "4.111111111111111E+15", "41111111111111110e-1"],
)  # fmt: skip
def test_a_card_is_a_card_in_each_spelling(text):
    assert tells_number("CREDIT_CARD", text)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("0", "0"),
        ("1.5", ""),
        ("1e999999999", ""),
        ("1e-999999999", ""),
        ("9" * 6000, "9" * 6000),
        ("null", ""),
        ("true", ""),
        ("1e3", "1000"),
    ],
    ids=["zero", "fraction", "huge", "tiny", "long", "null", "true", "exponent"],
)
def test_what_is_no_whole_number_has_no_digits(text, digits):
    assert digits_of(text) == digits
