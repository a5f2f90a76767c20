"""The desk where requests wait and people decide: the one object that shells, control plane and departure speak to.

`hold` finds or opens the approval of these exact bytes and waits; `decide` counts a vote; `use` commits one use as the
last act before a request goes upstream; `tick` lets time end things. Everything durable goes through the `Book`,
everything that ends a wait through the entry's waiters.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from addons.core.approval import digest as digests
from addons.core.approval import policy, terms
from addons.core.approval.book import Book
from addons.core.approval.card import Card
from addons.core.approval.cards import Cards
from addons.core.approval.decide import DENY, Vote, Voter
from addons.core.approval.hold import Asked, Entry, Waiter, Woken, ask_again, ended, pending, stopping
from addons.core.approval.ledger import Ledger, Note
from addons.core.approval.opening import Openings
from addons.core.approval.policy import People
from addons.core.approval.rows import UNANSWERED, USES, UseRow, insert_use
from addons.core.approval.states import Move, State
from addons.core.approval.terms import MICRO
from addons.core.approval.votes import Ballot, MaskText, core_of, is_requester, state_error, unknown
from addons.core.approval.webhooks import Inbox
from addons.core.clock import Clock
from addons.core.config.model import Reference, Snapshot
from addons.core.errors import ApprovalError, DecisionError, GuardhouseError
from addons.core.exchange import Exchange, HoldState
from addons.core.moves import Update

__all__ = ["Asked", "Card", "Desk", "Vote", "Voter"]


class Keys(Protocol):
    """Where the digest key comes from."""

    def derive(self, label: str) -> bytes:
        """32 bytes for this label."""


class Desk:
    """Holds, votes and uses. One per process; the store has one writer."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        keys: Keys,
        snapshot: Callable[[], Snapshot],
        mask_text: MaskText,
        reveal: Callable[[Reference], bytes],
    ) -> None:
        self.key = keys.derive("approval-digest")
        self.clock = clock
        self.snapshot = snapshot
        self.book = Book(ledger, clock, keys.derive("approval-mac"))
        self.ballot = Ballot(self.book, mask_text)
        self.openings = Openings(self.book, self.key)
        self.view = Cards(self.book, self.people)
        self.inbox = Inbox(ledger, clock, snapshot, reveal, self.decide)
        self.waiting = 0
        self._clients: Counter[str] = Counter()  # holds in progress, by connection
        self._gone: set[str] = set()  # connections among them that closed
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def people(self) -> People:
        """Who is one person, as the newest configuration has it."""
        return People(self.snapshot().gateway.identity.aliases)

    def digest_of(self, facts: digests.RequestFacts) -> str:
        """The digest of a request. What has no one spelling closes the door."""
        try:
            return digests.digest(facts, self.key)
        except ValueError as error:
            raise GuardhouseError(detail="the request has no canonical form") from error

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def hold(self, asked: Asked, alive: Callable[[], bool]) -> HoldState:
        """Wait for people. Returns the approved hold; raises ApprovalError (ticket, denied, expired, too many)."""
        if asked.body_size > asked.terms.max_hold_body:
            most = asked.terms.max_hold_body
            raise ApprovalError(f"A request that people decide on may have a body of at most {most} bytes.", code="body-too-large-to-hold")
        self.waiting += 1
        self._idle.clear()
        self._clients[asked.client_id] += 1
        try:
            return await self._hold(asked, alive)
        finally:
            self._clients[asked.client_id] -= 1
            if not self._clients[asked.client_id]:
                del self._clients[asked.client_id]
                self._gone.discard(asked.client_id)
            self.waiting -= 1
            if not self.waiting:
                self._idle.set()

    async def _hold(self, asked: Asked, alive: Callable[[], bool]) -> HoldState:
        digest = self.digest_of(asked.facts)
        deadline = self.clock.monotonic() + asked.patience()
        told = ""
        while True:
            entry, differs = await self.openings.find_or_open(asked, digest)
            told = differs or told
            if self._claim(entry, asked, alive):
                return self._approved(entry)
            why = await self._wait(entry, asked, alive, deadline)
            await self._after(entry, why, told)

    def _claim(self, entry: Entry, asked: Asked, alive: Callable[[], bool]) -> bool:
        """Take one of the free uses, so that of many who wait only so many go on as may."""
        if entry.row.state is not State.APPROVED or entry.free_uses() < 1 or asked.client_id in self._gone or not alive():
            return False
        entry.claims[asked.flow_id] = alive
        return True

    def _approved(self, entry: Entry) -> HoldState:
        decided = None if entry.row.decided_at is None else entry.row.decided_at / MICRO
        return HoldState(entry.row.id, "approved", entry.row.digest, entry.voters, None, decided)

    async def _wait(self, entry: Entry, asked: Asked, alive: Callable[[], bool], deadline: float) -> Woken:
        if self._draining:
            return Woken.DRAIN
        if asked.client_id in self._gone or not alive():
            return Woken.GONE
        if deadline <= self.clock.monotonic():
            return Woken.TIMEOUT
        waiter = Waiter(asked.flow_id, asked.client_id, deadline, alive, asyncio.get_running_loop().create_future())
        entry.waiters.append(waiter)
        try:
            return await waiter.future
        finally:
            entry.waiters.remove(waiter)

    async def _after(self, entry: Entry, why: Woken, differs: str) -> None:
        """Return to wait on (or to go on), raise what ends the request."""
        row = entry.row
        if row.state in (State.DENIED, State.EXPIRED, State.CANCELLED):
            reason, cause = await self.view.last_words(row.id)
            raise ended(entry, reason, cause)
        if why is Woken.CHANGED or (why is Woken.TIMEOUT and row.state is State.CONSUMED):
            return
        url = self.snapshot().gateway.control.public_url
        if why is Woken.GONE:
            await self._left(entry)
            raise ApprovalError("The caller left before anybody decided; nothing was sent.", detail="client left while held")
        await self._ticket(entry)
        raise stopping(entry, self.book.now_us(), url) if why is Woken.DRAIN else pending(entry, self.book.now_us(), url, differs)

    async def _left(self, entry: Entry) -> None:
        if entry.terms.on_client_disconnect != "cancel" or entry.waiters:
            await self._ticket(entry)
            return
        async with entry.lock:
            if entry.row.state is State.PENDING:
                await self.ballot.withdraw(entry, "client_disconnected")
        entry.wake()

    async def _ticket(self, entry: Entry) -> None:
        """Note that the caller has a ticket, so that the approval survives a restart."""
        async with entry.lock:
            if entry.row.ticketed or entry.row.deadline is None:
                return
            note = Note("ticketed", entry.row.id, core_of(entry.row))
            await self.book.move(entry, Move.TICKET, note, {"ticketed": 1})

    def client_gone(self, client_id: str) -> None:
        """The connection closed: its holds end as `on_client_disconnect` says, and nothing goes upstream for them."""
        if client_id in self._clients:
            self._gone.add(client_id)  # also for a hold that is between two waits just now
        for entry in list(self.book.open.values()):
            for waiter in entry.waiters:
                if waiter.client_id == client_id:
                    waiter.wake(Woken.GONE)

    async def drain(self) -> None:
        """Answer everything that waits with 503 and the ticket fields; return when nothing waits."""
        self._draining = True
        for entry in list(self.book.open.values()):
            entry.wake(Woken.DRAIN)
        await self._idle.wait()

    async def tick(self) -> None:
        """Let time end what it ends. Called several times a second."""
        mono = self.clock.monotonic()
        for entry in list(self.book.open.values()):
            if entry.doubtful:
                await self._resolve(entry)
            if (entry.row.deadline or 0) <= self.book.now_us() or entry.mono_deadline <= mono:
                await self._expire(entry)
            for waiter in [*entry.waiters, *entry.watchers]:
                if not waiter.alive():
                    waiter.wake(Woken.GONE)
                elif waiter.deadline <= mono:
                    waiter.wake(Woken.TIMEOUT)
            if entry.row.state is State.APPROVED and entry.waiters and entry.free_uses() > 0:
                entry.wake()

    async def _resolve(self, entry: Entry) -> None:
        """A commit ended in an error: find out what was written."""
        async with entry.lock:
            await self._doubt(entry)

    async def _expire(self, entry: Entry) -> None:
        async with entry.lock:
            if entry.row.deadline is None:
                return
            if not await self.book.move(entry, Move.TICK, Note("expired", entry.row.id, core_of(entry.row)), {}):
                await self._doubt(entry)
        entry.wake()

    async def _doubt(self, entry: Entry) -> None:
        """Believe the row only if it proves itself; one that tells another story is never used again in this process."""
        alerts = self.book.alerts
        try:
            await self.book.certain(entry)
        except GuardhouseError:
            if self.book.alerts > alerts:  # else the store is in trouble, and the next turn asks again
                self.book.forget(entry)
                entry.wake()

    # -- deciding ----------------------------------------------------------------------------------------------------

    async def decide(self, vote: Vote) -> Card:
        """Count a vote. Raises DecisionError with the reason when it does not count."""
        policy.check_person(vote.voter)
        entry = self.book.open.get(vote.approval_id)
        if entry is None:
            await self._decided_already(vote)
            raise unknown()
        if vote.effect == DENY and is_requester(vote.voter, entry.row):
            return await self.cancel(vote.approval_id, vote.voter)
        async with entry.lock:
            if self.is_stale(entry, self.snapshot()):
                await self._cancel(entry, "policy_changed")
            await self.ballot.cast(entry, vote, self.people())
        entry.wake()
        return await self.view.card(entry.row.id, vote.voter)

    async def _decided_already(self, vote: Vote) -> None:
        row = await self.book.row(vote.approval_id)
        if row is None:
            return
        if self.view.may_see(vote.voter, row):
            raise state_error(row)
        raise DecisionError("You are in none of the groups that decide this.", code="not-a-reviewer")

    async def webhook(self, integration: str, headers: Mapping[str, str], body: bytes) -> None:
        """Take a signed decision of an integration. DecisionError (401 `unsigned`, one text for all; else as `decide`)."""
        await self.inbox.receive(integration, headers, body)

    async def cancel(self, approval_id: str, voter: Voter) -> Card:
        """Withdraw one's own request."""
        entry = self.book.open.get(approval_id)
        row = entry.row if entry is not None else await self.book.row(approval_id)
        if row is None or not is_requester(voter, row):
            raise unknown()
        if entry is None:
            raise state_error(row)
        async with entry.lock:
            if entry.row.deadline is None:
                raise state_error(entry.row)
            await self.book.certain(entry)
            await self.ballot.withdraw(entry, "requester")
        entry.wake()
        return await self.view.card(approval_id, voter)

    def is_stale(self, entry: Entry, snapshot: Snapshot) -> bool:
        """The rules, terms or target of this approval are not what they were when it was opened."""
        row = entry.row
        return row.policy_digest != terms.policy_digest(snapshot, row.rules, entry.terms.names) or row.target != terms.target_digest(
            snapshot, row.service, entry.masks
        )

    async def reconsider(self, snapshot: Snapshot) -> None:
        """After a reload: cancel what was asked under rules, terms or targets that have changed."""
        for entry in list(self.book.open.values()):
            if not self.is_stale(entry, snapshot):
                continue
            async with entry.lock:
                await self._cancel(entry, "policy_changed")
            entry.wake()

    async def _cancel(self, entry: Entry, cause: str) -> None:
        if entry.row.deadline is not None:
            await self.ballot.withdraw(entry, cause)

    # -- using -------------------------------------------------------------------------------------------------------

    async def use(self, hold: HoldState, request: digests.RequestFacts | str, record: Exchange, now_check: Callable[[], None]) -> None:
        """Commit one use of an approved hold, departure's last act. Raises ApprovalError unless it is exactly usable.

        `request` is what stands in the flow now, as facts or as their digest. `now_check` runs after the last wait
        before the commit: identity still good, client still there.
        """
        digest = request if isinstance(request, str) else self.digest_of(request)
        entry = self.book.open.get(hold.id)
        if entry is None:
            raise ask_again("the approval is not open any more")
        async with entry.lock:
            await self._check_same(entry, hold, digest, record)
            if entry.row.state is not State.APPROVED or (entry.row.deadline or 0) <= self.book.now_us():
                raise ask_again(f"the approval is {entry.row.state}")
            if self.is_stale(entry, self.snapshot()):
                await self._cancel(entry, "policy_changed")
                raise ask_again("rules, terms or target changed")
            row, told = await self.book.certain(entry)
            if row.state is not State.APPROVED:
                raise ask_again(f"the approval is {row.state}")
            if not policy.tally(entry.terms, told.approving, self.people()).is_enough or self._any_excluded(told.approving, row.excluded):
                raise ask_again("the votes do not suffice any more")
            now_check()
            await self._commit_use(entry, record.id)
        entry.wake()

    async def _check_same(self, entry: Entry, hold: HoldState, digest: str, record: Exchange) -> None:
        principal = record.principal
        if (
            digests.same(digest, entry.row.digest)
            and digests.same(hold.digest, entry.row.digest)
            and principal is not None
            and principal.asker_key == entry.row.principal_key
        ):
            return
        await self.changed(entry.row.id)

    async def changed(self, approval_id: str) -> NoReturn:
        """The request is not the one that was approved: an alert, and it is not sent."""
        await self.book.alert(approval_id, "request-changed", "the request is not the one that was approved")
        raise ApprovalError("The request changed after it was approved, so it was not sent.", code="request-changed")

    def _any_excluded(self, votes: Sequence[policy.Counted], excluded: Sequence[str]) -> bool:
        people = self.people()
        return any(policy.is_excluded(vote.person, excluded, people) for vote in votes)

    async def _commit_use(self, entry: Entry, flow_id: str) -> None:
        row = entry.row
        n = row.uses + 1
        use = UseRow(n, flow_id, self.book.now_us(), UNANSWERED, 0)
        move = Move.USE_LAST if n == row.max_uses else Move.USE
        note = Note("used", row.id, {**core_of(row), "flow": flow_id}, {"n": n, "flow": flow_id, "at": use.at})
        done = await self.book.move(entry, move, note, {"uses": n}, [insert_use(row.id, use)])
        entry.claims.pop(flow_id, None)
        if not done:
            raise ask_again("the use was not free any more")

    async def outcome(self, hold_id: str, flow_id: str, outcome: str, status: int) -> None:
        """Say what came of a use: sent, not_sent, unknown. Said once; later words change nothing."""
        row, told = await self.book.prove(hold_id)
        use = next((use for use in told.uses if use.flow == flow_id and use.outcome == UNANSWERED), None)
        if use is None:
            return
        entry = self.book.open.get(hold_id) or Entry(row, terms.thaw(row.requirements), "", (), 0.0, told.seal)
        async with entry.lock:
            note = Note("outcome", row.id, {**core_of(row), "flow": flow_id}, {"n": use.n, "outcome": outcome, "status": status})
            answered = Update(USES, {"outcome": outcome, "status": status}, {"approval": row.id, "n": use.n, "outcome": UNANSWERED})
            await self.book.move(entry, Move.OUTCOME, note, {}, [answered])

    # -- looking -----------------------------------------------------------------------------------------------------

    async def card(self, approval_id: str, viewer: Voter, *, wait: float = 0.0, version: int = 0) -> Card:
        """The card for a reviewer or the requester; DecisionError not-found for others. `wait` seconds for a version above `version`."""
        entry = self.book.open.get(approval_id)
        if entry is not None and wait > 0 and entry.row.version <= version and self.view.may_see(viewer, entry.row):
            await self._watch(entry, wait)
        return await self.view.card(approval_id, viewer)

    async def _watch(self, entry: Entry, seconds: float) -> None:
        waiter = Waiter("", "", self.clock.monotonic() + seconds, lambda: True, asyncio.get_running_loop().create_future())
        entry.watchers.append(waiter)
        try:
            await waiter.future
        finally:
            entry.watchers.remove(waiter)

    async def cards(
        self,
        viewer: Voter,
        *,
        state: str | None = None,
        service: str | None = None,
        mine: bool = False,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Card]:
        """Newest first; `before` is the id of the last card of the page before."""
        return await self.view.cards(viewer, state, service, mine, limit, before)

    async def status(self, approval_id: str, principal_key: str) -> Mapping[str, Any]:
        """For status_url: state, have, need, retry_after. DecisionError not-found for anybody but the requester."""
        return await self.view.status(approval_id, principal_key)

    def health(self) -> dict[str, Any]:
        """Counts for /readyz and /metrics."""
        states = [entry.row.state for entry in self.book.open.values()]
        return {
            "waiting": self.waiting,
            "pending": states.count(State.PENDING),
            "approved": states.count(State.APPROVED),
            "alerts": self.book.alerts,
        }
