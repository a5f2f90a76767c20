"""The hook index: call only the addons that have a hook, and let no exception skip the ones behind it.

mitmproxy looks at each of some forty addons for every event, about half of all CPU, and an exception in one addon of a
script skips every later addon of all scripts. This replaces the dispatch: per hook name the list of bound callables,
made once and again whenever an addon comes or goes; one try per callable; an exception on a hook that carries a flow,
in our code or mitmproxy's, refuses the flow, and the rest still runs so that the audit sees it.

Departure is called after every other `request` hook, also those of later scripts and of mitmproxy: whatever they change
is seen before the approval is used. It also holds the last net: a flow that is still blocked after the last `request` hook is answered 503.
"""

import asyncio
import dataclasses
import inspect
import logging
import types
from collections.abc import Callable
from typing import Any

from mitmproxy import addonmanager, ctx, exceptions, hooks, http
from mitmproxy import flow as mitmflow

from addons.core.errors import GuardhouseError, MaskingError
from addons.host import gate
from addons.host.refusals import close_connection, refuse, refuse_at, settled
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

DEPARTURE = "guardhouse-departure"
LAST_NETS = ("request", "responseheaders", "response")

Entry = tuple[Callable[..., Any], bool]  # the bound hook, and whether it is a coroutine function


class HookIndex:
    """Dispatch for one AddonManager."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._arguments: dict[type[hooks.Hook], tuple[str, ...]] = {}
        self._register, self._remove = manager.register, manager.remove
        manager.register = self.register
        manager.remove = self.remove
        manager.trigger_event = self.trigger_event
        manager.handle_lifecycle = self.handle_lifecycle

    def register(self, addon: Any) -> Any:
        """As mitmproxy does; the index is made anew."""
        self._entries.clear()
        try:
            return self._register(addon)
        finally:
            self._entries.clear()

    def remove(self, addon: Any) -> None:
        """As mitmproxy does; the index is made anew."""
        self._entries.clear()
        try:
            self._remove(addon)
        finally:
            self._entries.clear()

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        """Fire one hook, and `update` for a flow."""
        await self.trigger_event(event)
        message = getattr(event, self._names(event)[0])
        if isinstance(message, mitmflow.Flow) and self._find("update"):
            await self.trigger_event(hooks.UpdateHook([message]))

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Call every addon that has this hook."""
        name = event.name
        arguments = tuple([getattr(event, field) for field in self._names(event)])
        for func, is_async in self._find(name):
            try:
                result = func(*arguments)
                if is_async or (result is not None and inspect.isawaitable(result)):
                    await result
            except exceptions.AddonHalt:
                break  # stops the chain; for a request the last net below still refuses
            except asyncio.CancelledError:
                self._failed(name, arguments, "cancelled")
                raise
            except Exception as error:
                logger.error("Addon error in %s: %s", name, type(error).__name__, exc_info=error)
                self._failed(name, arguments, type(error).__name__)
        if name in LAST_NETS:
            last_net(name, arguments[0])
            if name == "response":
                close_if_asked(arguments[0])

    def _names(self, event: hooks.Hook) -> tuple[str, ...]:
        kind = type(event)
        known = self._arguments.get(kind)
        if known is None:
            known = self._arguments[kind] = tuple(field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]
        return known

    def _find(self, name: str) -> tuple[Entry, ...]:
        known = self._entries.get(name)
        if known is None:
            known = self._entries[name] = tuple(self._collect(name))
        return known

    def _collect(self, name: str) -> list[Entry]:
        found: list[Entry] = []
        door: list[Entry] = []
        for addon in addonmanager.traverse(self.manager.chain):
            func = getattr(addon, name, None)
            if not func or isinstance(func, types.ModuleType):
                continue  # `from mitmproxy import log` is no hook
            if not callable(func):
                raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")
            is_door = name == "request" and getattr(addon, "name", "") == DEPARTURE
            (door if is_door else found).append((func, inspect.iscoroutinefunction(func)))
        return found + door

    def _failed(self, name: str, arguments: tuple[Any, ...], why: str) -> None:
        """Something raised past every guard: the flow or the connection it was about is refused."""
        if not arguments:
            return
        if isinstance(arguments[0], mitmflow.Flow):
            if arguments[0].live:
                refuse_at(name, arguments[0], GuardhouseError(detail=f"{name}: {why}"))
        else:
            close_connection(name, arguments)


def last_net(hook: str, flow: mitmflow.Flow) -> None:
    """Nothing leaves that departure did not let out, and nothing comes in without its receipt, whatever stands in the chain."""
    if not isinstance(flow, http.HTTPFlow) or not flow.live or flow.error is not None or settled(flow):
        return
    door = gate.find(flow)
    if door is None or not door.departed:
        refuse(flow, GuardhouseError(detail=f"still blocked after the last {hook} hook"))
    elif hook == "responseheaders" and flow.response is not None and (flow.response.stream or None) is not door.stream:
        refuse(flow, MaskingError(code="masking-missing", detail="response streaming was turned on"))
    elif hook == "response" and not door.receipt:
        refuse_at(hook, flow, MaskingError(code="masking-missing", detail="no receipt after the last response hook"))


def close_if_asked(flow: mitmflow.Flow) -> None:
    """`Connection` is a matter of each connection: it does not go upstream, and what the client asked for is still done."""
    door = gate.find(flow)
    if door is not None and door.closes and isinstance(flow, http.HTTPFlow) and flow.response is not None:
        flow.response.headers["Connection"] = "close"


def install(runtime: Runtime) -> HookIndex:
    """Replace the dispatch of the running mitmproxy."""
    manager: Any = ctx.master.addons
    if not hasattr(manager, "guardhouse_index"):
        manager.guardhouse_index = HookIndex(manager)
    index: HookIndex = manager.guardhouse_index
    return index
