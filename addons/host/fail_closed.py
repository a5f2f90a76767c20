"""The guard: whatever goes wrong in a step of ours, the request is refused.

mitmproxy logs an exception of a hook and sends the request on. `guard` wraps every traffic hook of a shell so that an
exception, a cancellation or a missed deadline becomes a refusal instead. It also opens the record of a new flow, keeps
flows that are not live (loaded from a file) away from the shells, and skips flows that are already answered.

What no guard can catch, a step that is missing, is caught by `host.departure`.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

from mitmproxy import exceptions, http
from mitmproxy import flow as mitmflow

from addons.core import exchange
from addons.core.clock import SystemClock, uuid7
from addons.core.errors import GuardhouseError, problem_of
from addons.core.exchange import Exchange
from addons.host import gate
from addons.host.gate import Gate
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

HTTP_HOOKS = frozenset(
    {"requestheaders", "request", "responseheaders", "response", "error", "websocket_start", "websocket_message", "websocket_end"}
)
TRAFFIC_HOOKS = HTTP_HOOKS | {
    "client_connected", "client_disconnected", "server_connect", "server_connected", "server_connect_error", "server_disconnected",
    "tls_clienthello", "tls_start_client", "tls_start_server", "tls_established_client", "tls_established_server", "tls_failed_client", "tls_failed_server",
    "tcp_start", "tcp_message", "tcp_end", "tcp_error", "udp_start", "udp_message", "udp_end", "udp_error",
    "http_connect", "http_connect_upstream", "http_connected", "http_connect_error", "dns_request", "dns_response", "dns_error", "next_layer",
    "quic_start_client", "quic_start_server", "socks5_auth",
}  # fmt: skip
LIFECYCLE_HOOKS = frozenset({"load", "configure", "running", "done"})
DEADLINE = 30.0  # seconds, until a Snapshot says otherwise (limits.hook_deadline)

_SETTLED: WeakSet[mitmflow.Flow] = WeakSet()


def settled(flow: mitmflow.Flow) -> bool:
    """True when this flow was answered or refused by us. `flow.response` would not tell: every answered flow has one."""
    return flow in _SETTLED


def refuse(flow: http.HTTPFlow, error: GuardhouseError) -> None:
    """Answer the flow with this refusal, whatever it had before. The first refusal of a flow is the one it keeps for the audit."""
    kept = gate.find(flow)
    if kept is not None and kept.refusal is None:
        kept.refusal = error
    flow.request.stream = False  # a response beside a streamed request makes mitmproxy hang the client
    flow.response = answer_of(flow, error)
    _SETTLED.add(flow)


def answer(flow: http.HTTPFlow, response: http.Response) -> None:
    """Answer the flow ourselves with something that is not a refusal (a ticket)."""
    flow.request.stream = False
    flow.response = response
    _SETTLED.add(flow)


def answer_of(flow: http.HTTPFlow, error: GuardhouseError) -> http.Response:
    """Return the refusal as the caller reads it (RFC 9457)."""
    record = flow.metadata.get(exchange.KEY)
    problem = problem_of(error, record.get("id", "") if isinstance(record, dict) else "")
    body = (json.dumps(problem.body, ensure_ascii=False) + "\n").encode()
    return http.Response.make(problem.status, body, problem.headers)


def open_record(runtime: Runtime, flow: mitmflow.Flow) -> Gate:
    """Open the record of a flow that nobody has seen yet, and wipe whatever a file brought along."""
    known = gate.find(flow)
    if known is not None:
        return known
    clock = runtime.clock or SystemClock()
    snapshot = runtime.snapshot
    fresh = Gate(snapshot=snapshot)
    gate.put(flow, fresh)
    flow.metadata.pop(exchange.KEY, None)
    record = Exchange(id=uuid7(clock), started_at=clock.now(), snapshot=snapshot.digest if snapshot else "")
    exchange.write(flow.metadata, record)
    return fresh


class Guarded:
    """A shell with every traffic hook closed by default. Made by `guard`, loaded by mitmproxy."""

    def __init__(self, addon: Any) -> None:
        self.addon = addon
        self.name: str = addon.name
        self.runtime: Runtime = addon.runtime
        for hook in hooks_of(addon):
            setattr(self, hook, self._closed(hook, getattr(addon, hook)))
        for hook in LIFECYCLE_HOOKS:
            if hasattr(addon, hook):
                setattr(self, hook, self._noted(getattr(addon, hook)) if hook == "running" else getattr(addon, hook))
        if not hasattr(addon, "running"):
            self.running = self._noted(None)

    def _noted(self, running: Callable[[], Any] | None) -> Callable[[], Awaitable[None]]:
        async def started() -> None:
            if running is not None:
                result = running()
                if inspect.isawaitable(result):
                    await result
            self.runtime.running.add(self.name)

        return started

    def _closed(self, hook: str, step: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        async def closed(*args: Any) -> None:
            if args and isinstance(args[0], mitmflow.Flow):
                await self._run_on_flow(hook, step, args[0])
            else:
                await self._run_on_connection(hook, step, *args)

        closed.__name__ = hook
        closed.guarded = True  # type: ignore[attr-defined]  # the house test looks for this mark
        return closed

    async def _run_on_flow(self, hook: str, step: Callable[..., Any], flow: mitmflow.Flow) -> None:
        if not flow.live:
            return
        kept = open_record(self.runtime, flow)
        sees_all = getattr(self.addon, "sees_settled", False)
        if not sees_all and (flow.error is not None or settled(flow)):
            return
        try:
            self._refuse_unready(flow)
            if settled(flow) and not sees_all:
                return
            await self._within_deadline(step, flow)
        except GuardhouseError as error:
            refuse_at(hook, flow, error)
        except asyncio.CancelledError:
            refuse_at(hook, flow, GuardhouseError(detail=f"{self.name}.{hook} was cancelled"))
            raise_if_stopping()
        except (Exception, exceptions.OptionsError) as error:  # the one place where everything means no
            logger.warning("%s.%s failed: %s", self.name, hook, type(error).__name__)
            refuse_at(hook, flow, GuardhouseError(detail=f"{self.name}.{hook}: {type(error).__name__}"))
        else:
            kept.steps.append(f"{self.name}.{hook}")

    def _refuse_unready(self, flow: mitmflow.Flow) -> None:
        missing = self.runtime.missing()
        if missing and not settled(flow):
            raise GuardhouseError(detail="not configured yet: " + " ".join(missing))

    async def _within_deadline(self, step: Callable[..., Any], *args: Any) -> None:
        result = step(*args)
        if not inspect.isawaitable(result):
            return
        if getattr(self.addon, "no_deadline", False):
            await result
            return
        snapshot = self.runtime.snapshot
        async with asyncio.timeout(snapshot.gateway.limits.hook_deadline if snapshot else DEADLINE):
            await result

    async def _run_on_connection(self, hook: str, step: Callable[..., Any], *args: Any) -> None:
        try:
            await self._within_deadline(step, *args)
        except asyncio.CancelledError:
            close_connection(hook, args)
            raise_if_stopping()
        except Exception as error:
            logger.warning("%s.%s failed: %s", self.name, hook, type(error).__name__)
            close_connection(hook, args)


def guard(addon: Any) -> Any:
    """Return the shell with every traffic hook guarded. `addon` has `name`, `runtime` and hooks."""
    return Guarded(addon)


def hooks_of(addon: Any) -> list[str]:
    """Names of the traffic hooks that a shell defines."""
    return sorted(hook for hook in TRAFFIC_HOOKS if callable(getattr(addon, hook, None)))


def refuse_at(hook: str, flow: mitmflow.Flow, error: GuardhouseError) -> None:
    """Refuse in the way that this hook allows (design/mitmproxy.md 4.1)."""
    if not isinstance(flow, http.HTTPFlow):
        if flow.killable:
            flow.kill()
        return
    if hook in ("requestheaders", "request"):
        refuse(flow, error)
    elif hook in ("responseheaders", "response"):
        if flow.response is not None:
            flow.response.stream = False
        refuse(flow, error if error.status >= 500 else GuardhouseError(detail=error.detail))
    elif hook.startswith("websocket") and flow.websocket is not None:
        if flow.websocket.messages:
            flow.websocket.messages[-1].drop()
        if flow.killable:
            flow.kill()


def close_connection(hook: str, args: tuple[Any, ...]) -> None:
    """Refuse a connection whose hook failed; nothing to refuse once it has gone."""
    if hook == "client_connected":
        args[0].error = "refused"
    elif hook == "server_connect":
        args[0].server.error = "refused"


def raise_if_stopping() -> None:
    """A cancelled hook ends its flow with a refusal; re-raise only while the whole task is being cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
