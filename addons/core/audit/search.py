"""Find events by facets, show a flow whole, list sessions. Works on the live store and on a bare file.

What a column can decide is SQL with bound values; the rest (rule, agent, reviewer, attributes, free words) is decided on
the event itself, page by page, newest first, so a read transaction stays short and `limit` ends the work.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.core.audit import canonical
from addons.core.audit.columns import pack_id
from addons.core.audit.events import KINDS, text
from addons.core.audit.query import QueryError, Term, condition, parse
from addons.core.audit.reader import Reader, TamperedError, checked, fetch, parse_core, read_events
from addons.core.audit.store import StoredEvent

PAGE = 500
MAX_LIMIT = 1000
MAX_SCANNED = 500_000  # rows that a query without a usable facet may look at
SCAN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One event that was found, as a line of a list."""

    seq: int
    ts_us: int
    stage: str
    kind: str
    flow: str | None = None
    session: str | None = None
    trace: str | None = None
    approval: str | None = None
    principal: str | None = None  # alias:subject
    purpose: str | None = None
    service: str | None = None
    verb: str | None = None
    path: str | None = None
    status: int | None = None
    effect: str | None = None
    rules: tuple[str, ...] = ()
    masked: Mapping[str, int] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class EventView:
    """One event with everything that is still there, decoded for reading."""

    seq: int
    ts_us: int
    stage: str
    kind: str
    core: Mapping[str, Any]
    fields: Mapping[str, Any]  # JSON where it is JSON, else text, else {"b64": ...}
    erased: tuple[str, ...]
    leaf: str


@dataclass(frozen=True, slots=True)
class FlowView:
    """Everything the log has about one flow (or about one event that belongs to none), oldest first."""

    id: str
    events: tuple[EventView, ...]

    def first(self, name: str) -> Any:
        """The first value of a field or core key, in the order of the events; None when nobody has it."""
        for event in self.events:
            if name in event.fields or name in event.core:
                return event.fields.get(name, event.core.get(name))
        return None

    @property
    def stage(self) -> str:
        """How it ended; "open" when it has not."""
        ends = [event.stage for event in self.events if event.stage not in ("RequestReceived", "ResponseStarted", "Mark")]
        return ends[-1] if ends else "open"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session: who, why, from when to when, and what happened in it."""

    id: str
    principal: str | None
    purpose: str | None
    opened_us: int
    closed_us: int | None
    reason: str | None  # why it was closed; None while it is open
    flows: int
    denials: int


def search(reader: Reader, query: str, limit: int = 50, before: int | None = None, *, now: float | None = None) -> list[Hit]:
    """Return the newest events that match, at most `limit`, with seq below `before`. Raises QueryError (a ValueError) with a sentence."""
    if not 1 <= limit <= MAX_LIMIT:
        raise QueryError(f"The limit is between 1 and {MAX_LIMIT}.")
    terms = parse(query)
    return [_hit(event) for event in _matching(reader, terms, limit, before, time.time() if now is None else now)]


def show(reader: Reader, id: str) -> FlowView:
    """Return a flow by its id, or one event by its seq. Raises QueryError when there is none, TamperedError when a leaf differs."""
    found = _by_seq(reader, int(id)) if id.isascii() and id.isdigit() and len(id) < 19 else reader.events("flow = ?", (pack_id(id),))
    if not found:
        raise QueryError("There is no event or flow with this id.")
    flow = found[0].core.get("flow")
    if len(found) == 1 and isinstance(flow, str) and id != flow:
        found = reader.events("flow = ?", (pack_id(flow),))
    return FlowView(flow if isinstance(flow, str) else id, tuple(_view(event) for event in found))


def sessions(reader: Reader, query: str = "", limit: int = 100, *, now: float | None = None) -> list[SessionRow]:
    """Return sessions, the newest first. The facets are those of `search`, applied to the event that opened the session."""
    terms = [*parse(query), Term("kind", "session"), Term("verb", "opened")]
    opened = _matching(reader, terms, limit, None, time.time() if now is None else now)
    return [_session(reader, event) for event in opened]


def principal_name(fields: Mapping[str, bytes]) -> str | None:
    """How a page names the principal of an event: `alias:subject`."""
    value = json_of(fields.get("principal"))
    if not isinstance(value, dict) or not isinstance(value.get("subject"), str):
        return None
    alias = value.get("issuer_alias") or value.get("issuer")
    return f"{alias}:{value['subject']}"


def json_of(value: bytes | None) -> Any:
    """The parsed JSON of a field, None when it is missing or something else."""
    try:
        return None if value is None else json.loads(value)
    except (ValueError, RecursionError):
        return None


def _matching(reader: Reader, terms: Sequence[Term], limit: int, before: int | None, now: float) -> list[StoredEvent]:
    conditions = [made for made in (condition(term, now) for term in terms) if made is not None]
    where = " AND ".join(["event.seq < ?", *(c.sql for c in conditions)])
    values = [value for c in conditions for value in c.values]
    rest = [term for term in terms if condition(term, now) is None or term.facet == "principal"]
    found: list[StoredEvent] = []
    until, scanned, at = time.monotonic() + SCAN_SECONDS, 0, before or 1 << 62
    while len(found) < limit:
        page = _page(reader, where, [at, *values], words=any(not term.facet for term in rest))
        found += [event for event in page if all(_fits(event, term) for term in rest)]
        scanned += len(page)
        if len(page) < PAGE:
            break
        at = page[-1].seq
        if scanned > MAX_SCANNED or time.monotonic() > until:
            raise QueryError("The query looks at too many events. Add a facet or a time, such as since:1d.")
    return found[:limit]


def _page(reader: Reader, where: str, values: Sequence[Any], *, words: bool) -> list[StoredEvent]:
    with reader.reading(SCAN_SECONDS) as db:
        rows = db.execute(f"SELECT seq, core, leaf, fields FROM event WHERE {where} ORDER BY seq DESC LIMIT {PAGE}", values).fetchall()
        return [event for row in rows for event in _light(db, row, words=words)]


def _light(db: Any, row: tuple[int, bytes, bytes, bytes], *, words: bool) -> Iterator[StoredEvent]:
    """Decode a row, its blobs only when free words must look at them. A row that cannot be read is still listed by its number."""
    seq, core, leaf, packed = row
    try:
        fields = [fetch(db, seq, one) if words else one for one in canonical.unpack(packed)]
        yield StoredEvent(seq, parse_core(core), {f.name: f.value for f in fields if f.value is not None}, leaf)
    except ValueError:
        yield StoredEvent(
            seq, {"stage": "Mark", "kind": "log", "ts_us": 0}, {"reason": b"this row is damaged; run guardhouse verify"}, leaf
        )


def _fits(event: StoredEvent, term: Term) -> bool:
    match term.facet:
        case "principal":
            name = principal_name(event.fields) or ""
            return term.value in (name, name.partition(":")[2]) or name.endswith(":" + term.value)
        case "agent":
            return _acts(json_of(event.fields.get("principal")), term.value)
        case "rule":
            return term.value in event.core.get("rules", ())
        case "masked":
            return term.value in event.core.get("masked", {}) or (term.value == "*" and bool(event.core.get("masked")))
        case "reviewer":
            return term.value in str(json_of(event.fields.get("reviewers")) or "")
        case "":
            return _holds_word(event, term.value.casefold())
    return _attribute(event, term.facet.removeprefix("attr.")) == term.value


def _acts(principal: Any, who: str) -> bool:
    if not isinstance(principal, dict):
        return False
    names = [principal.get("subject")] if principal.get("kind") == "agent" else []
    names += [actor.get("subject") for actor in principal.get("actors", ()) if isinstance(actor, dict)]
    return who in names or who == principal.get("client_id")


def _attribute(event: StoredEvent, name: str) -> str | None:
    for field in ("principal", "operation"):
        value = json_of(event.fields.get(field))
        attributes = value.get("attributes") if isinstance(value, dict) else None
        if isinstance(attributes, dict) and name in attributes:
            return str(attributes[name])
    return None


def _holds_word(event: StoredEvent, word: str) -> bool:
    values = [json.dumps(event.core, ensure_ascii=False), *(value.decode("utf-8", "replace") for value in event.fields.values())]
    return any(word in value.casefold() for value in values)


def _hit(event: StoredEvent) -> Hit:
    core, purpose = event.core, json_of(event.fields.get("purpose"))
    path, reason = event.fields.get("path"), event.fields.get("reason")
    masked = core.get("masked")
    return Hit(
        event.seq, core.get("ts_us", 0), event.stage, event.kind, core.get("flow"), core.get("session"), core.get("trace"), core.get("approval"),
        principal_name(event.fields), purpose.get("label") if isinstance(purpose, dict) else None, core.get("service"), core.get("verb"),
        None if path is None else path.decode("utf-8", "backslashreplace"), core.get("status"), core.get("effect"), tuple(core.get("rules", ())),
        masked if isinstance(masked, dict) else None, None if reason is None else reason.decode("utf-8", "backslashreplace"),
    )  # fmt: skip


def _view(event: StoredEvent) -> EventView:
    fields = {name: _readable(value) for name, value in event.fields.items()}
    erased = tuple(f.name for f in event.committed if f.value is None)
    return EventView(event.seq, event.core.get("ts_us", 0), event.stage, event.kind, event.core, fields, erased, event.leaf.hex())


def _readable(value: bytes) -> Any:
    parsed = json_of(value)
    return parsed if isinstance(parsed, dict | list) else text(value)


def _by_seq(reader: Reader, seq: int) -> list[StoredEvent]:
    return reader.events("seq = ?", (seq,))


def _session(reader: Reader, opened: StoredEvent) -> SessionRow:
    key = pack_id(str(opened.core.get("session")))
    with reader.reading() as db:
        closed = next(
            (checked(e) for e in read_events(db, f"session = ? AND kind = {KINDS['session']} AND seq > ?", (key, opened.seq), "seq", 1)),
            None,
        )
        until = closed.seq if closed else 1 << 62
        flows, denials = db.execute(
            "SELECT count(*), count(*) FILTER (WHERE stage = 4) FROM event WHERE session = ? AND seq > ? AND seq < ? AND stage BETWEEN 3 AND 7",
            (key, opened.seq, until),
        ).fetchone()
    hit = _hit(opened)
    closed_us = closed.core.get("ts_us") if closed else None
    reason = closed.fields.get("reason", b"").decode("utf-8", "replace") if closed else None
    return SessionRow(str(opened.core.get("session")), hit.principal, hit.purpose, hit.ts_us, closed_us, reason, flows, denials)


__all__ = ["EventView", "FlowView", "Hit", "QueryError", "SessionRow", "TamperedError", "search", "sessions", "show"]
