"""RFC 9728 metadata, and challenges that point to it, byte for byte (design/identity.md row 20)."""

from dataclasses import replace

import pytest

from addons.core.config import model
from addons.core.errors import AuthenticationError
from addons.core.identity import challenge, metadata
from tests import harness

ROOT = "https://127.0.0.1:8444/.well-known/oauth-protected-resource"


def snapshot(audiences=("https://127.0.0.1:8443/",), more=(), public_url="https://127.0.0.1:8443", hosts=()):
    made = harness.snapshot()
    issuers = (replace(made.gateway.identity.issuers[0], audiences=audiences), *more)
    identity = replace(made.gateway.identity, issuers=issuers, public_url=public_url)
    services = {name: replace(service, hosts=hosts) for name, service in made.gateway.services.items()}
    return replace(made, gateway=replace(made.gateway, identity=identity, services=services))


def test_the_control_plane_says_what_its_tokens_are():
    assert metadata.document(snapshot()) == {
        "resource": "https://127.0.0.1:8444/",
        "authorization_servers": ["http://127.0.0.1:8445"],
        "bearer_methods_supported": ["header"],
        "resource_name": f"Guardhouse {snapshot().gateway.name}: control plane",
    }


@pytest.mark.parametrize(
    ("made", "resource"),
    [
        pytest.param(snapshot(), "https://127.0.0.1:8443/", id="the-accepted-spelling"),
        pytest.param(snapshot(audiences=("urn:guardhouse",)), "https://127.0.0.1:8443", id="no-audience-is-the-address"),
        pytest.param(
            snapshot(audiences=("https://127.0.0.1:8443/", "https://crm.example/mcp"), hosts=("crm.example",)),
            "https://crm.example/mcp",
            id="an-audience-of-the-service",
        ),
        pytest.param(
            snapshot(audiences=("https://crm.example.evil/",), hosts=("crm.example",)), "https://127.0.0.1:8443", id="not-a-longer-host"
        ),
    ],
)
def test_a_service_says_which_audience_counts(made, resource):
    assert metadata.document(made, "crm")["resource"] == resource


def test_only_issuers_that_give_out_this_audience_are_named():
    other = model.Issuer(name="ci", preset="oidc", issuer="https://ci.example/", audiences=("urn:ci",))
    assert metadata.document(snapshot(more=(other,)), "crm")["authorization_servers"] == ["http://127.0.0.1:8445"]


def test_a_service_that_is_not_there_has_none():
    assert metadata.document(snapshot(), "nothing") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(challenge.required(), f'Bearer realm="guardhouse", resource_metadata="{ROOT}/crm"', id="no-credential-no-error"),
        pytest.param(
            challenge.invalid("signature"),
            f'Bearer realm="guardhouse", error="invalid_token", resource_metadata="{ROOT}/crm"',
            id="invalid",
        ),
        pytest.param(
            challenge.expired("expired"),
            f'Bearer realm="guardhouse", error="invalid_token", error_description="The token has expired", resource_metadata="{ROOT}/crm"',
            id="expired",
        ),
        pytest.param(
            challenge.key_unknown("revoked"),
            f'Bearer realm="guardhouse", error="invalid_token", resource_metadata="{ROOT}/crm"',
            id="api-key",
        ),
        pytest.param(challenge.ambiguous("two-credentials"), None, id="a-400-has-no-challenge"),
        pytest.param(AuthenticationError(), None, id="none-stays-none"),
    ],
)
def test_the_challenge_is_exact(error, expected):
    for _ in range(2):
        metadata.point(error, snapshot(), "crm")
        assert error.headers.get("WWW-Authenticate") == expected
