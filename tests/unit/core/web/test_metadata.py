"""The metadata is served to anybody, without a token, and to nobody who asks for a service that is not there."""

import pytest

from tests.parts.control import Bench


@pytest.mark.parametrize(
    ("path", "status", "resource"),
    [("", 200, "https://127.0.0.1:8444/"), ("/crm", 200, "https://127.0.0.1:8443/"), ("/nothing", 404, None), ("/crm/x", 404, None)],
    ids=["control-plane", "service", "no-service", "deeper"],
)
async def test_anybody_may_ask(path, status, resource):
    async with Bench().client() as client:
        answer = await client.get("/.well-known/oauth-protected-resource" + path)
    assert (answer.status_code, answer.json().get("resource")) == (status, resource)
    assert answer.headers["content-type"] == ("application/json" if status == 200 else "application/problem+json")


async def test_a_wrong_scheme_is_no_wrong_token():
    async with Bench().client() as client:
        basic = await client.get("/v1/approvals", headers={"Authorization": "Basic Ym9iOmJvYg=="})
        empty = await client.get("/v1/approvals", headers={"Authorization": "Bearer "})
    assert (basic.status_code, basic.json()["code"], "error=" in basic.headers["www-authenticate"]) == (401, "credential-required", False)
    assert (empty.status_code, empty.json()["code"]) == (401, "token-invalid")
    assert 'error="invalid_token"' in empty.headers["www-authenticate"]
