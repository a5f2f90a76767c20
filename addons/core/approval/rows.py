"""The rows of an approval as typed values: read from the store's dictionaries, written as its moves.

A row is a convenience for look-ups and pages. What it says counts only as far as the signed notes say the same
(`derive`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from addons.core.approval.states import State
from addons.core.moves import Insert

TABLE = "approval"
VOTES = "approval_vote"
USES = "approval_use"
UNANSWERED = "pending"
"""Outcome of a use of which nobody has said yet what came of it."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One row of `approval`. Times in microseconds."""

    id: str
    state: State
    version: int
    digest: str
    digest_key_id: str
    members: str  # JSON: member HMACs
    view: str  # JSON: the masked card
    principal_key: str
    service: str
    rules: tuple[str, ...]
    policy_digest: str
    target: str
    requirements: str  # frozen terms
    excluded: tuple[str, ...]
    ticketed: bool
    session_id: str | None
    trace_id: str | None
    created_at: int
    expires_at: int
    decided_at: int | None
    execution_expires_at: int | None
    uses: int
    max_uses: int

    @property
    def deadline(self) -> int | None:
        """When time ends this state; None for a final one."""
        if self.state is State.PENDING:
            return self.expires_at
        return self.execution_expires_at if self.state is State.APPROVED else None

    @property
    def deadline_column(self) -> str:
        """The column that holds `deadline`."""
        return "expires_at" if self.state is State.PENDING else "execution_expires_at"


@dataclass(frozen=True, slots=True)
class VoteRow:
    """One row of `approval_vote`."""

    person: str
    effect: str
    reason: str
    channel: str
    via: str | None
    assurance: str
    groups: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class UseRow:
    """One row of `approval_use`."""

    n: int
    flow: str
    at: int
    outcome: str
    status: int


def approval_of(row: Mapping[str, Any]) -> Approval:
    """Read a row. Raises ValueError, TypeError or KeyError when it does not hold what such a row holds."""
    return Approval(
        id=row["id"],
        state=State(row["state"]),
        version=row["version"],
        digest=row["digest"],
        digest_key_id=row["digest_key_id"],
        members=row["members"],
        view=row["view"],
        principal_key=row["principal_key"],
        service=row["service"],
        rules=_list(row["rules"]),
        policy_digest=row["policy_digest"],
        target=row["target"],
        requirements=row["requirements"],
        excluded=_list(row["excluded"]),
        ticketed=_flag(row["ticketed"]),
        session_id=row.get("session_id"),
        trace_id=row.get("trace_id"),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        decided_at=row.get("decided_at"),
        execution_expires_at=row.get("execution_expires_at"),
        uses=row["uses"],
        max_uses=row["max_uses"],
    )


def insert_of(row: Approval) -> Insert:
    """The move that opens this row."""
    return Insert(
        TABLE,
        {
            "id": row.id,
            "state": str(row.state),
            "version": row.version,
            "digest": row.digest,
            "digest_key_id": row.digest_key_id,
            "members": row.members,
            "view": row.view,
            "principal_key": row.principal_key,
            "service": row.service,
            "rules": _text(row.rules),
            "policy_digest": row.policy_digest,
            "target": row.target,
            "requirements": row.requirements,
            "excluded": _text(row.excluded),
            "ticketed": int(row.ticketed),
            "session_id": row.session_id,
            "trace_id": row.trace_id,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "decided_at": None,
            "execution_expires_at": None,
            "uses": 0,
            "max_uses": row.max_uses,
            "review_state": "none",
        },
    )


def vote_of(row: Mapping[str, Any]) -> VoteRow:
    """Read a vote's row."""
    return VoteRow(
        person=row["person"],
        effect=row["effect"],
        reason=row["reason"],
        channel=row["channel"],
        via=row.get("via"),
        assurance=row["assurance"],
        groups=_list(row["groups"]),
        at=row["at"],
    )


def insert_vote(approval: str, vote: VoteRow) -> Insert:
    """The move that adds a vote; unique on approval and person, so nobody votes twice."""
    return Insert(
        VOTES,
        {
            "approval": approval,
            "person": vote.person,
            "effect": vote.effect,
            "reason": vote.reason,
            "channel": vote.channel,
            "via": vote.via,
            "assurance": vote.assurance,
            "groups": _text(vote.groups),
            "at": vote.at,
        },
    )


def use_of(row: Mapping[str, Any]) -> UseRow:
    """Read a use's row."""
    return UseRow(n=row["n"], flow=row["flow_id"], at=row["at"], outcome=row["outcome"], status=row.get("status") or 0)


def insert_use(approval: str, use: UseRow) -> Insert:
    """The move that adds a use; unique on approval and number, so no use is made twice."""
    return Insert(USES, {"approval": approval, "n": use.n, "flow_id": use.flow, "at": use.at, "outcome": use.outcome, "status": use.status})


def _text(values: tuple[str, ...]) -> str:
    return json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))


def _list(text: str) -> tuple[str, ...]:
    """Read a list back. ValueError unless it is spelled as `_text` spells it: a row has one spelling."""
    values = tuple(json.loads(text))
    if _text(values) != text:
        raise ValueError("not the spelling of a list")
    return values


def _flag(value: int) -> bool:
    if value not in (0, 1):
        raise ValueError("not a flag")
    return value == 1
