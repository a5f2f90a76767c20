"""Exactly one credential, in exactly one place."""

import pytest

from addons.core.errors import GuardhouseError
from addons.core.identity import challenge
from addons.core.identity.presented import Presented, pick

KEY = "gh_" + "a" * 12 + "_" + "A" * 43 + "_00000000"


@pytest.mark.parametrize(
    ("fields", "scheme", "value"),
    [
        pytest.param([("Authorization", "Bearer a.b.c")], "bearer", "a.b.c", id="bearer"),
        pytest.param([("authorization", "bearer a.b.c")], "bearer", "a.b.c", id="names-and-schemes-have-no-case"),
        pytest.param([("X-Api-Key", KEY)], "api_key", KEY, id="key"),
        pytest.param([("Authorization", f"Bearer {KEY}")], "api_key", KEY, id="key-as-bearer"),
        pytest.param([("Authorization", "Bearer gh_a.b.c")], "bearer", "gh_a.b.c", id="a-token-that-begins-like-a-key"),
    ],
)
def test_the_one_credential_is_picked(fields, scheme, value):
    found = pick([("Host", "x"), *fields])
    assert (found.scheme, found.value) == (scheme, value)


@pytest.mark.parametrize(
    ("fields", "query", "code", "status"),
    [
        pytest.param([], "", "credential-required", 401, id="none"),
        pytest.param([("Authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")], "", "credential-ambiguous", 400, id="twice"),
        pytest.param([("Authorization", "Bearer a.b.c"), ("X-Api-Key", KEY)], "", "credential-ambiguous", 400, id="two-kinds"),
        pytest.param([("X-Api-Key", KEY), ("X-Api-Key", KEY)], "", "credential-ambiguous", 400, id="two-keys"),
        pytest.param([], "access_token=a.b.c", "credential-ambiguous", 400, id="in-the-query"),
        pytest.param([("Authorization", "Bearer a.b.c")], "x=1&Access_Token=", "credential-ambiguous", 400, id="also-in-the-query"),
        pytest.param([("Authorization", "Bearer a.b.c")], "access%5Ftoken=x", "credential-ambiguous", 400, id="in-the-query-escaped"),
        pytest.param([("Authorization", "Bearer a.b\x00.c")], "", "request-malformed", 400, id="nul"),
        pytest.param([("Authorization", "Bearer a.b.c\r\n x")], "", "request-malformed", 400, id="fold"),
        pytest.param([("Authorization", "Bearer")], "", "token-invalid", 401, id="empty-bearer"),
        pytest.param([("Authorization", "Bearer  a.b.c")], "", "token-invalid", 401, id="two-spaces"),
        pytest.param([("Authorization", "Bearer a.b.c, Bearer d.e.f")], "", "token-invalid", 401, id="joined"),
        pytest.param([("Authorization", "Basic YTpi")], "", "credential-required", 401, id="basic"),
        pytest.param([("Authorization", "")], "", "credential-required", 401, id="empty"),
        pytest.param([("Authorization", "DPoP a.b.c")], "", "proof-invalid", 401, id="dpop-is-not-served-yet"),
    ],
)
def test_anything_else_is_refused(fields, query, code, status):
    with pytest.raises(GuardhouseError) as caught:
        pick(fields, query)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert ("WWW-Authenticate" in caught.value.headers) == (status == 401)


def test_a_challenge_names_an_error_only_when_a_credential_came():
    """RFC 6750 section 3.1."""
    assert challenge.required().headers == {"WWW-Authenticate": 'Bearer realm="guardhouse"'}
    assert challenge.invalid("signature").headers == {"WWW-Authenticate": 'Bearer realm="guardhouse", error="invalid_token"'}
    assert challenge.expired("expired").headers == {
        "WWW-Authenticate": 'Bearer realm="guardhouse", error="invalid_token", error_description="The token has expired"'
    }


def test_a_credential_does_not_show_itself():
    assert "canary" not in repr(Presented("bearer", "canary"))
