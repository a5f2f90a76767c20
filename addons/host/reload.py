"""Reload: read all policy files, judge all of them, then swap one Snapshot. On any error the old one stays.

Flows keep the Snapshot they were pinned to; departure asks the newest one once more. Listeners do not change without
a restart, and a reload that would change them, the state folder, the keys or the store is refused, naming what.
"""

import asyncio
import importlib
import logging
import os
from collections.abc import Callable, Iterable

from addons.core.audit.events import json_field, make
from addons.core.config.load import load
from addons.core.config.model import Gateway, Snapshot
from addons.core.errors import AuditError, ConfigError, ConfigProblem, GuardhouseError
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

Check = Callable[[Snapshot], Iterable[ConfigProblem]]
AREAS = ("policy", "masking", "approval")
FIXED = ("name", "state", "listeners", "control", "keys", "audit", "development", "extra_scripts")


def CHECKS() -> list[Check]:
    """The areas' own judgement of a Snapshot: conditions, profiles, whether approvals can be given at all."""
    return [importlib.import_module(f"addons.core.{area}.check").problems for area in AREAS]


async def reload(runtime: Runtime) -> Snapshot:
    """Swap in what the files say now, or raise ConfigError and change nothing. One at a time: of two that overlap, the one
    that read the files earlier could otherwise end later, and the older rules would stay."""
    async with runtime.reloading:
        return await _reload(runtime)


async def _reload(runtime: Runtime) -> Snapshot:
    old, clock = runtime.snapshot, runtime.clock
    if old is None or clock is None:
        raise GuardhouseError(detail="reload before the start")
    fresh = await asyncio.to_thread(load, old.folder, checks=CHECKS(), clock_now=clock.now(), environ=os.environ)
    if changed := fixed_changes(old.gateway, fresh.gateway):
        raise ConfigError([ConfigProblem("gateway.yaml", f"`{name}` changes only with a restart") for name in changed])
    runtime.snapshot = fresh
    try:
        for tell in runtime.reloaders:
            tell(fresh)
    except Exception as error:
        _go_back(runtime, old)
        raise GuardhouseError("A step could not take the new files, so the old ones stay.", detail=type(error).__name__) from error
    return fresh


def _go_back(runtime: Runtime, old: Snapshot) -> None:
    """All or none: give every step the Snapshot that it had, also those that had taken the new one."""
    runtime.snapshot = old
    for tell in runtime.reloaders:
        try:
            tell(old)
        except Exception as error:
            logger.error("a step did not take the old files back: %s", type(error).__name__)


def fixed_changes(old: Gateway, fresh: Gateway) -> list[str]:
    """Return the names of what a running gateway cannot change."""
    return [name for name in FIXED if getattr(old, name) != getattr(fresh, name)]


async def reload_and_log(runtime: Runtime) -> None:
    """Reload by signal: nobody waits for the answer, so it goes to the log; the audit gets what a reload by the control plane gets."""
    try:
        await record(runtime, "reload-asked")
        fresh = await reload(runtime)
        await record(runtime, "reloaded", fresh.digest)
    except AuditError as error:
        logger.warning("reload by signal could not be recorded: %s", error)
    except GuardhouseError as error:
        logger.warning("reload refused, the old rules stay: %s", error)
    except Exception as error:
        logger.warning("reload failed, the old rules stay: %s", type(error).__name__)
    else:
        logger.info("reloaded: %s", fresh.digest)


async def record(runtime: Runtime, verb: str, digest: str | None = None) -> None:
    """Write down that the machine's own operator had the files loaded again: who may send a signal has no name here."""
    if runtime.store is None:
        raise AuditError(detail="the audit log is not open")
    await runtime.store.append(make("Mark", "config", {"verb": verb, "policy_digest": digest}, {"note": json_field({"by": "signal"})}))
