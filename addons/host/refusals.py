"""Refusals: how an answer of ours gets into a flow, hook by hook (design/mitmproxy.md 4.1).

`refuse` answers a flow; `refuse_at` does it in the way that the hook allows. What was answered here is `settled`: the
shells do not see it again, but those that record. A refusal in `responseheaders` withholds the upstream's answer; the
patch `EarlyAnswers` then sends ours at once and cuts the upstream off.
"""

import asyncio
import html
import json
import logging
from typing import Any, NoReturn
from weakref import WeakSet

from mitmproxy import connection, ctx, http, tcp
from mitmproxy import flow as mitmflow
from mitmproxy.proxy import commands, events, layer

from addons.core import exchange
from addons.core.errors import GuardhouseError, Problem, UpstreamError, problem_of
from addons.host import gate, rpc_refusals, sockets

logger = logging.getLogger(__name__)

WITHHELD = "The upstream answered, but the answer could not be handled safely, so it was withheld. What you asked may have been done."
CLOSES_WITHIN = 5.0  # seconds for the close frames of a WebSocket
EXIT_CODE = 70  # EX_SOFTWARE: a supervisor restarts us

_SETTLED: WeakSet[mitmflow.Flow] = WeakSet()

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color:#222}}code{{color:#555}}</style></head>
<body><h1>{title}</h1><p>{detail}</p><p><code>{status} {code}</code></p><p><small>{instance}</small></p></body></html>
"""


def settled(flow: mitmflow.Flow) -> bool:
    """True when this flow was answered or refused by us. `flow.response` would not tell: every answered flow has one."""
    return flow in _SETTLED


def refuse(flow: http.HTTPFlow, error: GuardhouseError) -> None:
    """Answer the flow with this refusal, whatever it had before. The first refusal of a flow is the one it keeps for the audit."""
    kept = gate.find(flow)
    if kept is not None and kept.refusal is None:
        kept.refusal = error
    answer(flow, answer_of(flow, error))


def answer(flow: http.HTTPFlow, response: http.Response) -> None:
    """Answer the flow ourselves; also with something that is not a refusal (a ticket)."""
    flow.request.stream = False  # a response beside a streamed request makes mitmproxy hang the client
    flow.response = response
    _SETTLED.add(flow)


def answer_of(flow: http.HTTPFlow, error: GuardhouseError) -> http.Response:
    """Return the refusal as the caller reads it: an error of JSON-RPC for an MCP client, a page for a browser, problem+json (RFC 9457) for everybody else."""
    record = flow.metadata.get(exchange.KEY)
    problem = problem_of(error, record.get("id", "") if isinstance(record, dict) else "")
    rpc = rpc_refusals.answer_of(flow, record, problem) if isinstance(record, dict) else None
    if rpc is not None:
        return rpc
    if prefers_html(flow.request.headers.get("accept", "")):
        return http.Response.make(problem.status, page_of(problem), {**problem.headers, "Content-Type": "text/html; charset=utf-8"})
    body = (json.dumps(problem.body, ensure_ascii=False) + "\n").encode()
    return http.Response.make(problem.status, body, problem.headers)


def page_of(problem: Problem) -> bytes:
    """Return the problem as a page; every member is text."""
    members = {name: html.escape(str(problem.body.get(name, ""))) for name in ("title", "detail", "status", "code", "instance")}
    return PAGE.format(**members).encode()


def prefers_html(accept: str) -> bool:
    """True when the caller ranks text/html above JSON, as browsers do. Wildcards mean no preference, so JSON."""
    ranked: dict[str, float] = {}
    for part in accept.split(","):
        media, _, parameters = part.partition(";")
        ranked[media.strip().lower()] = _quality(parameters)
    return ranked.get("text/html", 0.0) > max(ranked.get("application/json", 0.0), ranked.get("application/problem+json", 0.0))


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def refuse_at(hook: str, flow: mitmflow.Flow, error: GuardhouseError) -> None:
    """Refuse in the way that this hook allows."""
    if isinstance(flow, http.HTTPFlow):
        _refuse_http(hook, flow, error)
        return
    if isinstance(flow, tcp.TCPFlow) and hook == "tcp_message" and flow.messages:
        flow.messages[-1].content = b""
    if flow.killable:
        flow.kill()
    abort_client(flow.client_conn)


def _refuse_http(hook: str, flow: http.HTTPFlow, error: GuardhouseError) -> None:
    door = gate.find(flow)
    if hook == "response" and door is not None and door.stream is not None and door.stream.has_begun:
        door.stream.cut(error)  # its head has left: nothing can take its place any more
        return
    if hook.startswith("websocket"):
        sockets.refuse(hook, flow, error)
        _cut_if_open(flow)
    elif hook in ("responseheaders", "response"):
        if not (settled(flow) and flow.response is not None):  # our own answer stays; what fails then is only the recording of it
            refuse(flow, withheld(error))
        elif error.code == "audit-unavailable":
            refuse(flow, error)
        give_up_upgrade(flow)
    elif hook != "error":
        refuse(flow, error)


def give_up_upgrade(flow: http.HTTPFlow) -> None:
    """Where our answer takes the place of a 101: the upstream believes that a WebSocket is open, so that connection is no use any more."""
    if flow.websocket is not None:
        flow.websocket = None
        abort_server(flow.client_conn, flow.server_conn)


def withheld(error: GuardhouseError) -> GuardhouseError:
    """The refusal for an answer: never the caller's fault, and never "try again", for the upstream has acted."""
    if error.status < 500:
        return UpstreamError(detail=f"{error.code}: {error.detail}")
    if error.code == GuardhouseError.default_code:
        return GuardhouseError(WITHHELD, status=502, detail=error.detail)
    return error


def _cut_if_open(flow: http.HTTPFlow) -> None:
    """Where the layer of ours does not end a session that must end, the transport is cut."""
    socket = sockets.find(flow)
    if socket is None:
        abort_client(flow.client_conn)
    elif socket.end is not None:
        asyncio.get_running_loop().call_later(CLOSES_WITHIN, lambda: abort_client(flow.client_conn) if flow.live else None)


def close_connection(hook: str, args: tuple[Any, ...]) -> None:
    """Refuse a connection whose hook failed; nothing to refuse once it has gone."""
    if hook == "client_connected":
        args[0].error = "refused"
    elif hook == "server_connect":
        args[0].server.error = "refused"
    elif hook == "server_connected":
        abort_server(args[0].client, args[0].server)
    elif hook == "next_layer":  # mitmproxy would choose one itself, without the rules of the listener
        args[0].layer = Refused(args[0].context)
    elif hook == "tls_start_client":
        args[0].ssl_conn = None  # no context: mitmproxy ends the connection
        abort_client(args[0].context.client)
    elif hook == "tls_start_server":
        args[0].ssl_conn = None


class Refused(layer.Layer):
    """A connection that is closed at its first byte."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if not isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.context.client)


def abort_client(client: connection.Client) -> None:
    """Cut a client's connection at once."""
    abort_server(client, client)


def abort_peer(peer: tuple[Any, ...]) -> None:
    """Cut the connection of the client with this address, as log records name it."""
    proxyserver = ctx.master.addons.get("proxyserver") if hasattr(ctx, "master") else None
    for handler in list(proxyserver.connections.values()) if proxyserver is not None else ():
        if handler.client.peername[:2] == peer:
            abort_client(handler.client)


def abort_server(client: connection.Client, peer: connection.Connection) -> None:
    """Cut one transport of a client's connection at once. What was not sent yet is not sent."""
    proxyserver = ctx.master.addons.get("proxyserver") if hasattr(ctx, "master") else None
    handler = proxyserver.connections.get(client.id) if proxyserver is not None else None
    io = handler.transports.get(peer) if handler is not None else None
    transport = getattr(getattr(io, "writer", None), "transport", None)
    if transport is not None:
        transport.abort()


def stop_the_process(why: str) -> NoReturn:
    """End the process: it can no longer do what it is for. A supervisor starts it again."""
    logger.error("Stopping with code %d: %s", EXIT_CODE, why)
    raise SystemExit(EXIT_CODE)
