"""The screen lets through whatever a recognizer would find: with and without it, the same spans."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addons.core.masking.detector import Detector, Sight
from addons.core.masking.rules import INFO_TYPES
from tests.parts import masking as parts

PIECES = st.one_of(
    st.sampled_from(
        [
            "ann@corp.example",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "630427373398",
            "219-09-9999",
            "219.09.9999",
            "912-70-1234",
            "912701234",
            "DE89 3704 0044 0532 0130 00",
            "gb42nawi04454264788619",
            "+1 212 555 0123",
            "(212) 555-0123",
            "212.555.0123",
            "+442079460958",
            "8.8.8.8",
            "2001:4860:4860::8888",
            "::1",
            "00:1A:2B:3C:4D:5E",
            "001A.2B3C.4D5E",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
            "iban",
            "card",
            "ssn",
            "phone",
            "call",
        ]
    ),
    st.text(alphabet="0123456789-. +()@:aAbBfFxX/_", max_size=24),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=6).map(" ".join)


class Everything:
    """A screen that holds nothing back."""

    def may_hold(self, text, info_types):
        return list(info_types)


def detectors() -> tuple[Detector, Detector]:
    screened, stock = Detector(), Detector(Everything())
    for one in (screened, stock):
        one._recognizers = parts.warm_detector()._recognizers
    return screened, stock


SIGHTS = [Sight(key, info_types=INFO_TYPES) for key in ("x", "phone", "card", "iban", "notes")]


def same(text: str) -> None:
    screened, stock = detectors()
    for sight in SIGHTS:
        assert screened.spans(text, sight) == stock.spans(text, sight)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS)
def test_the_screen_loses_nothing(text):
    same(text)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS)
def test_the_screen_loses_nothing_in_ten_thousand_texts(text):
    same(text)
