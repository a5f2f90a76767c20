"""Small records and rules for the tests of policy."""

from dataclasses import replace
from typing import Any

from addons.core.config import model
from addons.core.exchange import Access, Exchange, Operation, Principal
from tests import harness

ALICE = Principal(issuer="http://127.0.0.1:8445", issuer_alias="dev", subject="alice", kind="human", groups=("dev:support",))
AGENT = replace(ALICE, kind="agent", client_id="planner-agent", groups=())
NOW = 1_700_000_000.0


def rule(name: str = "r", effect: str = "allow", **more: Any) -> model.Rule:
    """A rule; a hold gets an approval."""
    return model.Rule(name, effect, approval=more.pop("approval", "one-sre" if effect == "hold" else None), **more)


def snapshot(*rules: model.Rule, **gateway: Any) -> model.Snapshot:
    """The harness's configuration with these rules."""
    return replace(harness.snapshot(**gateway), rules=model.Rules("deny", rules))


def operation(verb: str = "GET", path: str = "/customers/7", access: str = "read", **more: Any) -> Operation:
    """An operation of plain HTTP with every attribute that its extractor sets."""
    attributes = {
        "scheme": "http", "host": "127.0.0.1", "path": path, "filters": [], "content_type": None, "has_body": False, "method_override": None,
        "path_parameters": [], **more.pop("attributes", {}),
    }  # fmt: skip
    return Operation(
        protocol=more.pop("protocol", "http"),
        verb=verb,
        text=f"{verb} {path}",
        access=frozenset(Access(name) for name in access.split()),
        resources=more.pop("resources", (path,)),
        attributes=attributes,
        **more,
    )


def record(
    asked: Operation | None = None, principal: Principal = ALICE, purpose: str = "support/4711", source: str = "claim", **more: Any
) -> Exchange:
    """A record as policy meets it."""
    return Exchange(
        id="0",
        service=more.pop("service", "crm"),
        operation=asked or operation(),
        principal=principal,
        purpose=purpose,
        purpose_source=source,
        **more,
    )
