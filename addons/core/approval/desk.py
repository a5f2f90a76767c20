"""The desk where requests wait and people decide: the one object that shells, control plane and departure speak to."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from addons.core.approval.card import Card
from addons.core.approval.decide import Vote, Voter
from addons.core.exchange import Exchange, HoldState


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a rule holds."""


class Desk:
    """Holds, votes, uses. Signatures are fixed; see the docstrings."""

    async def hold(self, asked: Asked, alive: Callable[[], bool]) -> HoldState:
        """Wait for people. Returns the approved hold; raises ApprovalError (ticket, denied, expired, too many)."""
        raise NotImplementedError

    async def use(self, hold: HoldState, digest: str, record: Exchange, now_check: Callable[[], None]) -> None:
        """Commit one use of an approved hold, departure's last act. Raises ApprovalError unless it is exactly usable."""
        raise NotImplementedError

    async def outcome(self, hold_id: str, flow_id: str, outcome: str, status: int) -> None:
        """Say what came of a use: sent, not_sent, unknown."""
        raise NotImplementedError

    async def decide(self, vote: Vote) -> Card:
        """Count a vote. Raises DecisionError with the reason when it does not count."""
        raise NotImplementedError

    async def cancel(self, approval_id: str, voter: Voter) -> Card:
        """Withdraw one's own request."""
        raise NotImplementedError

    async def card(self, approval_id: str, viewer: Voter, *, wait: float = 0.0, version: int = 0) -> Card:
        """The card for a reviewer or the requester; DecisionError not-found for others. `wait` seconds for a version above `version`."""
        raise NotImplementedError

    async def cards(
        self, viewer: Voter, *, state: str | None = None, service: str | None = None, mine: bool = False, limit: int = 50, before: str | None = None
    ) -> list[Card]:
        """Newest first; `before` is the id of the last card of the page before."""
        raise NotImplementedError

    async def status(self, approval_id: str, principal_key: str) -> Mapping[str, Any]:
        """For status_url: state, have, need, retry_after. DecisionError not-found for anybody but the requester."""
        raise NotImplementedError

    async def webhook(self, integration: str, headers: Mapping[str, str], body: bytes) -> None:
        """Take a signed decision of an integration. DecisionError (401 `unsigned`, one text for all; else as `decide`)."""
        raise NotImplementedError

    def client_gone(self, client_id: str) -> None:
        """The connection closed: end its holds as `on_client_disconnect` says."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Answer everything that waits with 503 and the ticket fields; return when nothing waits."""
        raise NotImplementedError

    def health(self) -> dict[str, Any]:
        """Counts for /readyz and /metrics: waiting, pending, approved, alerts."""
        raise NotImplementedError


_View = Callable[[], Awaitable[Any]]
