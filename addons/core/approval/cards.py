"""Make the cards: from a row, its masked view, its votes and uses, for one viewer.

Who may see an approval: its requester, and whoever stands in a group that decides it. Everybody else is told that there
is no such thing. A reviewer does not see other people's reasons before their own vote, so that votes are independent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from addons.core.approval import digest as digests
from addons.core.approval import policy
from addons.core.approval.book import Book, terms_of, view_of
from addons.core.approval.card import Card
from addons.core.approval.decide import APPROVE, DENY, Voter
from addons.core.approval.derive import Mismatch
from addons.core.approval.hold import iso, retry_after
from addons.core.approval.policy import Counted, People, Tally
from addons.core.approval.rows import Approval, UseRow, VoteRow
from addons.core.approval.states import FINAL, State
from addons.core.approval.terms import Terms
from addons.core.approval.votes import asks_for, is_requester, unknown
from addons.core.web.escape import visible
from addons.core.wire import strict_json
from addons.core.wire.strict_json import StrictJsonError

PAGE = 200
LOOKED_AT = 1000  # newest rows that a list looks through; older ones are found by id, or by `guardhouse search`
MAX_DEPTH = 64


class Cards:
    """Cards, lists and the caller's status."""

    def __init__(self, book: Book, people: Callable[[], People]) -> None:
        self.book = book
        self.people = people

    def may_see(self, viewer: Voter, row: Approval) -> bool:
        """The requester, or a member of a deciding group who is a person."""
        if is_requester(viewer, row):
            return True
        try:
            groups = set(terms_of(row).slots)
        except Mismatch:
            return False
        return viewer.kind == "human" and not viewer.actors and bool(groups & set(viewer.groups))

    async def card(self, approval_id: str, viewer: Voter) -> Card:
        """One card. DecisionError not-found when there is none for this viewer."""
        row = await self.book.row(approval_id)
        if row is None or not self.may_see(viewer, row):
            raise unknown()
        return await self._card(row, viewer)

    async def cards(self, viewer: Voter, state: str | None, service: str | None, mine: bool, limit: int, before: str | None) -> list[Card]:
        """The newest cards this viewer may see."""
        where: dict[str, Any] = {}
        if state:
            where["state"] = state
        if service:
            where["service"] = service
        rows = await self.book.rows(where, "id DESC", LOOKED_AT)
        seen = [
            row
            for row in rows
            if (before is None or row.id < before) and (is_requester(viewer, row) if mine else self.may_see(viewer, row))
        ]
        return [await self._card(row, viewer) for row in seen[: max(1, min(limit, PAGE))]]

    async def status(self, approval_id: str, principal_key: str) -> dict[str, Any]:
        """State and progress, for the requester alone."""
        row = await self.book.row(approval_id)
        if row is None or not asks_for(principal_key, row.principal_key):
            raise unknown()
        tally = await self._tally(row)
        return {
            "id": row.id,
            "state": str(row.state),
            "have": tally.have,
            "need": tally.need,
            "retry_after": retry_after(row, self.book.now_us()),
        }

    async def last_words(self, approval_id: str) -> tuple[str | None, str | None]:
        """The reason of the denial and the cause of the cancellation, where there is one."""
        try:
            told = await self.book.derived(approval_id)
        except Mismatch:
            return None, None
        denials = [vote.reason for vote in told.votes if vote.effect == DENY]
        return (denials[0] if denials else None), told.cause

    async def _tally(self, row: Approval) -> Tally:
        votes, _ = await self.book.votes_and_uses(row.id)
        return policy.tally(terms_of(row), _approving(votes), self.people())

    async def _card(self, row: Approval, viewer: Voter) -> Card:
        votes, uses = await self.book.votes_and_uses(row.id)
        terms, view = terms_of(row), view_of(row)
        people = self.people()
        tally = policy.tally(terms, _approving(votes), people)
        shows_reasons = row.state in FINAL or row.state is State.APPROVED or _has_voted(viewer, votes, people)
        entry = self.book.open.get(row.id)
        hidden = cannot_approve(terms, view)
        return Card(
            id=row.id,
            state=str(row.state),
            version=row.version,
            digest=row.digest,
            short_digest=digests.short(row.digest),
            service=row.service,
            operation=shown(view["operation"]),
            request=shown(view["request"]),
            body=_body(view["body"]),
            principal=shown(view["principal"]),
            actors=tuple(shown(actor) for actor in view["actors"]),
            purpose=shown(view["purpose"]),
            rules=row.rules,
            reasons=tuple(shown(view["reasons"])),
            requirements=_requirements(terms, tally),
            have=tally.have,
            need=tally.need,
            waiting_for=waiting_for(row, terms, tally),
            votes=tuple(_vote(vote, shows_reasons) for vote in votes),
            grant={"kind": "one_time", "max_uses": row.max_uses} if row.decided_at and row.execution_expires_at else None,
            uses=tuple(_use(use) for use in uses),
            outcome=came_of_it(row, uses),
            created_at=iso(row.created_at),
            expires_at=iso(row.expires_at),
            decided_at=_iso(row.decided_at),
            execution_expires_at=_iso(row.execution_expires_at),
            caller_connected=entry is not None and any(waiter.alive() for waiter in entry.waiters),
            masked=view["masked"],
            session_id=row.session_id,
            cannot_approve=hidden,
            can_decide=row.state is State.PENDING and not self._refused(row, terms, viewer, votes, people),
        )

    def _refused(self, row: Approval, terms: Terms, viewer: Voter, votes: Sequence[VoteRow], people: People) -> bool:
        return (
            viewer.kind != "human"
            or bool(viewer.actors)
            or policy.is_excluded(viewer.person, row.excluded, people)
            or not set(viewer.groups) & set(terms.slots)
            or _has_voted(viewer, votes, people)
        )


def cannot_approve(terms: Terms, view: Mapping[str, Any]) -> str:
    """Why nobody can approve this; empty when somebody can."""
    if terms.body_must_be_visible and not view["body"].get("complete", False):
        return "The body could not be masked and shown in full, so this cannot be approved."
    return ""


def waiting_for(row: Approval, terms: Terms, tally: Tally) -> str:
    """What is still missing, as a sentence."""
    if row.state is not State.PENDING:
        return ""
    if tally.oidc_missing:
        return "One of the votes must come by a login of the person's own (assurance oidc); messages and files alone are not enough."
    missing = [
        f"{need.approvals_needed - have} more of {need.group}"
        for need, have in zip(terms.requirements, tally.per_requirement, strict=True)
        if have < need.approvals_needed
    ]
    return f"Waiting for {' and '.join(missing)}." if missing else "Waiting for people."


def came_of_it(row: Approval, uses: Sequence[UseRow]) -> str:
    """What became of the approval, as a sentence; empty while it is open and unused."""
    if uses:
        last = uses[-1]
        if last.outcome == "sent":
            return f"Ran {iso(last.at)}, {last.status}."
        known = {"not_sent": "was not sent after all", "unknown": "may or may not have been sent: nobody could say"}
        return f"Used {iso(last.at)}; it {known.get(last.outcome, 'is on its way')}."
    if row.state is State.EXPIRED and row.execution_expires_at is not None:
        return "Never used, expired."
    return {
        State.EXPIRED: "Nobody decided in time.",
        State.DENIED: "Denied; nothing was sent.",
        State.CANCELLED: "Withdrawn; nothing was sent.",
    }.get(row.state, "")


def shown(value: Any, keep: str = "") -> Any:
    """Plain data with every invisible or confusable character written out."""
    if isinstance(value, str):
        return visible(value, keep)
    if isinstance(value, Mapping):
        return {name: shown(item, keep) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item, keep) for item in value]
    return value


def _body(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "text": shown(_pretty(str(body.get("text", ""))), "\n"), "note": shown(body.get("note", ""))}


def _pretty(text: str) -> str:
    """Indented where it is JSON, as it came otherwise. Only white space is added: parsing and writing again would drop
    the first of two equal keys and round numbers, and people would decide about something else."""
    try:
        strict_json.loads(text.encode("utf-8", "surrogatepass"), max_depth=MAX_DEPTH)
    except StrictJsonError:
        return text
    return "".join(_indented(text))


def _indented(text: str) -> Iterator[str]:
    depth, in_string, escaped = 0, False, False
    for char in text:
        if in_string:
            yield char
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char in "{[":
            depth += 1
            yield char + "\n" + "  " * depth
        elif char in "}]":
            depth -= 1
            yield "\n" + "  " * depth + char
        elif char == ",":
            yield ",\n" + "  " * depth
        elif char not in " \t\r\n":
            in_string = char == '"'
            yield ": " if char == ":" else char


def _requirements(terms: Terms, tally: Tally) -> tuple[dict[str, Any], ...]:
    pairs = zip(terms.requirements, tally.per_requirement, strict=True)
    return tuple({"group": need.group, "need": need.approvals_needed, "have": have} for need, have in pairs)


def _approving(votes: Sequence[VoteRow]) -> list[Counted]:
    return [Counted(vote.person, vote.via, vote.assurance, vote.groups) for vote in sorted(votes, key=_at) if vote.effect == APPROVE]


def _at(vote: VoteRow) -> int:
    return vote.at


def _has_voted(viewer: Voter, votes: Sequence[VoteRow], people: People) -> bool:
    names = people.all_names(viewer.person)
    return any(vote.person in names for vote in votes)


def _vote(vote: VoteRow, with_reason: bool) -> dict[str, Any]:
    reason = visible(vote.reason) if with_reason else None
    return {"by": visible(vote.person), "effect": vote.effect, "channel": vote.channel, "at": iso(vote.at), "reason": reason}


def _use(use: UseRow) -> dict[str, Any]:
    return {"n": use.n, "at": iso(use.at), "outcome": use.outcome, "status": use.status}


def _iso(us: int | None) -> str | None:
    return None if us is None else iso(us)
