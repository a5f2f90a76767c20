"""The composition root: everything a shell is handed, in one object.

`stack.py` makes the one Runtime and gives it to each shell. Slots are None until the shell that owns them has filled
them in its `running`; while one of `REQUIRED` is None the guard refuses every request. Nothing is global and nothing
is found by import, so a shell that is loaded alone has an empty Runtime and refuses everything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from mitmproxy import flow as mitmflow
from OpenSSL import SSL

from addons.core.clock import Clock
from addons.core.config.model import Snapshot
from addons.core.exchange import Redactor
from addons.core.web.meters import Meters
from addons.host import gate

if TYPE_CHECKING:  # the areas' own types; the slots stay None until an area fills them
    from addons.core.approval.desk import Desk
    from addons.core.audit.log import AuditLog
    from addons.core.identity.verify import Verifier
    from addons.core.masking.engine import MaskEngine
    from addons.core.services.credentials.keyring import KeyRing
    from addons.core.services.credentials.references import Secrets

REQUIRED = ("snapshot", "clock", "keys", "secrets", "identity", "redactor", "masker", "store", "holds")


class Runtime:
    """Slots, filled at start by their owners (named beside them)."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None  # hardening; swapped by reload
        self.clock: Clock | None = None  # hardening
        self.keys: KeyRing | None = None  # hardening: HKDF labels of keys.root
        self.secrets: Secrets | None = None  # hardening: resolves references
        self.identity: Verifier | None = None  # identity
        self.masker: MaskEngine | None = None  # masking
        self.redactor: Redactor | None = None  # masking
        self.store: AuditLog | None = None  # audit.Intent
        self.holds: Desk | None = None  # approval
        self.tls_contexts: dict[str, SSL.Context] = {}  # hardening: by name of the listener
        self.meters = Meters()  # the guard times steps, control lets it follow the log and shows it
        self.draining = False  # host.drain
        self.audit_failures = 0  # the guard: refusals in a row because nothing could be recorded
        self.loop_lag = 0.0  # watchdog: seconds by which the event loop was late, last measured
        self.said: dict[tuple[str, int], str] = {}  # loghook: class of the last thing the log said about a peer's connection
        self.open_flows: WeakSet[mitmflow.Flow] = WeakSet()  # the guard adds each flow whose record it opens
        self.running: set[str] = set()  # names of the shells whose `running` ended normally (the guard notes them)
        self.chain: tuple[str, ...] = ()  # names in the order of stack.py
        self.closers: list[tuple[str, Callable[[], Awaitable[None]]]] = []  # closed last opened first, by host.drain
        self.reloading = asyncio.Lock()  # host.reload: one at a time, so that an older reading never replaces a newer one
        self.reloaders: list[Callable[[Snapshot], None]] = []  # told of a new Snapshot, after it was swapped in

    def missing(self) -> list[str]:
        """Names of the required slots that are still empty. Asked for every hook of every flow, so it is remembered."""
        known: list[str] | None = self.__dict__.get("_missing")
        if known is None:
            known = self.__dict__["_missing"] = [name for name in REQUIRED if getattr(self, name) is None]
        return known

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        if name in REQUIRED:
            self.__dict__["_missing"] = None

    def snapshot_of(self, flow: mitmflow.Flow) -> Snapshot:
        """The Snapshot pinned for this flow. Never `self.snapshot`, which may be newer."""
        pinned = gate.of(flow).snapshot
        if pinned is None:
            raise RuntimeError("no Snapshot was pinned for this flow")
        return pinned

    def on_close(self, name: str, close: Callable[[], Awaitable[None]]) -> None:
        """Register something to be closed when the gateway stops; the last registered is closed first."""
        self.closers.append((name, close))
