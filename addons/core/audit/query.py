"""What somebody asks of the log: `facet:value` terms and free words, read without ever becoming SQL or FTS syntax.

    principal:dev:ana effect:deny since:1h "customer 42"

A query that cannot be read raises QueryError with a sentence that says what is wrong; nothing of it is guessed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from addons.core.audit.columns import pack_id
from addons.core.audit.events import EFFECTS, KINDS, STAGES

MAX_LENGTH = 1000
MAX_TERMS = 32
FACETS = (
    "principal", "agent", "client", "upstream", "purpose", "service", "verb", "path", "status", "effect", "rule", "trace", "session", "flow",
    "approval", "masked", "reviewer", "kind", "stage", "since", "until",
)  # fmt: skip
_TERM = re.compile(r'\s*(?:([a-z]+(?:\.[A-Za-z0-9_.-]+)?):)?(?:"([^"]*)"|([^\s"]+))(?=\s|$)')
_AGO = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class QueryError(ValueError):
    """The query cannot be read. The text is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Term:
    """One facet with its value; `facet` is "" for a free word."""

    facet: str
    value: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What SQL can decide of a term. The text is ours; the value is bound."""

    sql: str
    values: tuple[object, ...] = ()


def parse(query: str) -> list[Term]:
    """Return the terms of a query. Raises QueryError."""
    if len(query) > MAX_LENGTH:
        raise QueryError(f"The query is longer than {MAX_LENGTH} characters.")
    if any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF for char in query):
        raise QueryError("The query holds control characters.")
    terms: list[Term] = []
    at = 0
    while query[at:].strip():
        found = _TERM.match(query, at)
        if found is None:
            raise QueryError("A quotation mark is not closed, or stands in the middle of a word.")
        at = found.end()
        terms.append(_term(found))
        if len(terms) > MAX_TERMS:
            raise QueryError(f"The query has more than {MAX_TERMS} terms.")
    return terms


def _term(found: re.Match[str]) -> Term:
    facet, value = found[1] or "", found[2] if found[2] is not None else found[3]
    if facet and facet not in FACETS and not facet.startswith("attr."):
        raise QueryError(f"There is no facet {facet!r}. Facets are: {', '.join(FACETS)}, attr.<name>.")
    if not facet and value.endswith(":") and value[:-1] in FACETS:
        facet, value = value[:-1], ""
    if not value:
        raise QueryError(f"The facet {facet!r} has no value." if facet else "An empty word finds nothing.")
    return Term(facet, value)


def condition(term: Term, now: float) -> Condition | None:
    """Return what the columns can decide of this term; None when only the event itself can tell. Raises QueryError."""
    make = _COLUMNS.get(term.facet)
    return None if make is None else make(term.value, now)


def _time(value: str, now: float) -> int:
    ago = _AGO.fullmatch(value)
    if ago is not None:
        return int((now - int(ago[1]) * _SECONDS[ago[2]]) * 1_000_000)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise QueryError("A time is 2026-01-31, 2026-01-31T10:00:00Z, or an age such as 30m, 2h, 7d.") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _status(value: str, _: float) -> Condition:
    if re.fullmatch(r"[1-9]xx", value, re.ASCII):
        return Condition("event.status BETWEEN ? AND ?", (int(value[0]) * 100, int(value[0]) * 100 + 99))
    if not re.fullmatch(r"[0-9]{3}", value, re.ASCII):
        raise QueryError("A status is three digits, or a class such as 4xx.")
    return Condition("event.status = ?", (int(value),))


def _effect(value: str, _: float) -> Condition:
    if value not in EFFECTS:
        raise QueryError("An effect is allow, deny or hold.")
    return Condition(f"event.effect = {EFFECTS[value]}")  # a literal: a partial index serves only its own literal term


def _number(column: str, names: "dict[str, int]") -> Callable[[str, float], Condition]:
    def make(value: str, _: float) -> Condition:
        if value not in names:
            raise QueryError(f"A {column} is one of: {', '.join(names)}.")
        return Condition(f"event.{column} = {names[value]}")

    return make


def _id(column: str) -> Callable[[str, float], Condition]:
    return lambda value, _: Condition(f"event.{column} = ?", (pack_id(value),))


def _text(column: str) -> Callable[[str, float], Condition]:
    """Equality, or a prefix when the value ends in a star."""

    def make(value: str, _: float) -> Condition:
        if value.endswith("*"):
            start = value.rstrip("*")
            return Condition(f"substr({column}, 1, ?) = ?", (len(start), start))
        return Condition(f"{column} = ?", (value,))

    return make


def _principal(value: str, _: float) -> Condition:
    """`subject` or `alias:subject`; which alias it was, the event itself tells."""
    ids = "event.principal IN (SELECT id FROM principal WHERE subject = ? OR subject = ?)"
    return Condition(ids, (value, value.partition(":")[2] or value))


_COLUMNS: dict[str, Callable[[str, float], Condition]] = {
    "principal": _principal,
    "client": _text("event.client"),
    "upstream": _text("event.upstream"),
    "purpose": _text("event.purpose"),
    "service": lambda value, _: Condition("event.service IN (SELECT id FROM service WHERE name = ?)", (value,)),
    "verb": _text("event.verb"),
    "path": _text("event.path"),
    "status": _status,
    "effect": _effect,
    "trace": _id("trace"),
    "session": _id("session"),
    "flow": _id("flow"),
    "approval": _text("event.approval"),
    "kind": _number("kind", dict(KINDS)),
    "stage": _number("stage", dict(STAGES)),
    "since": lambda value, now: Condition("event.ts_us >= ?", (_time(value, now),)),
    "until": lambda value, now: Condition("event.ts_us < ?", (_time(value, now),)),
}
