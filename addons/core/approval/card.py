"""What people see of an approval: plain data, masked before it was stored, every invisible character made visible.

A page, the command line and a chat message draw the same card. It is made from the row and the masked view that was
stored when the hold opened; the request itself is long gone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """One approval, as one viewer may see it. Times are RFC 3339 in UTC; texts are already `visible`."""

    id: str
    state: str
    version: int
    digest: str
    short_digest: str  # "a71c 06c7 73db"
    service: str
    operation: Mapping[str, Any]  # protocol verb text access
    request: Mapping[str, Any]  # method scheme authority path query headers, masked
    body: Mapping[str, Any]  # text size complete note
    principal: Mapping[str, Any]  # subject issuer (alias) kind client_id
    actors: tuple[Mapping[str, Any], ...]
    purpose: Mapping[str, Any]  # value source detail
    rules: tuple[str, ...]
    reasons: tuple[str, ...]  # the rules' own sentences
    requirements: tuple[Mapping[str, Any], ...]  # group need have
    have: int
    need: int
    waiting_for: str  # one sentence: what is still missing; empty once decided
    votes: tuple[Mapping[str, Any], ...]  # by effect channel at reason (reason: None where the viewer may not see it yet)
    grant: Mapping[str, Any] | None
    uses: tuple[Mapping[str, Any], ...]  # n at outcome status
    outcome: str  # one sentence: what came of it; empty while open
    created_at: str
    expires_at: str
    decided_at: str | None
    execution_expires_at: str | None
    caller_connected: bool
    masked: Mapping[str, int]
    session_id: str | None
    cannot_approve: str  # why nobody can approve this (a body that could not be shown); empty otherwise
    can_decide: bool  # the viewer may vote on it now

    def plain(self) -> dict[str, Any]:
        """The card as JSON."""
        return asdict(self)
