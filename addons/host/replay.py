"""Sends recorded requests again, under the investigator's own identity, to the gateway and nowhere else.

Loaded by `guardhouse replay send` into a mitmdump of its own, beside mitmproxy's own client replay. The requests were
retargeted and stripped before (`retarget`); this script is the net below: it adds the investigator's credential, lets
safe methods through only, refuses any connection but the gateway's, and prints one JSON line per answer.
"""

import json
import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from mitmproxy import http
from mitmproxy.proxy import server_hooks

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Recorded headers that must not be sent again: credentials, what the gateway adds for the upstream, framing.
DROPPED = frozenset(
    {
        "authorization", "proxy-authorization", "cookie", "x-api-key", "dpop", "traceparent", "tracestate", "host", "content-length",
        "transfer-encoding", "connection", "if-none-match", "if-modified-since",
    }
)  # fmt: skip


def retarget(flow: http.HTTPFlow, gateway: str, host: str | None, headers: Mapping[str, str]) -> None:
    """Point a recorded flow at the gateway and strip what belonged to the recorded caller. `host` names the service."""
    target = urlsplit(gateway)
    for name in list(flow.request.headers.keys()):
        if name.lower() in DROPPED or name.lower().startswith("guardhouse-"):
            del flow.request.headers[name]
    flow.request.scheme = target.scheme
    flow.request.host = target.hostname or ""
    flow.request.port = target.port or (443 if target.scheme == "https" else 80)
    flow.request.authority = ""
    flow.request.headers["Host"] = host or target.netloc
    flow.request.http_version = "HTTP/1.1"
    for name, value in headers.items():
        flow.request.headers[name] = value
    flow.request.headers["Guardhouse-Replay-Of"] = flow.id
    if flow.request.raw_content:
        flow.request.headers["Content-Length"] = str(len(flow.request.raw_content))
    flow.metadata.clear()


class Send:
    """The last word on what a replay sends. The token comes by environment, so that it is in no file and no process list."""

    name = "guardhouse-replay-send"

    def __init__(self) -> None:
        self.gateway = urlsplit(os.environ.get("GUARDHOUSE_REPLAY_GATEWAY", ""))
        self.token = os.environ.get("GUARDHOUSE_TOKEN", "")

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.method not in SAFE_METHODS or not self.token:
            flow.response = http.Response.make(403, "A replay does not write.\n")
            return
        flow.request.headers["Authorization"] = f"Bearer {self.token}"

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        if data.server.address != (self.gateway.hostname, self.gateway.port):
            data.server.error = "a replay goes to the gateway and nowhere else"

    def response(self, flow: http.HTTPFlow) -> None:
        assert flow.response is not None
        report(
            {
                "flow": flow.request.headers.get("Guardhouse-Replay-Of", flow.id),
                "method": flow.request.method,
                "status": flow.response.status_code,
            }
        )

    def error(self, flow: http.HTTPFlow) -> None:
        report({"flow": flow.request.headers.get("Guardhouse-Replay-Of", flow.id), "method": flow.request.method, "status": 0})


def report(line: Mapping[str, object]) -> None:
    """One JSON line on standard output, which the command line reads."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


addons = [Send()]
