"""The injected credential is found in every spelling in which an upstream may hand it back."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.services.credentials.scrub import forms

MASK = b"[gone]"
SECRET = 'tok/en+"canary"=42?&e'
SPELLINGS = [
    pytest.param(lambda s: s.encode(), id="raw"),
    pytest.param(lambda s: json.dumps({"h": s}).encode(), id="json"),
    pytest.param(lambda s: json.dumps({"h": s}).replace("/", "\\/").encode(), id="json-with-escaped-slashes"),
    pytest.param(lambda s: quote(s, safe="").encode(), id="percent"),
    pytest.param(lambda s: quote(s).encode(), id="percent-but-slashes"),
    pytest.param(lambda s: quote_plus(s).lower().encode(), id="percent-lower-case"),
    *(
        pytest.param(lambda s, n=n, m=m, f=f: f(b"x" * n + s.encode() + b"y" * m), id=f"{name}-{n}-{m}")
        for n in range(4)
        for m in range(4)
        for name, f in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode))
    ),
]


def scrub(data, spellings):
    """Replace every spelling, in the order in which they are given."""
    count = 0
    for spelling in spellings:
        count += data.count(spelling)
        data = data.replace(spelling, MASK)
    return data, count


@pytest.mark.parametrize("spell", SPELLINGS)
def test_every_spelling_is_scrubbed(spell):
    body = b"before " + spell(SECRET) + b" after"
    cleaned, count = scrub(body, forms(f"Bearer {SECRET}"))
    assert count >= 1
    assert MASK in cleaned
    assert cleaned.startswith(b"before") and cleaned.endswith(b"after")
    assert b"canary" not in cleaned


def test_basic_is_found_as_pair_as_password_and_as_sent():
    sent = base64.b64encode(b"svc:p4ssw0rd-canary").decode()
    found = forms(f"Basic {sent}")
    for body in (sent.encode(), b"svc:p4ssw0rd-canary", b"the password p4ssw0rd-canary is wrong"):
        cleaned, count = scrub(body, found)
        assert count == 1 and b"canary" not in cleaned and sent.encode() not in cleaned


def test_a_text_shorter_than_eight_bytes_is_not_searched_for():
    assert forms("Bearer abc") == ()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=48), st.binary(max_size=5), st.binary(max_size=5))
def test_whatever_the_secret_and_its_neighbours(secret, before, after):
    found = forms(f"Bearer {secret}")
    for body in (before + secret.encode() + after, base64.b64encode(before + secret.encode() + after)):
        cleaned, count = scrub(body, found)
        assert count >= 1
        assert secret.encode() not in cleaned
