"""A query string inside another value: its spaces are plus signs, and a number with them is still a number."""

import pytest

from tests.parts import masking as parts


@pytest.mark.parametrize(
    ("text", "clear"),
    [
        pytest.param("q=4111+1111+1111+1111", "4111", id="pair"),
        pytest.param("GET /find?q=4111+1111+1111+1111&a=b HTTP/1.1", "4111", id="request-line"),
        pytest.param("/find?q=%34111+1111+1111+1111", "1111", id="half-escaped"),
        pytest.param("tel=%2B44+20+7946+0018", "7946", id="phone"),
    ],
)
def test_a_number_with_the_spaces_of_a_form_is_masked(text, clear):
    masked = parts.mask('{"note": "' + text + '"}').body.decode()
    assert "[MASKED:" in masked
    assert clear not in masked.replace(":1111:", ":....:")  # a card keeps its last four


def test_a_sum_is_not_touched():
    body = b'{"note": "1+1=2, 20+22=42"}'
    assert parts.mask(body).body == body
