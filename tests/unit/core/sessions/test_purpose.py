"""Why a request is made: which place wins, what is a label, what is in the catalogue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.config.model import Purpose as Terms
from addons.core.errors import PurposeError
from addons.core.sessions import purpose
from addons.core.sessions.purpose import Purpose

TERMS = Terms(catalogue=("support/*", "change/*", "audit", "deep/**"))


def told(claim=(), header=(), baggage=()):
    return [("claim", list(claim)), ("header", list(header)), ("baggage", list(baggage))]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        pytest.param(told(header=["support/4711"]), Purpose("support/4711", "header"), id="header"),
        pytest.param(told(claim=["change/7"]), Purpose("change/7", "claim"), id="claim"),
        pytest.param(told(baggage=["audit"]), Purpose("audit", "baggage"), id="baggage"),
        pytest.param(told(["change/7"], ["support/1"]), Purpose("change/7", "claim", "support/1"), id="claim-wins-over-header"),
        pytest.param(told([], ["change/7"], ["support/1"]), Purpose("change/7", "header", "support/1"), id="header-wins-over-baggage"),
        pytest.param(told(["change/7"], ["change/7"]), Purpose("change/7", "claim"), id="agreeing-is-no-conflict"),
        pytest.param(
            told(["change/7"], ["fraud/1"]), Purpose("change/7", "claim", "fraud/1"), id="what-loses-need-not-be-in-the-catalogue"
        ),
        pytest.param(told(header=["deep/a/b"]), Purpose("deep/a/b", "header"), id="two-stars-cross-segments"),
    ],
)
def test_the_most_trusted_place_wins(given_, expected):
    assert purpose.decide(given_, TERMS) == expected


@pytest.mark.parametrize(
    ("given_", "code", "status"),
    [
        pytest.param(told(), "purpose-missing", 403, id="missing"),
        pytest.param(told(header=["fraud/1"]), "purpose-unknown", 403, id="not-in-the-catalogue"),
        pytest.param(told(header=["support/a/b"]), "purpose-unknown", 403, id="one-star-is-one-segment"),
        pytest.param(told(header=["audit/x"]), "purpose-unknown", 403, id="a-longer-label"),
        pytest.param(told(header=[""]), "purpose-malformed", 400, id="empty"),
        pytest.param(told(header=["Support/1"]), "purpose-malformed", 400, id="upper-case"),
        pytest.param(told(header=[" support/1"]), "purpose-malformed", 400, id="not-trimmed"),
        pytest.param(told(header=["support/1\n"]), "purpose-malformed", 400, id="newline"),
        pytest.param(told(header=["support/" + "1" * 121]), "purpose-malformed", 400, id="129-characters"),
        pytest.param(told(header=["support/1", "support/1"]), "purpose-malformed", 400, id="two-labels"),
        pytest.param(told(["change/7"], ["DROP"]), "purpose-malformed", 400, id="malformed-though-the-claim-would-win"),
        pytest.param(told([["change/7"]]), "purpose-malformed", 400, id="claim-of-another-type"),
    ],
)
def test_no_purpose_and_no_label_are_refused(given_, code, status):
    with pytest.raises(PurposeError) as caught:
        purpose.decide(given_, TERMS)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert code != "purpose-missing" or "X-Purpose" in str(caught.value)


def test_where_none_is_required_none_is_none():
    assert purpose.decide(told(), Terms(required=False, catalogue=("a",))) == Purpose("", "none")


def test_an_empty_catalogue_knows_nothing():
    with pytest.raises(PurposeError):
        purpose.decide(told(header=["a"]), Terms())


@given(st.text(max_size=20))
def test_whatever_comes_is_a_known_label_or_a_refusal(text):
    try:
        found = purpose.decide(told(header=[text]), TERMS)
    except PurposeError:
        return
    assert found.label == text
    assert text == "audit" or text.split("/")[0] in ("support", "change", "deep")


@pytest.mark.parametrize("values", [["a" * 513], ["a\nb"], ["a", "b"], ["a\u202eb"], ["\x00"]])
def test_free_text_is_one_bounded_line(values):
    with pytest.raises(PurposeError) as caught:
        purpose.detail_of(values, TERMS)
    assert caught.value.status == 400


def test_free_text_is_kept_as_it_came():
    assert purpose.detail_of(["Kunde rief an, äöü <b>"], TERMS) == "Kunde rief an, äöü <b>"
    assert purpose.detail_of([], TERMS) is None
