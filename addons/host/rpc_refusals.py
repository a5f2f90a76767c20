"""A refusal as an MCP client reads it: a JSON-RPC error.

The answer to a call that was read is the error of that call, with its id and HTTP status 200: clients that raise on a
status never show its body to the agent. Where no call was read, or it was no call (a notification, a stream), the status
is the refusal's own and the id is null, as streamable HTTP says. A 401 stays one, with its challenge: clients log in by it.
"""

from collections.abc import Mapping
from typing import Any

from mitmproxy import http

from addons.core.errors import Problem
from addons.core.services import jsonrpc, mcp
from addons.host import gate

UNAUTHENTICATED = 401


def answer_of(flow: http.HTTPFlow, record: Mapping[str, Any], problem: Problem) -> http.Response | None:
    """Return the answer, None when the flow is not for an MCP server."""
    door = gate.find(flow)
    service = door.snapshot.gateway.services.get(record.get("service") or "") if door is not None and door.snapshot is not None else None
    if service is None or service.kind != mcp.PROTOCOL:
        return None
    request_id = call_of(record)
    status = problem.status if request_id is None or problem.status == UNAUTHENTICATED else 200
    return http.Response.make(status, jsonrpc.error_of(problem, request_id), {**problem.headers, "Content-Type": "application/json"})


def call_of(record: Mapping[str, Any]) -> str | int | None:
    """The id of the call that this flow carries; None when it carries none, or none was read."""
    operation = record.get("operation")
    if operation is None or operation["protocol"] != mcp.PROTOCOL or operation["verb"] == mcp.RESPONSE:
        return None
    found: str | int | None = operation["attributes"]["id"]
    return found
