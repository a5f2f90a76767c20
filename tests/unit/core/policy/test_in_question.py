"""Leaving out the rules that cannot match changes no decision."""

import dataclasses
import itertools

import pytest

from addons.core.config.model import Rule
from addons.core.exchange import Access, Exchange, Operation, Principal
from addons.core.policy import facts
from addons.core.policy.evaluate import decide_on
from tests import harness

SERVICES = (None, ("crm",), ("billing",), ("crm", "billing"))
METHODS = (None, ("GET",), ("POST",), ("GET", "POST"))


def asked(service: str, verb: str, protocol: str = "http", child: str | None = None) -> Exchange:
    attributes = {"path": "/a", "method": verb, "filters": []}
    children = () if child is None else (Operation("http", child, f"{child} /a", frozenset({Access.WRITE}), ("/a",), attributes),)
    operation = Operation(protocol, verb, f"{verb} /a", frozenset({Access.READ}), ("/a",), attributes, children)
    return Exchange(id="1", service=service, operation=operation, principal=Principal("https://idp.example", "corp", "ann"))


@pytest.mark.parametrize("effect", ["allow", "deny"])
@pytest.mark.parametrize(
    "record",
    [
        pytest.param(asked("crm", "GET"), id="get"),
        pytest.param(asked("billing", "POST"), id="post"),
        pytest.param(asked("crm", "POST", child="DELETE"), id="nested"),
        pytest.param(asked("crm", "call", protocol="mcp"), id="another-protocol"),
    ],
)
def test_the_same_decision_with_all_rules_asked(record, effect):
    snapshot = harness.snapshot()
    rules = tuple(
        Rule(name=f"r{number}", effect=effect, services=services, methods=methods)
        for number, (services, methods) in enumerate(itertools.product(SERVICES, METHODS))
    )
    seen = facts.of(snapshot, record, 1.0)
    fast = dataclasses.replace(snapshot, rules=dataclasses.replace(snapshot.rules, rules=rules))
    slow = dataclasses.replace(snapshot, rules=dataclasses.replace(snapshot.rules, rules=list(rules)))
    assert decide_on(fast, seen) == decide_on(slow, seen)
    assert decide_on(fast, seen) == decide_on(slow, seen)
