"""Why did each rule match, or not? The same criteria as the decision, asked one by one and written down.

For people at the command line and for the auditor; nothing decides by it. A criterion is asked even when an earlier one
failed, so that the author of a rule sees everything that stands in the way at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from addons.core.config.model import Rule, Snapshot
from addons.core.exchange import Decision, Exchange, Operation
from addons.core.policy import facts as facts_of
from addons.core.policy import match
from addons.core.policy.conditions import ConditionError
from addons.core.policy.evaluate import decide
from addons.core.policy.facts import Facts


@dataclass(frozen=True, slots=True)
class Step:
    """One criterion of one rule: what it asks for, what came, and whether that is enough."""

    key: str
    met: bool
    wanted: str
    got: str


@dataclass(frozen=True, slots=True)
class RuleStory:
    """One rule and one node of the operation."""

    rule: str
    effect: str
    operation: str
    matched: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """The decision and how every rule took part in it."""

    decision: Decision
    rules: tuple[RuleStory, ...]


def explain(snapshot: Snapshot, record: Exchange, now: float) -> Story:
    """Return the decision and, for every rule and nested operation, each criterion with its answer."""
    facts = facts_of.of(snapshot, record, now)
    told = [_tell(rule, facts, node) for rule in snapshot.rules.rules for node in facts.nodes]
    return Story(decide(snapshot, record, now), tuple(told))


def _tell(rule: Rule, facts: Facts, node: Operation) -> RuleStory:
    steps = [
        Step(key, match.CRITERIA[key](rule, facts, node), _wanted(rule, key), _got(rule, key, facts, node)) for key in match.named(rule)
    ]
    if match.grants(rule) and not node.exact:
        steps.append(Step("exact", False, "an exact reading, for an allow", "a heuristic one"))
    if not match.is_named(rule, node):
        steps.append(Step("access", False, "an allow that names `unknown` itself", ", ".join(sorted(map(str, node.access)))))
    if all(step.met for step in steps):
        steps += _condition(rule, facts, node)
    return RuleStory(rule.name, rule.effect, node.text, all(step.met for step in steps), tuple(steps))


def _condition(rule: Rule, facts: Facts, node: Operation) -> list[Step]:
    if rule.when is None:
        return []
    try:
        met = match.holds(rule, facts, node)
    except ConditionError as error:
        return [Step("when", False, rule.when, f"{error}: the request is denied")]
    return [Step("when", met, rule.when, "true" if met else "false")]


def _wanted(rule: Rule, key: str) -> str:
    value: Any = (rule.principals or {}).get(key.removeprefix("principals.")) if key.startswith("principals.") else getattr(rule, key)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {' or '.join(values)}" for name, values in sorted(value.items()))
    all_of = key in ("access", "paths", "resources") and match.grants(rule)
    return ("only " if all_of else "") + " or ".join(value)


def _got(rule: Rule, key: str, facts: Facts, node: Operation) -> str:
    if key.startswith("principals."):
        return ", ".join(said for said in match.PRINCIPAL_FACTS[key.removeprefix("principals.")](facts) if said) or "none"
    if key == "attributes":
        return "; ".join(f"{name}: {_shown(node.attributes.get(name))}" for name in sorted(rule.attributes or {}))
    if key == "purposes" and facts.purpose and not match.purpose_counts(rule, facts):
        return f"{facts.purpose}, but only by {facts.purpose_source}: an allow counts a signed claim only"
    plain = {
        "services": facts.service, "protocols": node.protocol, "methods": node.verb, "verbs": node.verb, "purposes": facts.purpose or "none",
        "purpose_sources": facts.purpose_source, "access": ", ".join(sorted(map(str, node.access))),
    }  # fmt: skip
    return plain.get(key, ", ".join(node.resources))


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    return ", ".join(map(match.text_of, value)) if isinstance(value, list | tuple) else match.text_of(value)
