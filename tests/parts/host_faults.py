"""Fault injection: any hook of any shell fails when the request's `X-Fault` header says so."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

from mitmproxy import exceptions, http, tls

from addons.host.fail_closed import hooks_of
from addons.host.runtime import Runtime

FAULTS: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: RuntimeError("SECRET in an exception"),
    "OptionsError": lambda: exceptions.OptionsError("SECRET"),
    "CancelledError": lambda: asyncio.CancelledError(),
}


def faulty(make: Callable[[Runtime], Any]) -> Callable[[Runtime], Any]:
    """Return a maker of the same shell whose flow hooks fail on demand."""

    def made(runtime: Runtime) -> Any:
        shell = make(runtime)
        for hook in hooks_of(shell):
            setattr(shell, hook, _failing(f"{shell.name}.{hook}", getattr(shell, hook)))
        return shell

    return made


def _failing(step: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    async def failing(*arguments: Any) -> None:
        asked = arguments[0].request.headers.get("x-fault", "") if isinstance(arguments[0], http.HTTPFlow) else ""
        if isinstance(arguments[0], tls.TlsData) and arguments[0].context.client.sni == "fault.test":
            raise RuntimeError("no context for this name")
        name, _, kind = asked.partition("=")
        if name == step:
            if kind == "Hang":
                await asyncio.sleep(3600)
            raise FAULTS[kind]()
        result = hook(*arguments)
        if inspect.isawaitable(result):
            await result

    return failing


def failing(step: str, hook: Callable[..., Any], asked: Callable[[tuple[Any, ...]], str]) -> Callable[..., Any]:
    """The same hook, which fails when `asked` says `step=kind` about what it is called for."""

    async def made(*arguments: Any) -> None:
        name, _, kind = asked(arguments).partition("=")
        if name == step:
            if kind == "Hang":
                await asyncio.sleep(3600)
            if kind.startswith("Block"):  # seconds for which the whole loop stands still
                time.sleep(int(kind.removeprefix("Block")))
                return
            raise FAULTS[kind]()
        result = hook(*arguments)
        if inspect.isawaitable(result):
            await result

    return made
