"""The official MCP client and server through the gateway, neither of them changed: calls are allowed, masked, denied and held one by one."""

import asyncio
import json

import pytest

pytest.importorskip("mcp", reason="the official MCP package is not here (Python 3.13: pip install mcp)")
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

from addons.core.services.jsonrpc import INVALID, REFUSED, WAITING
from tests.parts.agents import SAYS, Site

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TOOLS = {"find_customer", "add_note", "close_account", "report", "run_sql", "delete_customer"}


@pytest.fixture(
    scope="module",
    params=[("json", "stateless"), ("json",), ("stateless",), ()],
    ids=["json-stateless", "json-sessions", "events-stateless", "events-sessions"],
)
def site(request, tmp_path_factory):
    running = Site(tmp_path_factory.mktemp("mcp"), request.param)
    yield running
    running.stop()


@pytest.fixture(params=["auto", "legacy"])
def connect(site, request):
    """Opens a session as the agent `planner`, in the way of the newest and of the older protocol."""

    def client(token=None, elicitation_callback=None, **headers):
        sent = {**SAYS, "Authorization": f"Bearer {token or site.token('planner')}", **headers}
        http_client = httpx2.AsyncClient(headers=sent, timeout=60)
        return Client(
            streamable_http_client(site.tools_url, http_client=http_client), mode=request.param, elicitation_callback=elicitation_callback
        )

    return client


async def test_tools_are_listed_called_and_masked(site, connect):
    async with connect() as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        answer = await client.call_tool("find_customer", {"customer_id": 7})
        welcome = await client.read_resource("file:///welcome")
    said = answer.model_dump_json() + welcome.model_dump_json()
    assert not answer.is_error
    assert "ann.lee@corp.example" not in said and "555 0187" not in said
    assert json.loads(answer.content[0].text)["id"] == 7
    assert "@masked.invalid" in answer.content[0].text and "@masked.invalid" in welcome.contents[0].text


async def test_a_tool_is_allowed_by_its_arguments(site, connect):
    async with connect() as client:
        allowed = await client.call_tool("report", {"region": "eu"})
        with pytest.raises(MCPError) as refused:
            await client.call_tool("report", {"region": "us"})
    assert allowed.content[0].text.startswith("eu: 3 customers")
    assert (refused.value.code, refused.value.data["code"]) == (REFUSED, "policy-denied")
    assert refused.value.message.startswith(
        "Policy does not allow this request. No rule allows tools/call report on tools with these arguments"
    )
    assert "report us" not in site.calls(8460)


async def test_what_a_tool_tells_on_its_way_is_masked_too(site, connect):
    told = []

    async def progress(done, total, message):
        told.append(message)

    async with connect() as client:
        answer = await client.call_tool("report", {"region": "eu"}, progress_callback=progress)
    assert "ann.lee@corp.example" not in answer.content[0].text + "".join(told)
    if not site.modes.count("json"):
        assert [message.partition(" for ")[0] for message in told] == ["step 1", "step 2", "step 3"]


async def test_a_mask_that_an_agent_hands_on_is_refused_and_it_is_told_why(site, connect):
    async with connect() as client:
        found = json.loads((await client.call_tool("find_customer", {"customer_id": 7})).content[0].text)
        with pytest.raises(MCPError) as refused:
            await client.call_tool("add_note", {"customer_id": 7, "text": f"wrote to {found['email']}"})
        plain = await client.call_tool("add_note", {"customer_id": 7, "text": "wrote to her"})
    assert (refused.value.code, refused.value.data["code"]) == (INVALID, "write-back")
    assert plain.content[0].text == "noted"
    assert not [call for call in site.calls(8460) if "masked" in call.lower()]


@pytest.mark.parametrize("site", [()], ids=["events-sessions"], indirect=True)
@pytest.mark.parametrize("connect", ["legacy"], indirect=True)  # the newest protocol has another way for this
async def test_a_tool_may_ask_back_and_the_answer_is_a_request_of_its_own(site, connect):
    asked = []

    async def answer(context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"sure": True})

    async with connect(elicitation_callback=answer) as client:
        done = await client.call_tool("close_account", {"customer_id": 7})
    assert done.content[0].text == "closed 7"
    assert len(asked) == 1 and "@masked.invalid" in asked[0]


async def test_a_denied_tool_is_an_error_that_the_agent_can_read(site, connect):
    async with connect() as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("run_sql", {"query": "SELECT * FROM customers"})
        again = await client.call_tool("report", {"region": "uk"})  # the session lives on
    assert refused.value.message == "Policy does not allow this request. Agents do not run SQL. Use find_customer or report."
    assert refused.value.data["rules"] == ["no-sql-for-agents"] and refused.value.data["status"] == 403
    assert again.content[0].text.startswith("uk")
    assert not [call for call in site.calls(8460) if call.startswith("run_sql")]


async def test_a_held_call_goes_on_when_a_person_approves(site, connect):
    before = site.calls(8460).count("delete_customer 1")
    async with connect(Prefer="wait=40") as client:
        call = asyncio.create_task(client.call_tool("delete_customer", {"customer_id": 1}))
        card = await asyncio.to_thread(site.pending, "delete_customer")
        assert card["operation"]["text"] == 'tools/call delete_customer {"customer_id": 1}'
        assert site.calls(8460).count("delete_customer 1") == before
        await asyncio.to_thread(site.approve, card)
        answer = await call
    assert answer.content[0].text == "deleted 1"
    assert site.calls(8460).count("delete_customer 1") == before + 1


async def test_a_call_that_waits_too_long_gets_a_ticket_and_the_same_call_again_uses_it(site, connect):
    before = site.calls(8460).count("delete_customer 2")
    async with connect() as client:
        with pytest.raises(MCPError) as waiting:
            await client.call_tool("delete_customer", {"customer_id": 2})
        assert waiting.value.code == WAITING
        assert waiting.value.data["code"] == "approval-pending" and waiting.value.data["approval_id"].startswith("ap_")
        assert "Deleting a customer cannot be undone." in json.dumps(waiting.value.data) or waiting.value.data["status_url"]
        card = await asyncio.to_thread(site.pending, "delete_customer")
        assert card["id"] == waiting.value.data["approval_id"]
        await asyncio.to_thread(site.approve, card)
        answer = await client.call_tool("delete_customer", {"customer_id": 2})  # another id, the same call
        assert answer.content[0].text == "deleted 2"
        with pytest.raises(MCPError):
            await client.call_tool("delete_customer", {"customer_id": 2})  # once only
    assert site.calls(8460).count("delete_customer 2") == before + 1


async def test_without_a_credential_it_is_a_401_with_a_challenge(site):
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    answer = site.gateway.request("POST", site.tools_url, body=body, headers={**SAYS, "Content-Type": "application/json"})
    assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (answer.json["id"], answer.json["error"]["data"]["code"]) == (None, "credential-required")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]', "batch"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "method": "tools/call"}', "once"),
    ],
)
def test_what_can_be_read_in_two_ways_is_a_400(site, body, detail):
    headers = {**SAYS, "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    answer = site.gateway.request("POST", site.tools_url, site.token("planner"), body, headers)
    assert (answer.status, answer.json["id"]) == (400, None)
    assert detail in answer.json["error"]["message"]


async def test_every_call_is_in_the_log_with_its_tool(site, connect):
    async with connect() as client:
        await client.call_tool("report", {"region": "eu"})
    found = site.gateway.cli("search", "service:tools", "--json", token=site.token("carol"))
    rows = [json.loads(line) for line in found.text.splitlines()]
    assert found.status == 0 and {row.get("verb") for row in rows} >= {"tools/call"}
    assert "ann.lee@corp.example" not in found.text
