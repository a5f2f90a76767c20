"""The guard: whatever goes wrong in a step of ours, the request is refused.

mitmproxy logs an exception of a hook and sends the request on. `guard` wraps every traffic hook of a shell so that an
exception, a cancellation or a missed deadline becomes a refusal instead (`addons.host.refusals` says how, hook by
hook). It also opens the record of a new flow, keeps flows that are not live (loaded from a file) away from the shells,
and skips flows that are already answered.

What no guard can catch, a step that is missing, is caught by `host.departure`.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from mitmproxy import flow as mitmflow
from mitmproxy import http
from mitmproxy.net.http.http1 import connection_close

from addons.core import exchange
from addons.core.clock import SystemClock, uuid7
from addons.core.errors import AuditError, GuardhouseError
from addons.core.exchange import Effect, Exchange
from addons.host import chain, connections, gate
from addons.host.deadline import within
from addons.host.fingerprint import fingerprint
from addons.host.gate import Gate
from addons.host.refusals import answer, answer_of, close_connection, refuse, refuse_at, settled, stop_the_process
from addons.host.runtime import Runtime

__all__ = ["Guarded", "answer", "answer_of", "chain_of", "guard", "hooks_of", "open_record", "refuse", "refuse_at", "settled"]

logger = logging.getLogger(__name__)

FLOW_HOOKS = frozenset({
    "requestheaders", "request", "responseheaders", "response", "error", "websocket_start", "websocket_message", "websocket_end",
    "tcp_start", "tcp_message", "tcp_end", "tcp_error", "udp_start", "udp_message", "udp_end", "udp_error",
    "http_connect", "http_connect_upstream", "http_connected", "http_connect_error", "dns_request", "dns_response", "dns_error",
})  # fmt: skip
CONNECTION_HOOKS = frozenset({
    "client_connected", "client_disconnected", "server_connect", "server_connected", "server_connect_error", "server_disconnected",
    "tls_clienthello", "tls_start_client", "tls_start_server", "tls_established_client", "tls_established_server", "tls_failed_client",
    "tls_failed_server", "next_layer", "quic_start_client", "quic_start_server", "socks5_auth",
})  # fmt: skip
TRAFFIC_HOOKS = FLOW_HOOKS | CONNECTION_HOOKS
LIFECYCLE_HOOKS = ("load", "configure", "running", "done")
TIMED = frozenset({"guardhouse-prepare.request", "guardhouse-apply.response"})  # masking
DEADLINE = 30.0  # seconds, until a Snapshot says otherwise (limits.hook_deadline)
AUDIT_FAILURES = 20  # refusals in a row because nothing could be recorded; then the process ends and a supervisor takes over


class Guarded:
    """A shell with every traffic hook closed by default. Made by `guard`, loaded by mitmproxy."""

    def __init__(self, addon: Any) -> None:
        self.addon = addon
        self.name: str = addon.name
        self.runtime: Runtime = addon.runtime
        self.sees_settled = bool(getattr(addon, "sees_settled", False))
        self.records = self.name in ("guardhouse-intent", "guardhouse-outcome")
        self.no_deadline = bool(getattr(addon, "no_deadline", False))
        for hook in hooks_of(addon):
            setattr(self, hook, self._closed(hook, self._timed(hook, getattr(addon, hook))))
        for hook in LIFECYCLE_HOOKS:
            if hasattr(addon, hook) and hook != "running":
                setattr(self, hook, getattr(addon, hook))
        self.running = self._noted(getattr(addon, "running", None))
        if not self.runtime.chain:
            self._refuse_alone()

    def _timed(self, hook: str, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step, its time noted, where somebody will ask for it; timing every step would cost each request."""
        name, runtime = f"{self.name}.{hook}", self.runtime
        if name not in TIMED:
            return step

        async def timed(flow: mitmflow.Flow) -> None:
            began = time.perf_counter()
            try:
                result = step(flow)
                if result is not None and inspect.isawaitable(result):
                    await result
            finally:
                runtime.meters.step(name, time.perf_counter() - began)

        return timed

    def _refuse_alone(self) -> None:
        """A shell that is loaded alone has no chain beside it: it refuses everything, also what none of its hooks sees."""
        for hook in ("requestheaders", "http_connect", "tcp_start"):
            if not hasattr(self, hook):
                setattr(self, hook, self._closed(hook, self._alone))

    def _alone(self, flow: mitmflow.Flow) -> None:
        if not self.runtime.chain:
            raise GuardhouseError(detail="loaded alone")

    def _noted(self, running: Callable[[], Any] | None) -> Callable[[], Awaitable[None]]:
        """Return `running` so that `listeners` learns whether it ended normally."""

        async def started() -> None:
            try:
                result = running() if running is not None else None
                if inspect.isawaitable(result):
                    await result
            except GuardhouseError as error:
                logger.error("%s did not start: %s", self.name, error.detail or error)  # the operator is the auditor of a start
                raise
            self.runtime.running.add(self.name)

        return started

    def _closed(self, hook: str, step: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        closed = self._closed_for_connections(hook, step) if hook in CONNECTION_HOOKS else self._closed_for_flows(hook, step)
        closed.__name__ = hook
        closed.guarded = True  # type: ignore[attr-defined]  # the house test looks for this mark
        return closed

    def _closed_for_flows(self, hook: str, step: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        """One coroutine and no more: this runs for every hook of every step of every request."""
        runtime, sees_settled, noted = self.runtime, self.sees_settled, f"{self.name}.{hook}"
        may_wait = self.no_deadline and hook == "request"
        is_step = not hook.startswith("websocket_")  # these run for each message: noted in the Socket, not in a list that grows

        async def closed(flow: mitmflow.Flow) -> None:
            if not flow.live:
                return
            kept = gate.find(flow) or open_record(runtime, flow)
            answered = flow.error is not None or settled(flow)
            if answered and not sees_settled:
                return
            try:
                if not answered and (runtime.missing() or runtime.draining):
                    self._refuse_unready(hook)
                result = step(flow)
                if result is not None and inspect.isawaitable(result):
                    await self._within_deadline(result, longest_hold(kept, flow) if may_wait else 0.0)
            except GuardhouseError as error:
                self._refuse(hook, flow, error)
            except asyncio.CancelledError:
                self._refuse(hook, flow, GuardhouseError(detail=f"{noted} was cancelled"))
                raise_if_stopping()
            except Exception as error:  # the one place where everything means no
                logger.warning("%s failed: %s", noted, type(error).__name__, exc_info=error)
                self._refuse(hook, flow, GuardhouseError(detail=f"{noted}: {type(error).__name__}"))
            else:
                if is_step:
                    self._passed(noted, flow, kept)

        return closed

    def _passed(self, noted: str, flow: mitmflow.Flow, kept: Gate) -> None:
        kept.steps.append(noted)
        if noted == chain.FINGERPRINTED and isinstance(flow, http.HTTPFlow):
            kept.fingerprint, kept.body = fingerprint(flow, {}), flow.request.raw_content
        if self.records:
            self.runtime.audit_failures = 0

    def _refuse(self, hook: str, flow: mitmflow.Flow, error: GuardhouseError) -> None:
        refuse_at(hook, flow, error)
        if not isinstance(error, AuditError):
            return
        self.runtime.audit_failures += 1
        if self.runtime.audit_failures >= AUDIT_FAILURES:
            stop_the_process("nothing can be recorded")

    def _refuse_unready(self, hook: str) -> None:
        if missing := self.runtime.missing():
            raise GuardhouseError(detail="not configured yet: " + " ".join(missing))
        if hook == "requestheaders" and self.runtime.draining:
            raise GuardhouseError(
                "Guardhouse is stopping, so your request was not sent. Send it again shortly.",
                code="shutting-down",
                headers={"Retry-After": "5"},
            )

    async def _within_deadline(self, result: Awaitable[None], more: float = 0.0) -> None:
        snapshot = self.runtime.snapshot
        seconds = more + (snapshot.gateway.limits.hook_deadline if snapshot else DEADLINE)
        if inspect.iscoroutine(result):
            await within(seconds, result)
            return
        async with asyncio.timeout(seconds):
            await result

    def _closed_for_connections(self, hook: str, step: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        async def closed(*args: Any) -> None:
            try:
                result = step(*args)
                if result is not None and inspect.isawaitable(result):
                    await self._within_deadline(result)
            except asyncio.CancelledError:
                close_connection(hook, args)
                raise_if_stopping()
            except Exception as error:
                logger.warning("%s.%s failed: %s", self.name, hook, type(error).__name__, exc_info=error)
                close_connection(hook, args)

        return closed


def guard(addon: Any) -> Any:
    """Return the shell with every traffic hook guarded. `addon` has `name`, `runtime` and hooks."""
    return Guarded(addon)


def chain_of(runtime: Runtime, shells: list[Callable[[Runtime], Any]]) -> list[Any]:
    """Return the guarded chain of these shells, in this order, on this Runtime."""
    made = [shell(runtime) for shell in shells]
    runtime.chain = tuple(shell.name for shell in made)
    return [guard(shell) for shell in made]


def hooks_of(addon: Any) -> list[str]:
    """Names of the traffic hooks that a shell defines."""
    return sorted(hook for hook in TRAFFIC_HOOKS if callable(getattr(addon, hook, None)))


def open_record(runtime: Runtime, flow: mitmflow.Flow) -> Gate:
    """Open the record of a flow that nobody has seen yet, and wipe whatever a file brought along."""
    known = gate.find(flow)
    if known is not None:
        return known
    clock = runtime.clock or SystemClock()
    snapshot = runtime.snapshot
    fresh = Gate(snapshot=snapshot, closes=isinstance(flow, http.HTTPFlow) and _asks_to_close(flow.request))
    gate.put(flow, fresh)
    runtime.open_flows.add(flow)
    connections.facts_of(flow.client_conn).flows += 1
    flow.metadata.pop(exchange.KEY, None)
    record = Exchange(id=uuid7(clock), started_at=clock.now(), snapshot=snapshot.digest if snapshot else "")
    exchange.write(flow.metadata, record)
    return fresh


def _asks_to_close(request: http.Request) -> bool:
    return not request.is_http2 and connection_close(request.http_version, request.headers)


def longest_hold(door: Gate, flow: mitmflow.Flow) -> float:
    """Seconds for which people may be waited for: none, unless the decision is to ask them."""
    if door.snapshot is None or exchange.KEY not in flow.metadata:
        return 0.0
    decision = exchange.read(flow.metadata).decision
    if decision is None or decision.effect is not Effect.HOLD:
        return 0.0
    return max((terms.max_hold for terms in door.snapshot.approvals.terms.values()), default=0.0)


def raise_if_stopping() -> None:
    """A cancelled hook ends its flow with a refusal; re-raise only while the whole task is being cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
