"""Values that are planted on purpose: the detector knows each of them, and no spelling of one is overlooked."""

import gzip
import hashlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.masking import canary
from addons.core.masking.detector import Detector, Sight, is_harmless

SEED = bytes(range(32))


def test_the_same_entropy_gives_the_same_values_and_another_gives_others():
    first, again, other = canary.make("here", SEED), canary.make("here", SEED), canary.make("here", SEED[::-1])
    assert first == again
    assert [value.kind for value in first] == ["email", "card", "ssn", "iban", "phone", "aws", "jwt"]
    assert all(one.text != two.text for one, two in zip(first, other, strict=True))


def test_no_value_is_in_a_repr_or_a_finding():
    search = canary.Search()
    values = search.plant("here", SEED)
    for value in values:
        shown = repr(value) + repr(search.hits(value.text.encode()))
        assert value.text not in shown and "info_type='" + value.info_type + "'" in shown


def test_check_digits_are_those_of_known_numbers():
    assert canary.luhn("453201511283036") == "4532015112830366"
    assert canary.iban("370400440532013000") == "DE89370400440532013000"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", b"quentin.a@b.example"),
        ("percent-encoded", b"quentin.a%40b.example"),
        ("percent-encoded", b"%71%75%65%6e%74%69%6e%2e%61%40%62%2e%65%78%61%6d%70%6c%65"),
        ("JSON-escaped", b"quentin\\u002ea\\u0040b\\u002eexample"),
        ("HTML-escaped", b"quentin&#46;a&#64;b&#46;example"),
        ("hex", b"7175656e74696e2e6140622e6578616d706c65"),
        ("base64", b"cXVlbnRpbi5hQGIuZXhhbXBsZQ"[:24]),
        ("base64", b"F1ZW50aW4uYUBiLmV4YW1w"),
    ],
)
def test_spellings_are_named(name, written):
    assert canary.spellings("quentin.a@b.example")[written] == name


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(min_size=32, max_size=32), st.data())
def test_every_spelling_of_every_value_in_any_text_is_found(before, after, entropy, data):
    search = canary.Search()
    value = data.draw(st.sampled_from(search.plant("here", entropy)))
    ways = canary.spellings(value.text)
    way = data.draw(st.sampled_from(sorted(ways)))
    assert ("here", value.kind) in {(hit.place, hit.kind) for hit in search.hits(before + way + after)}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=50), st.binary(max_size=50), st.binary(min_size=32, max_size=32))
def test_a_value_in_base64_of_anything_around_it_is_found(before, after, entropy):
    import base64

    search = canary.Search()
    for value in search.plant("here", entropy):
        whole = base64.b64encode(before + value.text.encode() + after)
        assert value.kind in {hit.kind for hit in search.hits(whole)}


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lambda data: zstandard.compress(b"x" + zstandard.compress(data))])
def test_what_is_compressed_is_opened(pack):
    search = canary.Search()
    values = search.plant("here", SEED)
    found = search.hits(b"noise" + pack(b" ".join(value.text.encode() for value in values)) + b"noise")
    assert {hit.kind for hit in found} == set(canary.INFO_TYPES)


def test_nothing_is_found_where_nothing_is():
    search = canary.Search()
    search.plant("here", SEED)
    other = b" ".join(value.text.encode() for value in canary.make("there", SEED[::-1]))
    assert search.hits(other + gzip.compress(other)) == set()


def test_the_detector_knows_every_value():
    """Two hundred of each: a kind that is found nearly always is a leak now and then."""
    detector = Detector()
    detector.load("token", "US", ("US", "GB", "DE", "FR"))
    for at in range(200):
        for value in canary.make("here", hashlib.sha256(bytes([at])).digest()):
            found = {span.info_type for span in detector.spans(value.text, Sight(key="note"))}
            assert value.info_type in found, (value.kind, at)


def test_a_key_without_a_digit_is_no_word():
    """The canary found it: one AWS key in thirty has letters only, and passed as a plain word."""
    assert not is_harmless("AKIA" + "QVMWKQQKPEFRKTLF", False)
    assert is_harmless("plain words stay what they are", False)
