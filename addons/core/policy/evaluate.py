"""The decision: any matching deny wins, else any hold, else any allow, else the default.

Order does not matter. A deny or hold matches if any nested operation does; an allow must cover every one of them. A
condition that fails denies. In observe mode deny and hold are decided and recorded, not enforced; masks stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from addons.core.config.model import Rule, Service, Snapshot
from addons.core.errors import PolicyDeniedError
from addons.core.exchange import Decision, Effect, Exchange
from addons.core.policy import masks
from addons.core.policy.conditions import ConditionError
from addons.core.policy.facts import Facts, of
from addons.core.policy.match import applies

AUDIT_LEVELS = ("Metadata", "Request", "RequestResponse")
MAX_KEPT = 256
_IN_QUESTION: dict[
    tuple[int, str, frozenset[str] | None], tuple[Sequence[Rule], tuple[Rule, ...]]
] = {}  # by id of the rules, which are held
BROKEN = "The condition of this rule could not be decided, so the request is denied. Tell the gateway's operators."


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that matches, and how much of the operation it covers."""

    rule: Rule
    nodes: frozenset[int]  # indices into Facts.nodes


def decide(snapshot: Snapshot, record: Exchange, now: float) -> Decision:
    """Return what policy says of this request at this moment. Pure."""
    facts = of(snapshot, record, now)
    return observed(decide_on(snapshot, facts), snapshot.gateway.services.get(facts.service), now)


def decide_on(snapshot: Snapshot, facts: Facts) -> Decision:
    """Return the decision, observe mode left aside."""
    found, broken = matching(snapshot.rules.rules, facts)
    effect, deciding = _effect(facts, found, broken)
    held = [rule for rule in deciding if rule.effect == "hold"] if effect is Effect.HOLD else []
    reasons = {rule.name: rule.reason for rule in deciding if rule.reason}
    if effect is Effect.DENY:
        reasons |= {rule.name: BROKEN for rule in broken}
    return Decision(
        effect=effect,
        rules=tuple(sorted({rule.name for rule in deciding})),
        masks=masks.owed(snapshot, facts, masks.asked([*(match.rule for match in found), *broken])),
        approvals=tuple(sorted({rule.approval for rule in held if rule.approval})),
        reasons=tuple(reasons[name] for name in sorted(reasons)),
        audit_level=_audit_level(snapshot, facts, found),
        policy_digest=snapshot.rules_digest(),
    )


def matching(rules: Sequence[Rule], facts: Facts) -> tuple[list[Match], list[Rule]]:
    """Return the rules that match some node, and those whose condition failed."""
    found, broken = [], []
    for rule in _in_question(rules, facts):
        try:
            nodes = frozenset(index for index, node in enumerate(facts.nodes) if applies(rule, facts, node))
        except ConditionError:
            broken.append(rule)
            continue
        if nodes:
            found.append(Match(rule, nodes))
    return found, broken


def _in_question(rules: Sequence[Rule], facts: Facts) -> Sequence[Rule]:
    """The rules that leave out neither this service nor every method asked for: the others cannot match, and most are others."""
    if not isinstance(rules, tuple):
        return rules
    methods = frozenset(node.verb for node in facts.nodes) if all(node.protocol == "http" for node in facts.nodes) else None
    key = (id(rules), facts.service, methods)
    kept = _IN_QUESTION.get(key)
    if kept is not None and kept[0] is rules:
        return kept[1]
    made = tuple(rule for rule in rules if rule.services is None or facts.service in rule.services)
    if methods is not None:
        made = tuple(rule for rule in made if rule.methods is None or methods.intersection(rule.methods))
    if len(_IN_QUESTION) >= MAX_KEPT:
        _IN_QUESTION.clear()
    _IN_QUESTION[key] = (rules, made)
    return made


def _effect(facts: Facts, found: Sequence[Match], broken: Sequence[Rule]) -> tuple[Effect, list[Rule]]:
    denying = [match.rule for match in found if match.rule.effect == "deny"]
    if denying or broken:
        return Effect.DENY, [*denying, *broken]
    holding = [match.rule for match in found if match.rule.effect == "hold"]
    if holding:
        return _hold(holding)
    allowing = [match for match in found if match.rule.effect == "allow"]
    covered = frozenset[int]().union(*(match.nodes for match in allowing))
    if facts.nodes and covered == frozenset(range(len(facts.nodes))):
        return Effect.ALLOW, [match.rule for match in allowing]
    return Effect.DENY, []  # the default; `deny` is the only one there is


def _hold(holding: list[Rule]) -> tuple[Effect, list[Rule]]:
    """A hold that names no approval has nobody to ask: closed."""
    unasked = [rule for rule in holding if not rule.approval]
    return (Effect.DENY, unasked) if unasked else (Effect.HOLD, holding)


def _audit_level(snapshot: Snapshot, facts: Facts, found: Sequence[Match]) -> str:
    """The service's level, raised by any matching rule. A level nobody knows counts as the highest."""
    service = snapshot.gateway.services.get(facts.service)
    said = [service.audit_level if service else AUDIT_LEVELS[-1], *(match.rule.audit for match in found if match.rule.audit)]
    return AUDIT_LEVELS[max(AUDIT_LEVELS.index(level) if level in AUDIT_LEVELS else len(AUDIT_LEVELS) - 1 for level in said)]


def observed(decision: Decision, service: Service | None, now: float) -> Decision:
    """In observe mode, until its date: let it pass and say what would have been."""
    if decision.effect is Effect.ALLOW or service is None or service.observe is None or now >= service.observe.until:
        return decision
    return replace(decision, effect=Effect.ALLOW, observed=str(decision.effect))


def denial(decision: Decision, record: Exchange) -> PolicyDeniedError:
    """Return the refusal of a denied request: the rules and their sentences for the caller, the rest for the auditor."""
    asked = _asked(record)
    if decision.rules:
        said = " ".join(decision.reasons) or f"The rule {' and '.join(decision.rules)} forbids it."
    else:
        said = (
            f"No rule allows {asked}, for you and the purpose you gave. Ask who keeps the rules of this gateway, or send another purpose."
        )
    return PolicyDeniedError(
        f"Policy does not allow this request. {said}",
        detail=f"effect {decision.effect}; rules {', '.join(decision.rules) or 'none matched: default'}; policy {decision.policy_digest}",
        extra={"rules": list(decision.rules)},
    )


def _asked(record: Exchange) -> str:
    """What was asked, in a few words: never a path or the value of an argument."""
    operation = record.operation
    if operation is None:
        return "this"
    if operation.protocol == "http":
        return f"{operation.verb} on {record.service} at this path"
    tool = operation.attributes.get("tool")
    return f"{operation.verb} {tool} on {record.service} with these arguments" if tool else f"{operation.verb} on {record.service}"
