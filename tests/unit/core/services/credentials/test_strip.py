"""What a caller may not say to an upstream, in every spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.config import stripped
from addons.core.services.credentials import strip

NAMES = [
    "Authorization", "Proxy-Authorization", "X-Api-Key", "DPoP", "Cookie", "Impersonate-User", "Impersonate-Extra-scopes", "X-Remote-User", "X-Remote-Group",
    "X-Forwarded-For", "X-Forwarded-User", "Forwarded", "X-Real-IP", "X-Auth-Request-Email", "X-Client-Cert", "X-Client-Cert-Dn", "SSL-Client-S-Dn",
    "X-Original-URL", "X-Rewrite-URL", "X-Original-Method", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "Connection", "Keep-Alive",
    "Proxy-Connection", "TE", "Trailer", "Upgrade", "Guardhouse-Replay-Of", "Guardhouse-Anything", "Remote-User",
]  # fmt: skip
SPELLINGS = [str.lower, str.upper, lambda name: name.replace("-", "_"), lambda name: name.upper().replace("-", "_"), str.title]


@pytest.mark.parametrize("name", NAMES)
def test_no_spelling_of_it_is_left(name):
    fields = [(spell(name).encode(), b"canary=1") for spell in SPELLINGS]
    assert strip.strip([(b"Host", b"x"), *fields, (b"Accept", b"*/*")]).fields == ((b"Host", b"x"), (b"Accept", b"*/*"))


def test_names_that_connection_lists_go_with_it():
    found = strip.strip([(b"Connection", b"close, X-Role"), (b"x_role", b"admin"), (b"X-Role", b"admin"), (b"Accept", b"*/*")])
    assert found.fields == ((b"Accept", b"*/*"),)
    assert found.notes == ("stripped:x-role",)


def test_connection_takes_neither_host_nor_framing_away():
    fields = ((b"Host", b"x"), (b"Content-Length", b"3"), (b"Content-Type", b"a/b"), (b"Transfer-Encoding", b"chunked"))
    assert strip.strip([(b"Connection", b"host, content-length, content-type, transfer-encoding"), *fields]).fields == fields


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        pytest.param(b"a=1; sid=2; b=3", b"sid=2", id="only-listed"),
        pytest.param(b"sid=2; lang=de", b"sid=2; lang=de", id="all-listed"),
        pytest.param(b"a=1", None, id="none-left"),
        pytest.param(b"SID=2", None, id="names-have-case"),
    ],
)
def test_cookies_pass_by_name(sent, left):
    expected = () if left is None else ((b"Cookie", left),)
    assert strip.strip([(b"Cookie", sent)], cookies=("sid", "lang")).fields == expected


def test_a_method_override_passes_where_routing_has_used_it():
    fields = ((b"X-HTTP-Method-Override", b"DELETE"),)
    assert strip.strip(fields, method_override=True).fields == fields
    assert strip.strip(fields).fields == ()


def test_what_should_not_have_been_there_is_noted_and_what_is_ordinary_is_not():
    found = strip.strip([(b"Authorization", b"x"), (b"X-Remote-User", b"root"), (b"x_remote_user", b"root"), (b"Impersonate-\xff", b"x")])
    assert found.notes == ("stripped:x-remote-user", "stripped:unprintable")


def test_the_table_of_the_configuration_is_stripped():
    for name in (*stripped.STRIPPED, *(f"{prefix}x" for prefix in stripped.STRIPPED_PREFIXES)):
        assert strip.strip([(name.encode(), b"v")]).fields == ()


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=12), st.binary(max_size=12)), max_size=8))
def test_stripping_twice_changes_nothing_more(fields):
    once = strip.strip(fields).fields
    assert strip.strip(once).fields == once
    assert all(field in fields for field in once)
