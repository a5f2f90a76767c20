"""The description of the REST interface: complete, true about refusals and roles, and drawn without a script."""

import re

import pytest

from addons.core.web.description import who_may
from tests.parts.control import Bench, bearer

PATHS = [
    "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/{service}", "/healthz", "/metrics", "/readyz",
    "/v1/approvals", "/v1/approvals/{approval_id}", "/v1/approvals/{approval_id}/cancel", "/v1/approvals/{approval_id}/decision",
    "/v1/approvals/{approval_id}/status", "/v1/export", "/v1/flows/{flow_id}", "/v1/keys", "/v1/keys/{key_id}/revoke",
    "/v1/keys/{key_id}/rotate", "/v1/openapi.json", "/v1/reload", "/v1/search", "/v1/sessions", "/v1/tree", "/v1/webhooks/{integration}",
]  # fmt: skip


async def described():
    async with Bench().client() as client:
        return (await client.get("/v1/openapi.json")).json()


async def test_it_names_every_rest_call_and_no_page():
    assert sorted((await described())["paths"]) == PATHS


async def test_every_call_has_an_area_a_summary_and_says_whose_token_it_takes():
    made = await described()
    for path, calls in made["paths"].items():
        for call in calls.values():
            assert call["summary"] and call["tags"][0] in [tag["name"] for tag in made["tags"]], path
            assert (call["security"] == []) == (call["x-guardhouse-who"] in ("anybody", "a signed integration")), path


async def test_every_refusal_is_a_problem_and_never_the_frameworks_own():
    made = await described()
    for path, calls in made["paths"].items():
        for call in calls.values():
            assert "422" not in call["responses"], path
            schema = call["responses"]["default"]["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
    assert "HTTPValidationError" not in str(made)


async def test_every_reference_leads_somewhere():
    made = await described()
    for target in re.findall(r"'\$ref': '#/([^']+)'", str(made)):
        here = made
        for part in target.split("/"):
            here = here[part]


async def test_nothing_of_this_site_stands_in_it():
    bench = Bench()
    async with bench.client() as client:
        text = (await client.get("/v1/openapi.json")).text
    for word in ("127.0.0.1", bench.snapshot.digest, "dev:"):
        assert word not in text


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/v1/") and "{" not in path])
async def test_what_it_says_of_tokens_is_so(path):
    """Without a token a call answers 401 exactly where the description says that it needs one."""
    method = {"/v1/reload": "POST"}.get(path, "GET")
    async with Bench().client() as client:
        answer = await client.request(method, path + ("?id=x" if path == "/v1/tree" else ""))
    assert (answer.status_code == 401) == (who_may(path) not in ("anybody", "a signed integration"))


@pytest.mark.parametrize("path", [path for path in PATHS if who_may(path) in ("admin", "investigator") and "{" not in path])
async def test_what_it_says_of_roles_is_so(path):
    async with Bench().client() as client:
        answer = await client.request({"/v1/reload": "POST"}.get(path, "GET"), path + "?id=x", headers=bearer("dave"))
    assert (answer.status_code, f"role {who_may(path)}" in answer.json()["detail"]) == (403, True)


async def test_the_page_shows_every_call_without_script_or_anything_from_outside():
    async with Bench().client() as client:
        answer = await client.get("/api", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for path in PATHS:
        assert f"<code>{path}</code>" in answer.text
    assert "<script" not in answer.text and "style=" not in answer.text
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', answer.text) == ["/static/style.css", "/approvals", "/v1/openapi.json"]
    assert "service | approve" not in answer.text
    for part in ("approve | deny", "service | agent | ci | workload", "list of string", "needed"):
        assert part in answer.text
