"""Who may vote, and when it is enough. Pure: people, groups and frozen terms in, a verdict out.

People are counted, not groups: a person votes once and fills one slot, and all votes that came by one integration or
one file owner (`via`) fill at most one slot together, so one stolen channel secret is never two people. Which vote
fills which slot is a bipartite matching: a greedy choice can get stuck when people are in two groups.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from addons.core.approval.decide import ASSURANCE, Voter
from addons.core.approval.terms import MICRO, Terms
from addons.core.config.model import Identity
from addons.core.errors import DecisionError
from addons.core.exchange import Principal


@dataclass(frozen=True, slots=True)
class Counted:
    """An approving vote that was eligible when it was cast, as the signed event keeps it."""

    person: str
    via: str | None
    assurance: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """How far the votes go."""

    have: int  # slots that can be filled at once
    need: int
    per_requirement: tuple[int, ...]  # filled slots of each requirement, in their order
    oidc_missing: bool  # every slot is filled, but of two or more votes none came by a login

    @property
    def is_enough(self) -> bool:
        return self.have >= self.need > 0 and not self.oidc_missing


class People:
    """Which names are one person (`identity.aliases`)."""

    def __init__(self, aliases: Iterable[Sequence[str]]) -> None:
        self._names: dict[str, frozenset[str]] = {}
        for group in aliases:
            joined = frozenset(group).union(*(self._names.get(name, frozenset()) for name in group))
            self._names.update(dict.fromkeys(joined, joined))

    def all_names(self, person: str) -> frozenset[str]:
        """Every name of this person."""
        return self._names.get(person, frozenset({person}))

    def one_name(self, person: str) -> str:
        """The name a person is counted under."""
        return min(self.all_names(person))


def four_eyes(principal: Principal, identity: Identity) -> tuple[str, ...]:
    """Everybody who has a hand in this request, under all their names: none of them may approve it."""
    names = {principal.person, *principal.related}
    if principal.client_id is not None:
        names.add(f"{principal.issuer_alias}:{principal.client_id}")
    if principal.owner is not None:
        names.add(principal.owner)
    for actor in principal.actors:
        names.update(names_of(actor.issuer, actor.subject, identity))
    people = People(identity.aliases)
    names = {every for name in names for every in people.all_names(name)}
    owners = {identity.agents[name] for name in names if name in identity.agents}
    names |= {every for owner in owners for every in people.all_names(owner)}
    return tuple(sorted(names))


def names_of(issuer: str, subject: str, identity: Identity) -> set[str]:
    """The person names of (issuer, subject): one per configured alias of that issuer, else a name nobody can have."""
    aliases = {known.name for known in identity.issuers if issuer in (known.issuer, known.name)}
    return {f"{alias}:{subject}" for alias in aliases} or {f"({issuer}):{subject}"}


def is_excluded(person: str, excluded: Iterable[str], people: People) -> bool:
    """True when any name of this person, as aliases stand now, is in the set of the opening or an alias of it."""
    barred = set(excluded)
    barred |= {every for name in barred for every in people.all_names(name)}
    return not people.all_names(person).isdisjoint(barred)


def check_person(voter: Voter) -> None:
    """Only a human who acts for nobody decides: an agent's token is refused whatever its groups are."""
    if voter.kind != "human" or voter.actors:
        raise DecisionError("Only people decide, each with a token of their own.", code="not-a-person")


def check_reviewer(voter: Voter, terms: Terms) -> None:
    """The voter stands in a group that this approval asks."""
    if not set(voter.groups) & set(terms.slots):
        raise DecisionError("You are in none of the groups that decide this.", code="not-a-reviewer")


def check_assurance(voter: Voter, assurance: str, terms: Terms, now: float) -> None:
    """The channel is sure enough of who speaks, and the login is strong and fresh enough (RFC 9470 step-up)."""
    if assurance not in ASSURANCE or ASSURANCE.index(assurance) < ASSURANCE.index(terms.assurance):
        raise DecisionError(f"This approval needs a decision by a channel of assurance {terms.assurance} or better.", code="assurance")
    if terms.require_acr and set(terms.require_acr) != {voter.acr}:
        raise _step_up(f'acr_values="{" ".join(terms.require_acr)}"', "Sign in again with the stronger method that this approval asks.")
    if terms.max_auth_age is None:
        return
    if voter.auth_time is None or (now - voter.auth_time) * MICRO > terms.max_auth_age:
        raise _step_up(f'max_age="{terms.max_auth_age // MICRO}"', "Your sign-in is too old for this approval. Sign in again.")


def _step_up(parameter: str, message: str) -> DecisionError:
    challenge = f'Bearer error="insufficient_user_authentication", {parameter}'
    return DecisionError(message, code="assurance", status=401, headers={"WWW-Authenticate": challenge})


def tally(terms: Terms, votes: Sequence[Counted], people: People) -> Tally:
    """Fill as many slots as the approving votes can, each person once, each `via` once."""
    slots = terms.slots
    heads = _heads(votes, people)
    filled = matching(slots, [groups for groups, _ in heads])
    per_requirement, at = [], 0
    for need in terms.requirements:
        per_requirement.append(sum(1 for slot in range(at, at + need.approvals_needed) if slot in filled))
        at += need.approvals_needed
    by_login = any(is_oidc and groups & set(slots) for groups, is_oidc in heads)
    complete = len(filled) == len(slots)
    return Tally(len(filled), len(slots), tuple(per_requirement), complete and len(slots) >= 2 and not by_login)


def _heads(votes: Sequence[Counted], people: People) -> list[tuple[frozenset[str], bool]]:
    """What can fill one slot: a person who voted by a token, or everything that came by one `via`.

    Only one vote of a `via` counts, and whichever fits may be the one, so its groups are those of all its votes. Two
    names that became one person since keep only the first vote.
    """
    seen: set[str] = set()
    alone: list[tuple[frozenset[str], bool]] = []
    shared: dict[str, frozenset[str]] = {}
    for vote in votes:
        person = people.one_name(vote.person)
        if person in seen:
            continue
        seen.add(person)
        groups = frozenset(vote.groups)
        if vote.via is None:
            alone.append((groups, vote.assurance == "oidc"))
        else:
            shared[vote.via] = shared.get(vote.via, frozenset()) | groups
    return [*alone, *((groups, False) for groups in shared.values())]


def matching(slots: Sequence[str], heads: Sequence[frozenset[str]]) -> Mapping[int, int]:
    """A largest assignment slot -> head (Kuhn's augmenting paths; a handful of slots and votes)."""
    taken_by: dict[int, int] = {}  # head -> slot

    def place(slot: int, tried: set[int]) -> bool:
        for head, groups in enumerate(heads):
            if slots[slot] not in groups or head in tried:
                continue
            tried.add(head)
            if head not in taken_by or place(taken_by[head], tried):
                taken_by[head] = slot
                return True
        return False

    for slot in range(len(slots)):
        place(slot, set())
    return {slot: head for head, slot in taken_by.items()}
