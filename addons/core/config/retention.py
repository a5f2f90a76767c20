"""retention.yaml: what is removed after how long. Read and checked now, carried out once retention is built."""

from collections.abc import Mapping
from typing import Any

from addons.core.config.model import Retention
from addons.core.config.section import Section

KINDS = (
    "http", "ws", "exec", "chunk", "session", "approval", "policy", "config", "auth", "connection", "suppressed", "unseal", "read", "export", "replay",
    "purge", "erase", "legal", "key", "anchor", "heartbeat", "log",
)  # fmt: skip
LEVELS = ("Metadata", "Request", "RequestResponse")
ACTIONS = ("purge", "erase bodies")


def read(file: Section) -> Retention:
    """The lines, in order: the first that matches counts, so the last must match everything."""
    rules = tuple(_rule(item) for item in file.items("rules", "retention.rules"))
    if not rules or rules[-1]["match"]:
        file.wrong(
            "rules", "the last rule must match everything: `match: {}`", "else something would be kept for ever without a rule that says so"
        )
    if rules:
        file.reading.warnings.append("retention.yaml is checked, but retention is not built yet: nothing is removed")
    return Retention(rules)


def _rule(rule: Section) -> Mapping[str, Any]:
    if "match" not in rule.values:
        rule.wrong("match", "`match` is missing in a rule of retention.yaml", "write `match: {}` for everything")
    match = rule.section("match", "retention.match")
    found = {key: match.maybe_texts(key) for key in ("kinds", "services", "levels")}
    match.known("kinds", found["kinds"], KINDS, "event kind")
    match.known("levels", found["levels"], LEVELS, "audit level")
    match.known("services", found["services"], {*rule.reading.names.services, "guardhouse"}, "service")
    if not rule.has("keep"):
        rule.wrong("keep", "`keep` is missing, expected a duration such as 90d")
    return {
        "match": {key: values for key, values in found.items() if values},
        "keep": rule.duration("keep", 86400.0),
        "then": rule.choice("then", ACTIONS),
    }
