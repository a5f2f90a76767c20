"""What the control plane is handed: everything it reads or calls, in one frozen object.

The control plane lives in core and never imports the host. What only the host can do (load the policy files again, say
whether the chain stands) comes in as a callable. The shell `addons/control.py` fills this from the Runtime.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from addons.core.clock import Clock
from addons.core.config.model import Snapshot
from addons.core.exchange import Principal
from addons.core.identity.api_keys import ApiKeys
from addons.core.web.meters import Meters

if TYPE_CHECKING:
    from addons.core.approval.desk import Desk
    from addons.core.audit.log import AuditLog


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a request would be served now. `problems` say why not; `notes` say what an operator should not forget."""

    problems: tuple[str, ...] = ()  # draining | warming-up | waiting-for:<slot>
    notes: tuple[str, ...] = ()  # development | observe:<service>

    @property
    def is_ready(self) -> bool:
        return not self.problems


class TokenVerifier(Protocol):
    """The part of the identity area that the control plane uses."""

    async def verify_bearer(self, token: str, audiences: tuple[str, ...], snapshot: Snapshot, peer: str) -> Principal:
        """Return whose token it is. Raises AuthenticationError or IdentityUnavailableError."""

    async def verify_key(self, text: str, snapshot: Snapshot, peer: str) -> Principal:
        """Return whose API key it is. Raises AuthenticationError."""

    def still_good(self, principal: Principal, snapshot: Snapshot) -> None:
        """Raise when the principal has expired or was revoked since it was verified."""


@dataclass(frozen=True, slots=True)
class ControlServices:
    """The control plane's hands and eyes."""

    snapshot: Callable[[], Snapshot]
    clock: Clock
    identity: TokenVerifier
    holds: "Desk"
    store: "AuditLog"
    database: Path  # the store's file, for read-only connections beside the writer
    session_key: bytes  # HKDF label `page-session`
    readiness: Callable[[], Readiness]
    reload: Callable[[], Awaitable[Snapshot]]  # all policy files or none; raises ConfigError
    redact: Callable[[str], str]  # masks a line that will be written down (a search query may hold what it looks for)
    api_keys: ApiKeys | None = None  # None: this gateway serves none
    meters: Meters = field(default_factory=Meters)
    loop_lag: Callable[[], float] = lambda: 0.0  # seconds by which the event loop was late, last measured
