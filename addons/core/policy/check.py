"""What can be wrong with rules beyond their names: found when they are loaded, not by the request they would deny.

Configuration has already checked the names that the files define. Here: conditions that cannot be read, attributes that
no service in question declares, methods and path globs that no request can ever have. A rule that can never match is an
error, because its author believes that it protects something.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from addons.core.config.model import Rule, Snapshot
from addons.core.errors import ConfigProblem
from addons.core.policy.conditions import ConditionError, parse
from addons.core.policy.facts import BUILT_IN, DECLARED, kind_of
from addons.core.services import messages
from addons.core.services.extract import FREE, VERBS

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def problems(snapshot: Snapshot) -> Iterable[ConfigProblem]:
    """Return everything that is wrong with the rules of this Snapshot. A check for `config.load`."""
    return [problem for rule in snapshot.rules.rules for problem in _of(snapshot, rule)]


def _of(snapshot: Snapshot, rule: Rule) -> Iterator[ConfigProblem]:
    kinds = _kinds(snapshot, rule)
    yield from _attributes(rule, rule.attributes or (), kinds, "match")
    yield from _condition(rule, kinds)
    if all(kind in VERBS for kind in kinds):
        yield from _verbs(rule, kinds)
    yield from _paths(rule)


def _kinds(snapshot: Snapshot, rule: Rule) -> set[str]:
    """The kinds of service that this rule can meet. A rule for all services must hold for every kind there is."""
    names = rule.services if rule.services is not None else tuple(snapshot.gateway.services)
    kinds = {kind_of(snapshot, name) for name in names}
    if rule.protocols is None:
        return kinds
    inside = {protocol for protocol in rule.protocols if protocol in messages.ATTRIBUTES}
    return {kind for kind in kinds if kind in rule.protocols or kind == BUILT_IN} | inside or kinds


def _condition(rule: Rule, kinds: set[str]) -> Iterator[ConfigProblem]:
    if rule.when is None:
        return
    try:
        condition = parse(rule.when)
    except ConditionError as error:
        yield ConfigProblem(rule.where, f"the condition (`when`) of rule {rule.name} {_joined(str(error))}", "see the head of rules.yaml")
        return
    yield from _attributes(rule, sorted(condition.attributes), kinds, "the condition")


def _joined(said: str) -> str:
    return said if said.startswith(("may", "cannot", "names", "is", "`")) else f"is {said}"


def _attributes(rule: Rule, names: Iterable[str], kinds: set[str], place: str) -> Iterator[ConfigProblem]:
    for name in names:
        missing = sorted(kind for kind in kinds if not _declares(kind, name))
        if missing:
            known = sorted(set().union(*(DECLARED.get(kind, frozenset()) for kind in missing)))
            near = get_close_matches(name, known, 1)
            hint = f"nearest: {near[0]}" if near else f"known: {', '.join(known) or 'none'}"
            yield ConfigProblem(
                rule.where, f"rule {rule.name}: {place} names the attribute `{name}`, which services of kind {missing[0]} do not have", hint
            )


def _declares(kind: str, name: str) -> bool:
    """True when operations of this kind have the attribute, or may have it because the request names it."""
    return name in DECLARED.get(kind, frozenset()) or (name.startswith(FREE.get(kind, ())) and name not in FREE.get(kind, ()))


def _verbs(rule: Rule, kinds: set[str]) -> Iterator[ConfigProblem]:
    for key, said, at in (("methods", rule.methods, 0), ("verbs", rule.verbs, 1)):
        known = frozenset[str]().union(*(VERBS[kind][at] for kind in kinds))
        for name in said or ():
            if name not in known:
                hint = f"one of {', '.join(sorted(known))}"
                yield ConfigProblem(rule.where, f"rule {rule.name}: `{key}` names {name!r}, which no request here can have", hint)


def _paths(rule: Rule) -> Iterator[ConfigProblem]:
    for glob in rule.paths or ():
        why = unreachable(glob)
        if why:
            yield ConfigProblem(rule.where, f"rule {rule.name}: the path {glob!r} matches nothing: {why}", "paths are matched decoded")


def unreachable(glob: str) -> str | None:
    """Say why no canonical path can have this form; None when one can."""
    if _ESCAPE.search(glob):
        return "it holds a percent-escape; write the character itself"
    if "//" in glob:
        return "it holds `//`, which is refused before any rule"
    if any(segment in (".", "..") for segment in glob.split("/")):
        return "it holds a dot segment, which is refused before any rule"
    if not glob.startswith(("/", "*")):
        return "a path begins with `/`"
    return None
