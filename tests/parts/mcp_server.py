"""An MCP server made with the official package: `python mcp_server.py PORT [json] [stateless]`.

Its tools do what the example of policies/README.md speaks of; `/calls` says which of them were really called.
"""

import asyncio
import sys
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

CUSTOMER = {
    "id": 7,
    "name": "Ann Lee",
    "email": "ann.lee@corp.example",
    "phone": "+1 212 555 0187",
    "notes": "Write to ann.lee@corp.example.",
}
server = MCPServer("tools")
calls: list[str] = []


@server.tool()
def find_customer(customer_id: int) -> dict[str, Any]:
    """Look up a customer."""
    calls.append(f"find_customer {customer_id}")
    return CUSTOMER


@server.tool()
async def report(region: str, ctx: Context) -> str:  # type: ignore[type-arg]
    """Report on a region, and tell the progress."""
    calls.append(f"report {region}")
    for step in range(3):
        await ctx.report_progress(step + 1, 3, f"step {step + 1} for ann.lee@corp.example")
        await asyncio.sleep(0.05)
    return f"{region}: 3 customers; ask ann.lee@corp.example"


@server.tool()
def add_note(customer_id: int, text: str) -> str:
    """Write a note."""
    calls.append(f"add_note {customer_id} {text}")
    return "noted"


class Sure(BaseModel):
    """What the server wants to know."""

    sure: bool


@server.tool()
async def close_account(customer_id: int, ctx: Context) -> str:  # type: ignore[type-arg]
    """Close an account, when the user is sure."""
    asked = await ctx.elicit(f"Close the account of {CUSTOMER['email']}?", Sure)
    calls.append(f"close_account {customer_id} {asked.action}")
    return f"closed {customer_id}" if asked.action == "accept" and asked.data.sure else "left open"


@server.tool()
def run_sql(query: str) -> str:
    """Run SQL."""
    calls.append(f"run_sql {query}")
    return "0 rows"


@server.tool()
def delete_customer(customer_id: int) -> str:
    """Delete a customer."""
    calls.append(f"delete_customer {customer_id}")
    return f"deleted {customer_id}"


@server.resource("file:///welcome")
def welcome() -> str:
    """A text."""
    return "Welcome. Ask ann.lee@corp.example."


@server.custom_route("/calls", methods=["GET"])
async def told(request: Request) -> Response:
    return JSONResponse(calls)


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]), json_response="json" in sys.argv, stateless_http="stateless" in sys.argv)
