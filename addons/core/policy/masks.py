"""Which mask profiles an answer owes: what the service always has, plus what the matching rules ask for, minus reveals.

A reveal lifts exactly the profile it stands in, and only for whom it names; a purpose counts only as a signed claim.
Masks only ever add up, so one more rule or profile can never reveal more.
"""

from collections.abc import Iterable

from addons.core.config.model import Reveal, Rule, Snapshot
from addons.core.policy.facts import Facts
from addons.core.policy.globs import matches_any

RECORD = "record"  # for every stored copy; knows no reveal


def asked(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return the profiles that these rules ask for, sorted."""
    return tuple(sorted({name for rule in rules for name in rule.mask}))


def owed(snapshot: Snapshot, facts: Facts, names: Iterable[str]) -> tuple[str, ...]:
    """Return the profiles that apply to the answer, sorted."""
    wanted = set(names) | set(snapshot.masking.service(facts.service).always)
    return tuple(sorted(name for name in wanted if not is_revealed(snapshot, facts, name)))


def is_revealed(snapshot: Snapshot, facts: Facts, name: str) -> bool:
    """True when masking.yaml lifts this profile for this principal and purpose. An unknown profile is never lifted."""
    profile = snapshot.masking.profiles.get(name)
    if profile is None or name == RECORD:
        return False
    return any(_meant(reveal, facts) for reveal in profile.reveal)


def _meant(reveal: Reveal, facts: Facts) -> bool:
    if not (reveal.groups or reveal.kinds or reveal.purposes):
        return False  # an entry that names nobody reveals to nobody
    if reveal.groups and not set(reveal.groups) & set(facts.principal.groups):
        return False
    if reveal.kinds and facts.principal.kind not in reveal.kinds:
        return False
    if not reveal.purposes:
        return True
    counts = facts.purpose_source == "claim" or reveal.accept_claimed_by_header
    return counts and bool(facts.purpose) and matches_any(reveal.purposes, facts.purpose)
