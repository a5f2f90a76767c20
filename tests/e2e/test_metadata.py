"""A client that knows nothing but the address finds out where to get a token, as an MCP client does (RFC 9728)."""

import json

import pytest

pytestmark = pytest.mark.e2e


def test_the_challenge_leads_to_the_metadata_and_a_token_for_its_resource_opens_the_door(gateway):
    refused = gateway.request("GET", gateway.tls + "/customers/1", headers={"Host": "crm.localhost", "X-Purpose": "support/1"})
    assert refused.status == 401
    address = f"{gateway.control}/.well-known/oauth-protected-resource/crm"
    assert refused.headers["WWW-Authenticate"] == f'Bearer realm="guardhouse", resource_metadata="{address}"'
    told = gateway.request("GET", address)
    assert (told.status, told.json["authorization_servers"]) == (200, [gateway.issuer])
    assert told.json["resource"] == gateway.tls + "/"
    wrong = gateway.request("GET", gateway.tls + "/customers/1", "a.b.c", headers={"Host": "crm.localhost", "X-Purpose": "support/1"})
    assert wrong.headers["WWW-Authenticate"] == f'Bearer realm="guardhouse", error="invalid_token", resource_metadata="{address}"'
    good = gateway.request(
        "GET", gateway.tls + "/customers/1", gateway.token("alice"), headers={"Host": "crm.localhost", "X-Purpose": "support/1"}
    )
    assert good.status == 200


def test_the_mcp_package_reads_challenge_and_metadata(gateway):
    utils = pytest.importorskip("mcp.client.auth.utils")
    httpx = pytest.importorskip("httpx")
    from mcp.shared.auth import ProtectedResourceMetadata

    refused = gateway.request("GET", gateway.tls + "/customers/1", headers={"Host": "crm.localhost"})
    answer = httpx.Response(refused.status, headers={"WWW-Authenticate": refused.headers["WWW-Authenticate"]})
    address = utils.extract_resource_metadata_from_www_auth(answer)
    assert address == f"{gateway.control}/.well-known/oauth-protected-resource/crm"
    found = ProtectedResourceMetadata.model_validate(json.loads(gateway.request("GET", address).body))
    assert (str(found.resource), [str(one).rstrip("/") for one in found.authorization_servers]) == (gateway.tls + "/", [gateway.issuer])
