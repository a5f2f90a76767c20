"""The sandbox: recorded answers, and no upstream at all.

Loaded by `guardhouse replay serve` into a mitmdump of its own, beside mitmproxy's own server replay, which answers
what it has recorded and 404 for the rest. This script is the net below it: with an empty recording mitmproxy would
forward whatever its options say, so every request that has no recorded answer by now is answered here, every
connection to a server is refused, and a WebSocket is told where to look instead (design/audit.md 3.13).
"""

import json

from mitmproxy import http
from mitmproxy.proxy import server_hooks

NAME_HEADER = "Guardhouse-Replay"


class Sandbox:
    """Stands in for the world."""

    name = "guardhouse-sandbox"

    def request(self, flow: http.HTTPFlow) -> None:
        """Answer everything here. mitmproxy's server replay comes after scripts and overwrites this with what it recorded."""
        flow.response = not_recorded()

    def response(self, flow: http.HTTPFlow) -> None:
        """`prepare` marked every recorded answer; an answer without the mark is mitmproxy's own empty 404."""
        if flow.request.headers.get("upgrade"):
            flow.response = problem(501, "The sandbox does not replay WebSockets or other upgrades.")
        elif flow.response is None or NAME_HEADER not in flow.response.headers:
            flow.response = not_recorded()

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        data.server.error = "the sandbox has no upstream"


def prepare(flow: http.HTTPFlow) -> bool:
    """Mark a recorded flow for the sandbox. False when it holds no answer to give."""
    if flow.response is None or flow.websocket is not None:
        return False
    flow.request.scheme = "http"  # the sandbox speaks cleartext on loopback, and mitmproxy matches the scheme as well
    flow.response.headers[NAME_HEADER] = "recorded"
    return True


def not_recorded() -> http.Response:
    """The answer to a request that the file does not hold."""
    return problem(404, "This request was not recorded, so there is nothing to answer.")


def problem(status: int, detail: str) -> http.Response:
    """A refusal in the shape that every other answer of ours has (RFC 9457)."""
    body = {
        "type": "urn:guardhouse:problem:not-recorded",
        "title": "Not recorded",
        "status": status,
        "code": "not-recorded",
        "detail": detail,
    }
    return http.Response.make(status, json.dumps(body) + "\n", {"Content-Type": "application/problem+json", NAME_HEADER: "none"})


addons = [Sandbox()]
