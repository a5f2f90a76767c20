"""A small true ledger for approvals (in memory), and requests, people and terms to try them with."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from addons.core.approval import policy, terms
from addons.core.approval.decide import Vote, Voter
from addons.core.approval.desk import Asked, Desk
from addons.core.approval.digest import RequestFacts, content_digest
from addons.core.approval.hold import View
from addons.core.approval.ledger import Note
from addons.core.config import model
from addons.core.errors import AuditError
from addons.core.exchange import Actor, Decision, Effect, Exchange, Operation, Principal
from addons.core.moves import Insert, Move, Update
from tests import harness

KEYS = {"approval": ("id",), "approval_vote": ("approval", "person"), "approval_use": ("approval", "n")}
NULLABLE = {"approval": ("session_id", "trace_id", "escalated_at", "decided_at", "execution_expires_at", "grant", "review_due_at")}


@dataclass
class MemoryLedger:
    """What the audit log does for approvals: guarded moves and notes in one step, rows, one-time ids."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"approval": [], "approval_vote": [], "approval_use": []})
    log: list[Note] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    broken: bool = False
    is_whole: bool = True
    commits: int = 0
    before_commit: Callable[[Note], None] | None = None  # for faults: raises, or looks
    after_commit: Callable[[Note], None] | None = None  # the same, once it is written: nobody can say whether it was

    async def commit(self, note: Note, moves: Sequence[Move]) -> bool:
        self._check()
        if self.before_commit is not None:
            self.before_commit(note)
        kept = {name: [dict(row) for row in rows] for name, rows in self.tables.items()}
        for move in moves:
            if not (self._insert(move) if isinstance(move, Insert) else self._update(move)):
                self.tables = kept
                return False
        self.log.append(_through_json(note))
        self.commits += 1
        if self.after_commit is not None:
            self.after_commit(note)
        return True

    async def append(self, note: Note) -> None:
        self._check()
        self.log.append(_through_json(note))

    async def rows(self, table: str, where: Mapping[str, Any], order: str = "", limit: int = 0) -> list[dict[str, Any]]:
        self._check()
        found = [dict(row) for row in self.tables[table] if all(row.get(name) == value for name, value in where.items())]
        if order:
            column, _, way = order.partition(" ")
            found.sort(key=lambda row: row[column], reverse=way == "DESC")
        return found[:limit] if limit else found

    async def notes(self, approval: str) -> list[Note]:
        self._check()
        return [note for note in self.log if note.approval == approval]

    async def whole(self) -> bool:
        return self.is_whole

    async def claim_once(self, kind: str, ident: str, until_us: int) -> bool:
        self._check()
        if (kind, ident) in self.seen:
            return False
        self.seen.add((kind, ident))
        return True

    def events(self, approval: str | None = None) -> list[str]:
        """The story so far, for assertions."""
        return [note.event for note in self.log if approval in (None, note.approval)]

    def _check(self) -> None:
        if self.broken:
            raise AuditError(detail="the disk is gone")

    def _insert(self, move: Insert) -> bool:
        rows, key = self.tables[move.table], KEYS[move.table]
        if any(all(row[name] == move.row[name] for name in key) for row in rows):
            return False
        rows.append(dict(move.row))
        return True

    def _update(self, move: Update) -> bool:
        hits = [row for row in self.tables[move.table] if _fits(row, move)]
        if len(hits) != 1:
            return False
        hits[0].update(move.set)
        return True


def _fits(row: Mapping[str, Any], move: Update) -> bool:
    return (
        all(row.get(name) == value for name, value in move.where.items())
        and all(row.get(name) is not None and row[name] > value for name, value in move.after.items())
        and all(row.get(name) is not None and row[name] <= value for name, value in move.not_after.items())
    )


def _through_json(note: Note) -> Note:
    """A note as it comes back from a store: plain JSON, nothing shared with the writer."""
    return replace(note, core=json.loads(json.dumps(note.core)), data=json.loads(json.dumps(note.data)))


class Keys:
    """Keys that a test can change."""

    def __init__(self, root: bytes = bytes(range(32))) -> None:
        self.root = root

    def derive(self, label: str) -> bytes:
        return self.root


ALICE = Principal(
    "http://127.0.0.1:8445", "dev", "alice", "agent", "planner-agent", actors=(Actor("http://127.0.0.1:8445", "planner"),), expires_at=2e9
)
SRE = ("dev:sre",)


def person(name: str, *groups: str, alias: str = "dev", **more: Any) -> Voter:
    """A human who may vote, by the name `alias:name`."""
    return Voter(f"{alias}:{name}", "human", groups or SRE, key=f"http://127.0.0.1:8445\n{name}", **more)


def snapshot(*rules: model.Rule, approvals: Mapping[str, model.ApprovalTerms] | None = None, **gateway: Any) -> model.Snapshot:
    """The harness's configuration with one hold rule and the terms given."""
    base = harness.snapshot(**gateway)
    held = rules or (model.Rule("deletes", "hold", services=("crm",), access=("delete",), approval="one-sre", where="rules.yaml:3"),)
    known = approvals or {"one-sre": model.ApprovalTerms("one-sre", (model.Requirement("dev:sre", 1),), assurance="file")}
    return replace(base, rules=model.Rules("deny", tuple(held)), approvals=replace(base.approvals, terms=known))


def one_of(group: str = "dev:sre", count: int = 1, **more: Any) -> dict[str, model.ApprovalTerms]:
    """Terms named one-sre that ask for so many of a group."""
    return {"one-sre": model.ApprovalTerms("one-sre", (model.Requirement(group, count),), **{"assurance": "file", **more})}


@dataclass
class Room:
    """A desk with everything around it."""

    config: model.Snapshot = field(default_factory=snapshot)
    ledger: Any = field(default_factory=MemoryLedger)
    clock: harness.FakeClock = field(default_factory=harness.FakeClock)
    keys: Keys = field(default_factory=Keys)
    views: int = 0
    gone: set[str] = field(default_factory=set)  # flows that are not alive any more
    complete: bool = True

    def __post_init__(self) -> None:
        self.desk = self.new_desk()

    def new_desk(self) -> Desk:
        """A desk as a new process would make it: same store, empty memory."""
        return Desk(self.ledger, self.clock, self.keys, lambda: self.config, _as_it_is, lambda reference: reference.rest.encode())

    def facts(self, **changes: Any) -> RequestFacts:
        rules = ("deletes",)
        base = RequestFacts(
            service="crm", method="DELETE", scheme="http", authority="127.0.0.1:8446", path="/customers/7", query="",
            content_digest=content_digest(b""), headers=(("accept", "application/json"),), issuer=ALICE.issuer, subject=ALICE.subject,
            client_id=ALICE.client_id, actors=ALICE.actors, purpose="demo/tour", purpose_detail=None, rules=rules,
            policy=terms.policy_digest(self.config, rules, ("one-sre",)), target=terms.target_digest(self.config, "crm", ("pii",)),
        )  # fmt: skip
        return replace(base, **changes)

    def asked(
        self,
        flow: str = "flow-1",
        principal: Principal = ALICE,
        *,
        wait: float | None = None,
        at_once: bool = False,
        size: int = 0,
        **facts: Any,
    ) -> Asked:
        who = {"issuer": principal.issuer, "subject": principal.subject, "client_id": principal.client_id, "actors": principal.actors}
        return Asked(
            flow_id=flow, client_id=f"client-{flow}", facts=self.facts(**{**who, **facts}), principal=principal,
            excluded=policy.four_eyes(principal, self.config.gateway.identity), terms=terms.merged(self.config, ("one-sre",)), masks=("pii",),
            body_size=size, session_id="s-1", trace_id="0" * 31 + "1", view=self._view, wait=wait, at_once=at_once,
        )  # fmt: skip

    async def _view(self) -> View:
        self.views += 1
        return View(
            operation={"protocol": "http", "verb": "DELETE", "text": "DELETE /customers/7", "access": ["delete"]},
            request={"method": "DELETE", "scheme": "http", "authority": "127.0.0.1:8446", "path": "/customers/7", "query": ""},
            body={"text": "", "size": 0, "complete": self.complete, "note": ""},
            purpose_source="header",
            reasons=("Deleting a customer cannot be undone.",),
        )

    def alive(self, flow: str = "flow-1") -> Callable[[], bool]:
        return lambda: flow not in self.gone

    def vote(
        self,
        approval_id: str,
        who: Voter,
        effect: str = "approve",
        *,
        digest: str | None = None,
        reason: str = "agreed in the change board",
        channel: str = "rest",
        via: str | None = None,
        assurance: str = "oidc",
    ) -> Vote:
        if digest is None:
            digest = next((row["digest"] for row in self.ledger.tables["approval"] if row["id"] == approval_id), "")
        return Vote(approval_id, digest, effect, reason, who, channel, via, assurance)

    def record(self, flow: str = "flow-1", principal: Principal = ALICE) -> Exchange:
        """The record of the flow as departure has it."""
        operation = Operation("http", "DELETE", "DELETE /customers/7", frozenset(), (), {})
        return Exchange(id=flow, service="crm", operation=operation, principal=principal, decision=Decision(Effect.HOLD, ("deletes",)))

    @property
    def only(self) -> dict[str, Any]:
        """The one row of the store."""
        (row,) = self.ledger.tables["approval"]
        return row


async def _as_it_is(text: str, service: str) -> str:
    return text


def fine() -> None:
    """A last check that finds nothing wrong."""
