"""Waiting: what a held request brings along, who waits for what, and the ticket it gets instead of an answer.

A held request waits on a future of ours; nothing polls the store. The future is ended by a change of its approval, by
its own deadline (`Desk.tick`), by its connection closing, or by the gateway stopping: there is no wait without an end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from addons.core.approval.digest import RequestFacts
from addons.core.approval.rows import Approval
from addons.core.approval.states import State
from addons.core.approval.terms import MICRO, Terms
from addons.core.errors import ApprovalError
from addons.core.exchange import Principal

RETRY_FROM, RETRY_TO = 5, 30  # seconds: within what retrying clients wait by themselves (curl, urllib3, client-go)


class Woken(StrEnum):
    """Why a wait ended."""

    CHANGED = "changed"
    TIMEOUT = "timeout"
    GONE = "gone"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class View:
    """What people will see of the request: masked before it reaches this area. Nothing else of it is ever stored."""

    operation: Mapping[str, Any]  # protocol verb text access
    request: Mapping[str, Any]  # method scheme authority path query headers
    body: Mapping[str, Any]  # text size complete note
    purpose_source: str = "none"
    purpose_detail: str | None = None
    reasons: tuple[str, ...] = ()
    masked: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that hold rules stopped, with all that the desk needs to know of it."""

    flow_id: str
    client_id: str  # of the connection, for `client_gone`
    facts: RequestFacts
    principal: Principal
    excluded: tuple[str, ...]  # `policy.four_eyes`
    terms: Terms
    masks: tuple[str, ...]
    body_size: int
    session_id: str | None
    trace_id: str | None
    view: Callable[[], Awaitable[View]]  # made only when a new approval is opened: masking costs time
    wait: float | None = None  # seconds of `Prefer: wait=`; None: the terms' own
    at_once: bool = False  # `Prefer: respond-async`: the ticket at once

    @property
    def owner(self) -> str:
        """Whose limit this counts against, besides the principal's own."""
        return self.principal.owner or self.principal.person

    def patience(self) -> float:
        """Seconds on the socket."""
        if self.at_once:
            return 0.0
        if self.wait is None:
            return self.terms.hold_timeout / MICRO
        return max(0.0, min(self.wait, self.terms.max_hold / MICRO))


@dataclass(slots=True)
class Waiter:
    """One held request."""

    flow_id: str
    client_id: str
    deadline: float  # monotonic
    alive: Callable[[], bool]
    future: asyncio.Future[Woken]

    def wake(self, why: Woken) -> None:
        """End the wait; the first reason stays."""
        if not self.future.done():
            self.future.set_result(why)


@dataclass(slots=True)
class Entry:
    """What this process knows of an approval that is still open: its row as we last committed it, and who waits."""

    row: Approval  # without the view, which may be large
    terms: Terms
    owner: str
    masks: tuple[str, ...]
    mono_deadline: float
    seal: str  # of the newest note: the next one is chained to it
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiters: list[Waiter] = field(default_factory=list)
    watchers: list[Waiter] = field(default_factory=list)  # pages and long polls; they end with any change
    claims: dict[str, Callable[[], bool]] = field(default_factory=dict)  # flow id -> is that flow still on its way to a use
    voters: tuple[str, ...] = ()
    have: int = 0
    doubtful: bool = False  # a commit ended in an error: read everything again before the next move

    def free_uses(self) -> int:
        """Uses that are neither made nor on their way."""
        self.claims = {flow: alive for flow, alive in self.claims.items() if alive()}
        return self.row.max_uses - self.row.uses - len(self.claims)

    def wake(self, why: Woken = Woken.CHANGED) -> None:
        """Tell everybody who waits here."""
        for waiter in [*self.waiters, *self.watchers]:
            waiter.wake(why)


class Pending(ApprovalError):
    """Not approved yet: the ticket. `ticket` is also in the problem document."""

    @property
    def ticket(self) -> Mapping[str, Any]:
        return self.extra


def ticket_of(entry: Entry, now_us: int, public_url: str, differs: str = "") -> dict[str, Any]:
    """The members of the ticket beside the problem document's own."""
    row = entry.row
    base = public_url.rstrip("/")
    found: dict[str, Any] = {
        "approval_id": row.id,
        "digest": row.digest,
        "rules": list(row.rules),
        "approvals": {"have": entry.have, "need": len(entry.terms.slots)},
        "status_url": f"{base}/v1/approvals/{row.id}/status",
        "approve_url": f"{base}/approvals/{row.id}",
        "expires_at": iso(row.deadline or row.expires_at),
        "retry_after": retry_after(row, now_us),
    }
    if differs:
        found["differs"] = differs
    return found


def pending(entry: Entry, now_us: int, public_url: str, differs: str = "") -> Pending:
    """The ticket: nothing was sent, come again with the same request."""
    extra = ticket_of(entry, now_us, public_url, differs)
    seconds = extra["retry_after"]
    text = f"{sentence(entry.terms)} Retry after {seconds} seconds with the same request; nothing was sent."
    headers = {"Retry-After": str(seconds), "Guardhouse-Approval": entry.row.id}
    return Pending(f"{text} {differs}".strip(), status=entry.terms.pending_status, headers=headers, extra=extra)


def stopping(entry: Entry, now_us: int, public_url: str) -> ApprovalError:
    """The gateway stops while the request waits. Its ticket survives."""
    extra = ticket_of(entry, now_us, public_url)
    headers = {"Retry-After": str(RETRY_FROM), "Guardhouse-Approval": entry.row.id}
    text = "Guardhouse is stopping; your request was not sent. The approval stays open: send the same request again."
    return ApprovalError(text, code="shutting-down", headers=headers, extra=extra)


def ask_again(detail: str) -> ApprovalError:
    """What was approved does not hold any more: the caller sends the request again and people are asked anew."""
    text = "The approval does not fit this request any more. Send it again: people will be asked anew; nothing was sent."
    return ApprovalError(text, code="approval-pending", headers={"Retry-After": str(RETRY_FROM)}, detail=detail)


def retry_after(row: Approval, now_us: int) -> int:
    """Seconds that grow with the age of the approval, spread by its id so that many callers do not come at once."""
    age = max(0, now_us - row.created_at) // MICRO
    spread = sum(row.id.encode()) % 4
    return int(min(RETRY_TO, RETRY_FROM + age // 12 + spread))


def sentence(terms: Terms) -> str:
    """Who must agree, as a sentence."""
    parts = [f"{_count(need.approvals_needed)} of {need.group}" for need in terms.requirements]
    text = " and ".join(parts)
    return text[:1].upper() + text[1:] + " must agree."


def iso(us: int) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(us / MICRO, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ended(entry: Entry, reason: str | None, cause: str | None) -> ApprovalError:
    """The refusal for an approval that is over and not usable."""
    extra: dict[str, Any] = {"approval_id": entry.row.id, "digest": entry.row.digest}
    if entry.row.state is State.EXPIRED:
        text = "Nobody decided in time, so the answer is no. Send the request again to ask anew."
        return ApprovalError(text, code="approval-expired", extra=extra)
    if entry.row.state is State.CANCELLED and cause != "requester":
        return ask_again(f"cancelled: {cause}")
    if entry.terms.expose_reason and reason:
        extra["reason"] = reason
    text = "The request was withdrawn." if cause == "requester" else "A reviewer denied this request; nothing was sent."
    return ApprovalError(text, code="approval-denied", extra=extra)


def _count(number: int) -> str:
    words = {1: "one person", 2: "two people", 3: "three people", 4: "four people"}
    return words.get(number, f"{number} people")
