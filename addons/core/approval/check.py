"""Whether the people and channels of a configuration can ever fill what an approval asks.

A hold that nobody can release is a deny that looks like a promise, so it is refused at load. People with a login of their
own can fill any number of slots of their issuer's groups; all votes of one integration or one file owner fill one slot;
and of two or more votes at least one comes by a login.
"""

from collections.abc import Iterable, Iterator

from addons.core.approval.decide import ASSURANCE
from addons.core.approval.policy import matching
from addons.core.approval.terms import Terms, merge
from addons.core.config.model import Approvals, ApprovalTerms, Snapshot
from addons.core.errors import ConfigProblem, GuardhouseError


def problems(snapshot: Snapshot) -> Iterable[ConfigProblem]:
    """Everything that is wrong with approvals.yaml beyond its shape."""
    logins = {issuer.name for issuer in snapshot.gateway.identity.issuers if any(rule.kind == "human" for rule in issuer.kinds)}
    for terms in snapshot.approvals.terms.values():
        yield from _unfillable(terms, snapshot.approvals, logins)
    for rule in snapshot.rules.rules:
        if rule.effect == "hold" and rule.approval not in snapshot.approvals.terms:
            yield ConfigProblem(rule.where, f"the hold rule `{rule.name}` names no approval of approvals.yaml", _known(snapshot.approvals))


def _unfillable(terms: ApprovalTerms, approvals: Approvals, logins: set[str]) -> Iterator[ConfigProblem]:
    try:
        merged = merge([terms])
    except GuardhouseError:
        yield ConfigProblem(terms.where, f"`{terms.name}` has no requirements, expected at least one group")
        return
    by_login = [slot.partition(":")[0] in logins for slot in merged.slots]
    others = [slot for slot, login in zip(merged.slots, by_login, strict=True) if not login]
    if len(merged.slots) >= 2 and not any(by_login):
        yield ConfigProblem(
            terms.where,
            f"`{terms.name}` asks {len(merged.slots)} votes, and no group in it has people who sign in: one of them must",
            "name a group of an issuer whose `kind` list has `human`",
        )
        return
    heads = _channel_heads(merged, approvals)
    if len(matching(others, heads)) < len(others):
        hint = "everything that comes by one integration or file owner is one vote"
        yield ConfigProblem(
            terms.where, f"`{terms.name}` can never be approved: nobody can vote for {', '.join(sorted(set(others)))}", hint
        )


def _channel_heads(terms: Terms, approvals: Approvals) -> list[frozenset[str]]:
    """Groups that each channel without a token can speak for, as far as its assurance counts here."""
    least = ASSURANCE.index(terms.assurance)
    heads: list[frozenset[str]] = []
    if terms.require_acr or terms.max_auth_age is not None:
        return heads  # such a channel has no sign-in whose strength or age could be known
    if ASSURANCE.index("integration") >= least:
        heads += [_groups(integration.people, approvals) for integration in approvals.integrations.values()]
    if ASSURANCE.index("file") >= least and approvals.signals.directory is not None:
        heads += [_groups((person,), approvals) for person in approvals.signals.approvers.values()]
    return heads


def _groups(people: Iterable[str], approvals: Approvals) -> frozenset[str]:
    return frozenset(group for person in people for group in approvals.people.get(person, ()))


def _known(approvals: Approvals) -> str:
    return "known: " + ", ".join(sorted(approvals.terms)) if approvals.terms else "approvals.yaml names none"
