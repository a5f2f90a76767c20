"""What the configuration says about issuers and the people behind their tokens.

The unverified `iss` of a token only selects a configured issuer, byte for byte; it decides nothing. Kind is never
guessed: it comes from the issuer's `kind` list, and what no line matches is a `service`, which may not vote.
"""

import fnmatch
from collections.abc import Mapping
from typing import Any

from addons.core.config.model import Identity, Issuer, KindRule
from addons.core.exchange import Actor, Principal
from addons.core.identity import challenge, claims

KINDS = frozenset({"human", "service", "agent", "ci", "workload"})
UNMATCHED = "service"


def select(identity: Identity, told: Any) -> Issuer:
    """Row 13: the configured issuer that is exactly this string; no normalising, no trailing slash forgiven."""
    for issuer in identity.issuers:
        if isinstance(told, str) and issuer.issuer == told:
            return issuer
    raise challenge.invalid("issuer")


def by_name(identity: Identity, alias: str) -> Issuer | None:
    """The issuer of this alias."""
    return next((issuer for issuer in identity.issuers if issuer.name == alias), None)


def alias_of(identity: Identity, issuer: str) -> str | None:
    """The alias under which files name people of this issuer; None for an issuer that is not configured."""
    return next((known.name for known in identity.issuers if known.issuer == issuer), None)


def kind_of(issuer: Issuer, told: Mapping[str, Any], client: str | None) -> str:
    """The first line of the issuer's list of which every condition holds."""
    for rule in issuer.kinds:
        if _holds(rule, told, client):
            return rule.kind if rule.kind in KINDS else UNMATCHED
    return UNMATCHED


def owner_of(identity: Identity, issuer: Issuer, subject: str, actors: tuple[Actor, ...]) -> str | None:
    """The person who answers for the agent that acts now (or for the subject, when nobody acts for it)."""
    current = actors[0] if actors else Actor(issuer.issuer, subject)
    alias = alias_of(identity, current.issuer)
    return None if alias is None else identity.agents.get(f"{alias}:{current.subject}")


def people_of(principal: Principal, identity: Identity) -> frozenset[str]:
    """Everybody behind a principal as `alias:subject`: itself, its whole act chain, its owner, related people, and all their aliases.

    Four-eyes asks this: whoever is in here has asked, so may not decide.
    """
    people = {principal.person, *principal.related}
    if principal.owner is not None:
        people.add(principal.owner)
    for actor in principal.actors:
        people.add(f"{alias_of(identity, actor.issuer) or actor.issuer}:{actor.subject}")
    for person in tuple(people):
        for group in identity.aliases:
            if person in group:
                people.update(group)
    return frozenset(people)


def _holds(rule: KindRule, told: Mapping[str, Any], client: str | None) -> bool:
    if rule.clients and (client is None or not any(fnmatch.fnmatchcase(client, wanted) for wanted in rule.clients)):
        return False
    if rule.claim is None:
        return True
    is_there, value = claims.find(told, rule.claim)
    if not is_there or value is None:
        return False
    return rule.value is None or value == rule.value
