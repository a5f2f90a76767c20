"""rules.yaml: sentences that allow, deny or hold. Names are checked here; conditions (`when`) by the policy area's check."""

import re
from collections.abc import Mapping

from addons.core.config.document import Node
from addons.core.config.model import Rule, Rules
from addons.core.config.reading import NAME
from addons.core.config.section import Section

EFFECTS = ("allow", "deny", "hold")
ACCESS = ("read", "write", "delete", "schema", "admin", "execute", "transfer", "connect", "unknown")
KINDS = ("human", "service", "agent", "ci", "workload")
SOURCES = ("claim", "header", "baggage", "none")
PROTOCOLS = ("http", "websocket", "kubernetes", "mcp", "jsonrpc", "graphql", "grpc", "postgresql", "ssh", "sftp", "rdp", "guardhouse")
LEVELS = ("Metadata", "Request", "RequestResponse")
BUILT_IN_SERVICE = "guardhouse"  # the gateway's own destructive operations
KEY_ALIAS = "key"  # the issuer alias of our own API keys
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_PATH = re.compile(r"[/*][^\s?#]*")
_PURPOSE = re.compile(r"[a-z0-9*][a-z0-9._:/*-]{0,127}")


def read(file: Section) -> Rules:
    """All rules. Their order means nothing, so their names must tell them apart."""
    default = file.text("default", expected="deny")
    if default not in ("deny", ""):
        file.wrong(
            "default", f"`default` is {file.quote(default)}, expected deny", "what no rule allows is denied; write a rule for what you want"
        )
    rules = tuple(_rule(item) for item in file.items("rules", "rules.rules"))
    seen: dict[str, str] = {}
    for rule in rules:
        if rule.name in seen and rule.name:
            file.reading.tell(int(rule.where.rpartition(":")[2]), f"a second rule has the name `{rule.name}`, first at {seen[rule.name]}")
        seen.setdefault(rule.name, rule.where)
    return Rules("deny", rules)


def _rule(at: Section) -> Rule:
    name = at.text("name", pattern=NAME, expected="a name of lower-case letters, digits and `-`")
    if "match" not in at.values:
        at.wrong("match", f"the rule {at.quote(name)} has no `match`", "write `match: {}` for everything")
    match = at.section("match", "rules.match")
    rule = Rule(
        name=name,
        effect=at.choice("effect", EFFECTS),
        services=match.maybe_texts("services"),
        protocols=match.maybe_texts("protocols"),
        methods=match.maybe_texts("methods", _METHOD, "a list of methods in capitals"),
        verbs=match.maybe_texts("verbs"),
        paths=match.maybe_texts("paths", _PATH, "a list of path globs that begin with `/`"),
        resources=match.maybe_texts("resources"),
        access=match.maybe_texts("access"),
        attributes=_attributes(match) if "attributes" in match.values else None,
        principals=_principals(match.section("principals", "rules.match.principals")) if "principals" in match.values else None,
        purposes=match.maybe_texts("purposes", _PURPOSE, "a list of purpose globs such as support/*"),
        purpose_sources=match.maybe_texts("purpose_sources"),
        accept_claimed_by_header=at.flag("accept_claimed_by_header"),
        when=at.maybe_text("when", expected="one condition"),
        mask=at.texts("mask"),
        approval=at.maybe_text("approval"),
        reason=at.maybe_text("reason"),
        audit=at.choice("audit", LEVELS) if at.has("audit") else None,
        where=at.where,
    )
    _check_names(at, match, rule)
    return rule


def _check_names(at: Section, match: Section, rule: Rule) -> None:
    names = at.reading.names
    match.known("services", rule.services, {*names.services, BUILT_IN_SERVICE}, "service")
    match.known("protocols", rule.protocols, PROTOCOLS, "protocol")
    match.known("access", rule.access, ACCESS, "access")
    match.known("purpose_sources", rule.purpose_sources, SOURCES, "purpose source")
    at.known("mask", rule.mask, names.profiles, "profile of masking.yaml")
    if rule.effect == "hold" and rule.approval is None:
        at.wrong("approval", f"the rule {at.quote(rule.name)} holds, but names no approval", "add `approval:` with a key of approvals.yaml")
    if rule.effect in ("allow", "deny") and rule.approval is not None:
        at.wrong("approval", f"`approval` stands in a rule with the effect `{rule.effect}`, expected it only with `hold`")
    if rule.approval:
        at.known("approval", [rule.approval], names.approvals, "approval of approvals.yaml")
    if rule.accept_claimed_by_header:
        at.reading.warnings.append(
            f"rule {rule.name}: accept_claimed_by_header, so anybody can claim its purpose in a header ({rule.where})"
        )


def _attributes(match: Section) -> Mapping[str, tuple[str, ...]]:
    """Attribute values as texts; true and false in lower case, as policy compares them."""
    found: dict[str, tuple[str, ...]] = {}
    for name, node in match.entries("attributes").items():
        items = node.value if isinstance(node.value, list) else [node]
        found[name] = tuple(_scalar(match, name, item) for item in items)
        if not items:
            match.reading.tell(node.line, f"the attribute `{name}` has an empty list, expected a value or a list of values")
    if not found:
        match.wrong("attributes", "`attributes` is empty, expected at least one", "leave the key out")
    return found


def _scalar(match: Section, name: str, node: Node) -> str:
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    if isinstance(node.value, str | int) and node.value != "":
        return str(node.value)
    match.reading.tell(node.line, f"the attribute `{name}` is {node.shape}, expected a text, a whole number, true or false")
    return ""


def _principals(at: Section) -> Mapping[str, tuple[str, ...]]:
    found = {
        key: values
        for key in ("issuers", "kinds", "subjects", "groups", "clients", "actors", "owners")
        if (values := at.maybe_texts(key)) is not None
    }
    if not at.values:
        at.wrong("principals", "`principals` is empty, expected at least one condition", "leave the key out to match everybody")
    at.known("issuers", found.get("issuers"), {*at.reading.names.aliases, KEY_ALIAS}, "issuer")
    at.known("kinds", found.get("kinds"), KINDS, "kind of principal")
    for key in ("subjects", "groups", "actors", "owners"):
        at.people(key, found.get(key), (KEY_ALIAS,))
    return found
