"""What happens once, at the start: find and read the configuration, open the secrets, stop mitmproxy's watchers."""

import asyncio
import logging
import os
import signal
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.addons import errorcheck

from addons.core.clock import Clock
from addons.core.config.load import find_policies, load
from addons.core.config.model import Snapshot
from addons.core.services.credentials.keyring import KeyRing
from addons.core.services.credentials.references import Secrets, open_keys
from addons.host import reload
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

HOME = Path(__file__).resolve().parent.parent.parent  # the folder that holds addons/, and as shipped policies/


def read_snapshot(option: str, clock: Clock) -> Snapshot:
    """Read the policies folder, wherever it is; ConfigError lists every problem."""
    folder = find_policies(option or None, os.environ, HOME)
    snapshot = load(folder, checks=reload.CHECKS(), clock_now=clock.now(), environ=os.environ)
    snapshot.gateway.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    snapshot.gateway.state.chmod(0o700)
    for warning in snapshot.warnings:
        logger.warning("%s", warning)
    return snapshot


def open_secrets(snapshot: Snapshot) -> tuple[Secrets, KeyRing]:
    """Open the references and the keys; ConfigError when the root key of an existing store is missing."""
    secrets = Secrets(snapshot.gateway.state, os.environ)
    keys = open_keys(snapshot, secrets)
    for integration in snapshot.approvals.integrations.values():
        for reference in integration.secrets:
            secrets.ensure(reference)  # the other side needs its copy before the first webhook comes
    return secrets, keys


def cancel_watchers() -> None:
    """Stop polling script files: an edit or a deletion would unload the policy of a running gateway."""
    loader = ctx.master.addons.get("scriptloader")
    for script in loader.addons if loader is not None else ():
        if script.reloadtask is not None:
            script.reloadtask.cancel()


def own_script(runtime: Runtime) -> str | None:
    """Return the path of the script that made this chain, as mitmproxy's option `scripts` has it."""
    loader = ctx.master.addons.get("scriptloader")
    for script in loader.addons if loader is not None else ():
        if any(getattr(addon, "runtime", None) is runtime for addon in getattr(script.ns, "addons", ())):
            path: str = script.path
            return path
    return None


def is_complete() -> bool:
    """True once mitmproxy has stopped looking for errors of the start: from then on an unload is an attack or an accident."""
    return not any(isinstance(handler, errorcheck.ErrorCheckHandler) for handler in logging.getLogger().handlers)


def handle_reload_signal(runtime: Runtime) -> None:
    """SIGHUP reloads the policy files, all or none."""
    tasks: set[asyncio.Task[None]] = set()

    def reload_soon() -> None:
        task = asyncio.ensure_future(reload.reload_and_log(runtime))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_soon)
