"""Serve the control plane on its own port: approvals, search, health, pages.

Stands near the end of the chain, since it shows what the steps before it have filled in: it starts when all of them
run, and is closed before them (`runtime.on_close` closes last opened first), after `drain` has answered the holds.
What it answers is decided in `addons.core.web`; this module gathers what that needs and runs the server. It has no
traffic hook: no request of the data path passes here.
"""

from pathlib import Path
from urllib.parse import urlsplit

from addons.core.clock import Clock
from addons.core.config.model import Snapshot
from addons.core.exchange import Redactor
from addons.core.web.app import make_app
from addons.core.web.services import ControlServices, Readiness
from addons.host import certificates
from addons.host.asgi import Serving
from addons.host.fail_closed import guard
from addons.host.reload import reload
from addons.host.runtime import Runtime

LABEL = "page-session"


class Control:
    """Starts and stops the control plane."""

    name = "guardhouse-control"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def running(self) -> None:
        runtime = self.runtime
        if missing := runtime.missing():
            raise RuntimeError("the control plane cannot start: not filled: " + " ".join(missing))
        snapshot = current(runtime)
        assert runtime.store is not None
        runtime.store.observers.append(runtime.meters.committed)
        serving = Serving(make_app(services_of(runtime)), snapshot.gateway.control.bind, certificate_of(runtime, snapshot))
        await serving.start()
        runtime.on_close("the control plane", serving.stop)


def services_of(runtime: Runtime) -> ControlServices:
    """Gather what the control plane works with. Every slot is filled: `running` looked."""
    clock, redactor = runtime.clock, runtime.redactor
    assert clock is not None and redactor is not None and runtime.keys is not None
    assert runtime.identity is not None and runtime.holds is not None and runtime.store is not None

    async def reload_files() -> Snapshot:
        return await reload(runtime)

    return ControlServices(
        snapshot=lambda: current(runtime),
        clock=clock,
        identity=runtime.identity,
        holds=runtime.holds,
        store=runtime.store,
        database=current(runtime).gateway.audit.database,
        session_key=runtime.keys.derive(LABEL),
        readiness=lambda: readiness(runtime, clock),
        reload=reload_files,
        redact=lambda text: masked(redactor, text),
        api_keys=runtime.identity.api_keys,
        meters=runtime.meters,
        loop_lag=lambda: runtime.loop_lag,
    )


def readiness(runtime: Runtime, clock: Clock) -> Readiness:
    """Whether a request would be served, and what an operator should not forget."""
    problems = ["waiting-for:" + name for name in runtime.missing()]
    if runtime.draining:
        problems.append("draining")
    if runtime.masker is not None and not runtime.masker.is_warm:
        problems.append("warming-up")
    if not set(runtime.chain) <= runtime.running:
        problems.append("starting")
    return Readiness(tuple(problems), notes(current(runtime), clock.now()))


def notes(snapshot: Snapshot, now: float) -> tuple[str, ...]:
    """Development mode and services in observe mode."""
    observed = [name for name, service in snapshot.gateway.services.items() if service.observe and service.observe.until > now]
    return (*(["development"] if snapshot.gateway.development else []), *("observe:" + name for name in sorted(observed)))


def certificate_of(runtime: Runtime, snapshot: Snapshot) -> Path | None:
    """The file with key and chain: our own authority's for `auto`, else the one that gateway.yaml names."""
    control = snapshot.gateway.control
    reference = control.tls.certificate
    if reference.scheme != "auto":
        return Path(reference.rest)
    hosts = [control.bind.host, urlsplit(control.public_url).hostname or ""]
    return certificates.ensure(snapshot.gateway.state, "control", [host for host in hosts if host not in ("", "0.0.0.0", "::")]).pem_path


def current(runtime: Runtime) -> Snapshot:
    """The newest Snapshot: the control plane has no flow to which one could be pinned."""
    assert runtime.snapshot is not None
    return runtime.snapshot


def masked(redactor: Redactor, text: str) -> str:
    """A line that will be written down, masked. No service is named: the strict default applies."""
    return redactor.redact_text(text, None)


addons = [guard(Control(Runtime()))]
