"""The credential goes in once, over whatever the caller sent, and only to its own upstream."""

import pytest

from addons.core.config.model import Address, Credential, Reference, Service
from addons.core.errors import CredentialError
from addons.core.services.credentials import target
from addons.core.services.credentials.inject import Injection, inject, injection_of

FILE, AUTO = Reference("file", "/run/token", "service-crm"), Reference("auto", "", "service-crm")


@pytest.mark.parametrize(
    ("credential", "secret", "expected"),
    [
        pytest.param(Credential("bearer", FILE), b"s3cret-token", Injection("Authorization", "Bearer s3cret-token"), id="bearer"),
        pytest.param(
            Credential("bearer", FILE), b"s3cret-token\n", Injection("Authorization", "Bearer s3cret-token"), id="a-files-last-newline"
        ),
        pytest.param(Credential("basic", FILE), b"svc:pass", Injection("Authorization", "Basic c3ZjOnBhc3M="), id="basic"),
        pytest.param(Credential("header", FILE, "X-Token"), b"abc def", Injection("X-Token", "abc def"), id="header"),
        pytest.param(
            Credential("bearer", AUTO), b"\xff" * 32, Injection("Authorization", "Bearer " + "_" * 42 + "8"), id="made-key-of-raw-bytes"
        ),
    ],
)
def test_a_secret_becomes_a_header(credential, secret, expected):
    assert injection_of(credential, secret) == expected


@pytest.mark.parametrize(
    ("credential", "secret"),
    [
        pytest.param(Credential("bearer", FILE), b"", id="empty"),
        pytest.param(Credential("bearer", FILE), b"a\r\nX-Admin: 1", id="line-end-inside"),
        pytest.param(Credential("bearer", FILE), b"a\x00b", id="nul"),
        pytest.param(Credential("bearer", FILE), "schlüssel".encode(), id="not-ascii"),
        pytest.param(Credential("bearer", FILE), b" canary", id="space-before"),
        pytest.param(Credential("basic", FILE), b"nocolon", id="basic-without-colon"),
        pytest.param(Credential("magic", FILE), b"abc", id="unknown-type"),
    ],
)
def test_a_secret_that_no_header_can_carry_is_refused_without_showing_it(credential, secret):
    with pytest.raises(CredentialError) as caught:
        injection_of(credential, secret)
    assert (caught.value.code, caught.value.status) == ("credential-unavailable", 502)
    assert not secret or secret.decode("latin-1") not in caught.value.detail + str(caught.value)


def test_ours_replaces_every_spelling_of_theirs():
    fields = [(b"X-Token", b"theirs"), (b"x_token", b"theirs"), (b"X-TOKEN", b"theirs"), (b"Accept", b"*/*")]
    assert inject(fields, Injection("X-Token", "ours")) == ((b"Accept", b"*/*"), (b"X-Token", b"ours"))


def test_an_injection_does_not_show_itself():
    assert "canary" not in repr(Injection("Authorization", "canary"))


@pytest.mark.parametrize(
    ("service", "goes", "allowed"),
    [
        pytest.param(("https", "10.0.0.1", 443), ("https", "10.0.0.1", 443), True, id="tls"),
        pytest.param(("http", "127.0.0.1", 80), ("http", "127.0.0.1", 80), True, id="loopback"),
        pytest.param(("http", "::1", 80), ("http", "::1", 80), True, id="loopback-6"),
        pytest.param(("http", "10.0.0.1", 80), ("http", "10.0.0.1", 80), False, id="cleartext"),
        pytest.param(("http", "localhost", 80), ("http", "localhost", 80), False, id="a-name-resolves-elsewhere"),
        pytest.param(("https", "10.0.0.1", 443), ("https", "10.0.0.2", 443), False, id="another-host"),
        pytest.param(("https", "10.0.0.1", 443), ("https", "10.0.0.1", 444), False, id="another-port"),
        pytest.param(("https", "10.0.0.1", 443), ("http", "10.0.0.1", 443), False, id="downgraded"),
    ],
)
def test_a_credential_goes_only_to_its_own_upstream(service, goes, allowed):
    terms = Service("crm", "http", service[0], Address(service[1], service[2]))
    if allowed:
        target.check(terms, *goes)
        return
    with pytest.raises(CredentialError):
        target.check(terms, *goes)
