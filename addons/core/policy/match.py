"""Does a rule match? One table of criteria, used by the decision and by its explanation, so that they cannot differ.

The keys of `match` are AND, the values of one key are OR, an absent key matches all. What differs by effect is said by
`Lens`: a deny or hold looks for anything that is listed (any access, any resource, any source of a purpose), an allow
asks that everything is (all accesses, all resources, a purpose that is signed).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from addons.core.config.model import Rule
from addons.core.exchange import Access, Operation
from addons.core.policy import conditions
from addons.core.policy.facts import Facts, variables
from addons.core.policy.globs import matches_any

Criterion = Callable[[Rule, Facts, Operation], bool]


def grants(rule: Rule) -> bool:
    """True for an allow: it must cover all of an operation, where a deny or hold needs only a part."""
    return rule.effect == "allow"


def purpose_counts(rule: Rule, facts: Facts) -> bool:
    """Anybody can send a header: for an allow only a signed claim counts, unless the rule says otherwise."""
    return not grants(rule) or rule.accept_claimed_by_header or facts.purpose_source == "claim"


def _covers(rule: Rule, listed: Iterable[bool]) -> bool:
    """Any is enough for a deny or hold; an allow needs all, and at least one."""
    found = list(listed)
    return False not in found and bool(found) if grants(rule) else True in found


def _services(rule: Rule, facts: Facts, node: Operation) -> bool:
    return facts.service in (rule.services or ())


def _protocols(rule: Rule, facts: Facts, node: Operation) -> bool:
    return node.protocol in (rule.protocols or ())


def _methods(rule: Rule, facts: Facts, node: Operation) -> bool:
    said = node.verb if node.protocol == "http" else node.attributes.get("method")
    return said in (rule.methods or ())


def _verbs(rule: Rule, facts: Facts, node: Operation) -> bool:
    return node.verb in (rule.verbs or ())


def _paths(rule: Rule, facts: Facts, node: Operation) -> bool:
    said = node.resources if node.protocol == "http" else [node.attributes.get("path")]
    return _covers(rule, (isinstance(path, str) and matches_any(rule.paths or (), path) for path in said))


def _resources(rule: Rule, facts: Facts, node: Operation) -> bool:
    return _covers(rule, (matches_any(rule.resources or (), resource) for resource in node.resources))


def _access(rule: Rule, facts: Facts, node: Operation) -> bool:
    return _covers(rule, (str(access) in (rule.access or ()) for access in node.access))


def _attributes(rule: Rule, facts: Facts, node: Operation) -> bool:
    return all(_attribute(rule, wanted, node.attributes.get(name)) for name, wanted in (rule.attributes or {}).items())


def _attribute(rule: Rule, wanted: tuple[str, ...], got: Any) -> bool:
    """An absent (null) attribute never matches; of a list, an allow needs every member listed."""
    if isinstance(got, list | tuple | set | frozenset):
        return _covers(rule, (text_of(item) in wanted for item in got))
    return got is not None and text_of(got) in wanted


def text_of(value: Any) -> str:
    """Return an attribute as rules.yaml writes it: true and false in lower case, all else as it prints."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _purposes(rule: Rule, facts: Facts, node: Operation) -> bool:
    return bool(facts.purpose) and purpose_counts(rule, facts) and matches_any(rule.purposes or (), facts.purpose)


def _purpose_sources(rule: Rule, facts: Facts, node: Operation) -> bool:
    return facts.purpose_source in (rule.purpose_sources or ())


def _principal(name: str) -> Criterion:
    def criterion(rule: Rule, facts: Facts, node: Operation) -> bool:
        wanted = (rule.principals or {}).get(name)
        return wanted is None or any(said in wanted for said in PRINCIPAL_FACTS[name](facts))

    return criterion


PRINCIPAL_FACTS: Mapping[str, Callable[[Facts], tuple[str | None, ...]]] = {
    "issuers": lambda facts: (facts.principal.issuer_alias,),
    "kinds": lambda facts: (facts.principal.kind,),
    "subjects": lambda facts: (facts.principal.person,),
    "groups": lambda facts: facts.principal.groups,
    "clients": lambda facts: (facts.principal.client_id,),
    "actors": lambda facts: facts.actors,
    "owners": lambda facts: (facts.principal.owner,),
}

_PLAIN: tuple[tuple[str, Criterion], ...] = (
    ("services", _services),
    ("protocols", _protocols),
    ("methods", _methods),
    ("verbs", _verbs),
    ("paths", _paths),
    ("resources", _resources),
    ("access", _access),
    ("attributes", _attributes),
    ("purposes", _purposes),
    ("purpose_sources", _purpose_sources),
)
_PRINCIPALS: Mapping[str, Criterion] = {name: _principal(name) for name in PRINCIPAL_FACTS}
CRITERIA: Mapping[str, Criterion] = dict(_PLAIN) | {f"principals.{name}": criterion for name, criterion in _PRINCIPALS.items()}


def named(rule: Rule) -> list[str]:
    """Return the criteria that this rule sets, in the order in which they are asked."""
    return [key for key in CRITERIA if _is_set(rule, key)]


def _is_set(rule: Rule, key: str) -> bool:
    if key.startswith("principals."):
        return rule.principals is not None and key.removeprefix("principals.") in rule.principals
    return getattr(rule, key) is not None


def meets(rule: Rule, facts: Facts, node: Operation) -> bool:
    """True when every criterion that the rule sets is met. Its condition is not asked.

    Runs for each rule of each request, so it leaves at the first criterion that is not met.
    """
    for key, criterion in _PLAIN:
        if getattr(rule, key) is not None and not criterion(rule, facts, node):
            return False
    for name in rule.principals or ():
        asked = _PRINCIPALS.get(name)  # a key nobody knows cannot be met; configuration refuses it at load
        if asked is None or not asked(rule, facts, node):
            return False
    return True


def holds(rule: Rule, facts: Facts, node: Operation) -> bool:
    """True when the rule's condition holds, or it has none. Raises ConditionError: the request is denied."""
    if rule.when is None:
        return True
    condition = conditions.parse(rule.when)
    if "purpose" in condition.names and not purpose_counts(rule, facts):
        return False  # an allow that reads an unsigned purpose never matches
    return condition.holds(variables(facts, node))


def is_named(rule: Rule, node: Operation) -> bool:
    """What nobody could read is allowed only by a rule that says `access: [..., unknown]` itself."""
    return not grants(rule) or Access.UNKNOWN not in node.access or rule.access is not None


def applies(rule: Rule, facts: Facts, node: Operation) -> bool:
    """True when the rule matches this node. `exact: False` is a heuristic reading: it may never justify an allow."""
    if grants(rule) and not (node.exact and is_named(rule, node)):
        return False
    return meets(rule, facts, node) and holds(rule, facts, node)
