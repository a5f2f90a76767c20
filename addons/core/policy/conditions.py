"""Conditions: one Jinja2 expression, narrowed until it can only look and compare.

Parsed, checked against an allow-list of syntax and of names, compiled once. What it may not do (calls, filters,
arithmetic, subscripts, string building) is refused when the rules are loaded, so a condition can neither loop nor reach
into Python. It says yes only with exactly true and no only with exactly false; anything else, null too, and any error
raise `ConditionError`, and the request is denied.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from addons.core.policy.facts import NOW, OPERATION, PRINCIPAL, VARIABLES, Missing

MAX_LENGTH = 2000  # characters; a rule is a sentence
_MAX_NODES = 300
_TESTS = frozenset({"none", "string", "number", "boolean", "true", "false"})
_PLAIN = (
    nodes.Name,
    nodes.Getattr,
    nodes.Const,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
    nodes.List,
    nodes.Tuple,
    nodes.Test,
)
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, cache_size=0)
_EVALUATION_ERRORS = (jinja2.TemplateError, Missing, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


class ConditionError(Exception):
    """The condition is not one, or gave neither true nor false. The text never holds a value of the request."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition. `attributes` are the operation's attributes that it reads."""

    source: str
    evaluate: Callable[..., Any]
    attributes: frozenset[str]
    names: frozenset[str]  # the variables it reads

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Return exactly true or false, or raise ConditionError."""
        try:
            said = self.evaluate(**variables)
        except _EVALUATION_ERRORS as error:
            raise ConditionError(f"the condition failed ({type(error).__name__})") from None
        if said is True or said is False:
            return bool(said)
        raise ConditionError(f"the condition gave neither true nor false but {'null' if said is None else type(said).__name__}")


@lru_cache(maxsize=1024)
def parse(source: str) -> Condition:
    """Return the condition, or say what it may not hold. Cached: the same text is the same condition."""
    if len(source) > MAX_LENGTH:
        raise ConditionError(f"longer than {MAX_LENGTH} characters")
    try:
        tree = _parse(source)
        found = list(_walk(tree))
        if len(found) > _MAX_NODES:
            raise ConditionError("too long: split it into several rules")
        for node in found:
            _check(node)
        chains = [chain for chain in map(_chain, _outermost(tree)) if chain is not None]
        for chain in chains:
            _check_chain(chain)
        evaluate = _ENVIRONMENT.compile_expression(source, undefined_to_none=False)
    except jinja2.TemplateError as error:
        raise ConditionError(f"cannot be read: {str(error).splitlines()[0] if str(error) else 'syntax'}") from None
    except (ValueError, RecursionError, OverflowError, SyntaxError, MemoryError):
        raise ConditionError("cannot be read: too deep or not a condition") from None
    attributes = frozenset(chain[2] for chain in chains if chain[:2] == ("operation", "attributes"))
    return Condition(source, evaluate, attributes, frozenset(chain[0] for chain in chains))


def _parse(source: str) -> nodes.Expr:
    parser = Parser(_ENVIRONMENT, source, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        raise ConditionError("is more than one expression")
    return tree


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(current.iter_child_nodes())


def _check(node: nodes.Node) -> None:
    if not isinstance(node, _PLAIN):
        raise ConditionError(f"may not hold {_WORDS.get(type(node), 'a ' + type(node).__name__.lower())}")
    if isinstance(node, nodes.Test) and (node.name not in _TESTS or node.args or node.kwargs or node.dyn_args or node.dyn_kwargs):
        raise ConditionError(f"may not hold the test `is {node.name}`; known tests: {', '.join(sorted(_TESTS))}")
    if isinstance(node, nodes.Name) and node.ctx != "load":
        raise ConditionError("may not assign")


def _outermost(tree: nodes.Expr) -> Iterator[nodes.Node]:
    """Yield each name or longest attribute chain, not the links inside one."""
    waiting: list[nodes.Node] = [tree]
    while waiting:
        current = waiting.pop()
        if isinstance(current, nodes.Name | nodes.Getattr):
            yield current
            inner: nodes.Node = current
            while isinstance(inner, nodes.Getattr):
                inner = inner.node
            if not isinstance(inner, nodes.Name):
                raise ConditionError("may take attributes of the variables only")
        else:
            waiting.extend(current.iter_child_nodes())


def _chain(node: nodes.Node) -> tuple[str, ...] | None:
    parts: list[str] = []
    while isinstance(node, nodes.Getattr):
        parts.append(node.attr)
        node = node.node
    return (node.name, *reversed(parts)) if isinstance(node, nodes.Name) else None


def _check_chain(chain: tuple[str, ...]) -> None:
    name, rest = chain[0], chain[1:]
    if name not in VARIABLES:
        raise ConditionError(f"names `{name}`, which is none of {', '.join(VARIABLES)}")
    known = {"operation": OPERATION, "principal": PRINCIPAL, "now": NOW}.get(name)
    if known is None and rest:
        raise ConditionError(f"`{name}` is a plain value and has no attributes")
    if known is None or (name == "now" and not rest):
        return
    if not rest:
        raise ConditionError(f"`{name}` alone is not a value; name one of its attributes: {', '.join(sorted(known))}")
    if rest[0] not in known:
        raise ConditionError(f"`{name}` has no `{rest[0]}`; it has {', '.join(sorted(known))}")
    depth = 2 if rest[0] == "attributes" else 1
    if len(rest) != depth:
        raise ConditionError(f"`{'.'.join(chain)}` names {'no attribute' if len(rest) < depth else 'an attribute of a plain value'}")
    if rest[-1].startswith("_"):
        raise ConditionError("may not name what begins with an underscore")


_WORDS: Mapping[type[nodes.Node], str] = {
    nodes.Call: "a call", nodes.Filter: "a filter", nodes.Getitem: "a subscript; write a dot", nodes.Slice: "a slice", nodes.Concat: "`~`",
    nodes.Add: "arithmetic", nodes.Sub: "arithmetic", nodes.Mul: "arithmetic", nodes.Div: "arithmetic", nodes.FloorDiv: "arithmetic",
    nodes.Mod: "arithmetic", nodes.Pow: "arithmetic", nodes.Neg: "arithmetic", nodes.Pos: "arithmetic", nodes.CondExpr: "an inline if",
    nodes.Dict: "a mapping",
}  # fmt: skip
