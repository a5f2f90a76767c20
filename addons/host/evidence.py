"""What the audit is told of a flow, taken from mitmproxy's objects as plain data.

Here ends mitmproxy: `addons.core.audit.traffic` builds the events from what this module returns. Bodies are decoded
under the limits of masking.yaml, never with mitmproxy's own decoder, which has none.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from mitmproxy import connection, http, version

from addons.core.audit.events import Event
from addons.core.audit.traffic import Ending, Message, Seen, ending_of, is_quick, proof
from addons.core.clock import Clock
from addons.core.config.model import MaskLimits, Snapshot
from addons.core.errors import GuardhouseError, Unmaskable
from addons.core.exchange import Exchange, Redactor
from addons.core.masking import encodings
from addons.core.recording import skeleton
from addons.host import connections, gate, listeners
from addons.host.gate import Gate
from addons.host.refusals import stop_the_process

SERVER_PARTS = tuple(sorted(skeleton.CONNECTION_PARTS))
CLIENT_PARTS = tuple(sorted(skeleton.CONNECTION_PARTS - {"address"}))  # a client's `address` is an alias that is not part of its state


def seen(flow: http.HTTPFlow, record: Exchange, snapshot: Snapshot, *, ending: Ending | None = None, key: bytes = b"") -> Seen:
    """Return what the shell saw of the flow; with an ending also of the answer, and the proofs of what was sent and received."""
    door, limits = gate.of(flow), snapshot.masking.limits
    service = snapshot.gateway.services.get(record.service or "")
    path, _, query = flow.request.path.partition("?")
    request = message(flow.request, limits, path=path, query=query)
    first = Seen(
        flow.request.method,
        request,
        client_of(flow.client_conn, snapshot, flow),
        upstream_of(flow, str(service.address) if service else ""),
    )
    if ending is None:
        return first
    is_theirs = door.departed and flow.response is not None and door.refusal is None
    return replace(
        first,
        response=message(flow.response, limits) if flow.response is not None and is_theirs else None,
        received=door.received,
        sent=proof(key, flow.request.raw_content or b"") if door.departed else None,
        skeleton=partial(skeleton.strip, state_of(flow))
        if is_theirs and ending.stage == "ResponseComplete" and flow.websocket is None
        else None,
    )


def state_of(flow: http.HTTPFlow) -> dict[str, Any]:
    """What a skeleton keeps of `flow.get_state()`, and no more: the whole copies metadata deeply and writes out certificates."""
    return {
        "version": version.FLOW_FORMAT_VERSION,
        "id": flow.id,
        "timestamp_created": flow.timestamp_created,
        "client_conn": {name: getattr(flow.client_conn, name) for name in CLIENT_PARTS},
        "server_conn": {name: getattr(flow.server_conn, name) for name in SERVER_PARTS},
        "request": flow.request.get_state(),
        "response": flow.response.get_state() if flow.response is not None else None,
    }


async def built(work: Callable[[], Event], told: Seen, redactor: Redactor, service: str | None) -> Event:
    """Build an event: here when that is quick, else in a thread."""
    return work() if is_quick(told, redactor, service) else await asyncio.to_thread(work)


def message(part: http.Message, limits: MaskLimits, path: str = "", query: str = "") -> Message:
    """Return one message, its body decoded under the limits."""
    headers = [(name.decode("latin-1"), value.decode("utf-8", "backslashreplace")) for name, value in part.headers.fields]
    return Message(headers, decoded(part, limits), part.headers.get("content-type"), path, query)


def decoded(part: http.Message, limits: MaskLimits) -> bytes | None:
    """Return the decoded body, None when it cannot be had."""
    if part.raw_content is None:
        return None
    try:
        return encodings.decode(part.raw_content, encodings.coding_of(part.headers.get_all("content-encoding")), limits)
    except Unmaskable:
        return None


def client_of(client: connection.Client, snapshot: Snapshot | None, flow: http.HTTPFlow | None = None) -> dict[str, Any]:
    """Say who connected, and to what."""
    listener = listeners.listener_of(client, snapshot) if snapshot is not None else None
    facts: dict[str, Any] = {
        "ip": peer_of(client),
        "port": client.peername[1] if client.peername else None,
        "listener": listener.name if listener else None,
        "tls": client.tls_version,
        "user_agent": flow.request.headers.get("user-agent") if flow is not None else None,
    }
    if flow is None:
        facts["said"] = connections.facts_of(client).last or None
    return {name: value for name, value in facts.items() if value is not None}


def upstream_of(flow: http.HTTPFlow, address: str) -> dict[str, Any]:
    """Say where it goes: the address that was dialled if one was, else the one that would be."""
    server = flow.server_conn
    dialled = f"{server.peername[0]}:{server.peername[1]}" if server is not None and server.peername else None
    facts = {"address": address or None, "dialled": dialled, "tls_name": server.sni if server is not None else None}
    return {name: value for name, value in facts.items() if value}


def peer_of(client: connection.Client) -> str:
    """The address of the other end."""
    return client.peername[0] if client.peername else "unknown"


def measured(flow: http.HTTPFlow, record: Exchange, ending: Ending, clock: Clock | None) -> Ending:
    """Add size and duration to an ending."""
    size = ending.size or (len(flow.response.raw_content or b"") if flow.response is not None else 0)
    spent = max(0.0, clock.now() - record.started_at) if clock is not None else 0.0
    return replace(ending, size=size, dur_us=int(spent * 1_000_000))


def ending_of_error(flow: http.HTTPFlow, door: Gate) -> Ending:
    """Say how a flow ended for which mitmproxy has no `response` hook: by us, by the client, or by the upstream."""
    text = flow.error.msg.lower() if flow.error is not None else ""
    has_left = door.gone or not flow.client_conn.connected or "client disconnected" in text or "stream reset by client" in text
    if door.stream is not None and door.stream.error is not None:
        status = flow.response.status_code if flow.response is not None else None
        return Ending("Interrupted", status, refusal=door.stream.error)
    if door.refusal is not None:
        return ending_of_refusal(flow, door.refusal)
    if has_left:
        return Ending("Interrupted", reason="the client left")
    if not door.departed:
        return Ending("Denied", 400, reason="request-malformed")
    is_late = "timeout" in text or "timed out" in text
    return Ending("Failed", 504 if is_late else 502, reason="upstream-timeout" if is_late else "upstream-failed")


def ending_of_refusal(flow: http.HTTPFlow, refusal: GuardhouseError) -> Ending:
    """Say how a flow ended that we refused. Nobody was there to read a refusal that only says that the client had left."""
    status = flow.response.status_code if flow.response is not None else refusal.status
    stage = ending_of(refusal)
    if stage == "Panic" and (gate.of(flow).gone or not flow.client_conn.connected):
        return Ending("Interrupted", refusal=refusal)
    if stage == "Denied" and gate.of(flow).departed:
        stage = "Failed"  # it was sent; `Denied` would say that it was not
    return Ending(stage, status, refusal=refusal)


def code_of(ending: Ending) -> str:
    """The word under which a summary counts this ending."""
    return ending.refusal.code if ending.refusal is not None else ending.reason


def stopper(code: int) -> Callable[[], None]:
    """What the log calls when it can record nothing for good: the process ends, and a supervisor starts it again."""

    def stop() -> None:
        stop_the_process(f"the audit log cannot be written (exit code {code})")

    return stop
