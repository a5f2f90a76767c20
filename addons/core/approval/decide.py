"""One entry for every channel: a vote comes in, and either it counts or it says why not.

Nothing here knows HTTP, files or cookies. A channel proves who is speaking and hands over a `Vote`; `count` checks it
against the approval, its policy and the four-eyes set, and makes it durable together with what it changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from addons.core.errors import DecisionError
from addons.core.exchange import Actor, Principal

APPROVE = "approve"
DENY = "deny"
ASSURANCE = ("file", "integration", "oidc")
"""Weakest first: how surely a channel knows who speaks."""
REASON_LEAST, REASON_MOST = 10, 1000  # characters: enough to say why, short enough to be read


@dataclass(frozen=True, slots=True)
class Voter:
    """Whoever speaks, as their channel proved it. `groups` come from the token, or from `people:` where there is none."""

    person: str  # "alias:subject"
    kind: str
    groups: tuple[str, ...] = ()
    actors: tuple[Actor, ...] = ()
    auth_time: float | None = None
    acr: str | None = None
    key: str = ""  # Principal.asker_key; empty for channels without a token


@dataclass(frozen=True, slots=True)
class Vote:
    """What somebody says about one approval."""

    approval_id: str
    digest: str  # the whole digest, sent back
    effect: str  # approve | deny
    reason: str
    voter: Voter
    channel: str  # page | rest | webhook | file
    via: str | None = None  # integration or file owner whose votes fill one slot together; None for a token of one's own
    assurance: str = "oidc"


def voter_of(principal: Principal) -> Voter:
    """The speaker of a channel that carries the person's own verified token."""
    return Voter(
        person=principal.person,
        kind=principal.kind,
        groups=principal.groups,
        actors=principal.actors,
        auth_time=principal.auth_time,
        acr=principal.acr,
        key=principal.asker_key,
    )


def spoken_for(person: str, people: Mapping[str, tuple[str, ...]]) -> Voter:
    """The speaker of a channel without a token: groups come from `people:` of approvals.yaml, and only from there."""
    return Voter(person=person, kind="human", groups=people.get(person, ()))


def check_reason(reason: str, required: bool) -> str:
    """The reason as it is kept. Raises DecisionError 422 for none, too short or too long a one. What nobody sees (zero-width,
    control and direction characters) makes no reason longer."""
    text = reason.strip()
    seen = sum(char.isprintable() for char in text)
    if len(text) > REASON_MOST or (required and seen < REASON_LEAST):
        raise DecisionError(f"Give a reason of {REASON_LEAST} to {REASON_MOST} characters.", code="invalid")
    return text


def check_effect(effect: str) -> None:
    """Only these two words decide."""
    if effect not in (APPROVE, DENY):
        raise DecisionError("A decision is either approve or deny.", code="invalid")
