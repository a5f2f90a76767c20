"""What the store holds, as plain data for REST and for the command line: the same answer from either.

Each function opens a read-only connection, reads in short transactions and closes it. All content was masked before it
was stored. Values are plain JSON types; bytes that are not text arrive as `{"b64": ...}`.
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from addons.core.audit import lineage, search
from addons.core.audit.columns import pack_id
from addons.core.audit.events import text
from addons.core.audit.query import QueryError
from addons.core.audit.reader import Reader
from addons.core.audit.store import StoredEvent, StoreError

PAGE = 200  # events of an export in one read transaction
FORMATS = ("jsonl", "flows")


class NothingThere(Exception):
    """There is no event or flow with this id."""


class Unreadable(Exception):
    """The store cannot be read, or a row is not what its leaf commits to. The text says which."""


def page(store: Path, query: str, limit: int, before: int | None) -> dict[str, Any]:
    """The newest events that match, and the cursor of the next page (None at the end). Raises QueryError or Unreadable."""
    with opened(store) as reader:
        hits = [asdict(hit) for hit in search.search(reader, query, limit, before)]
    return {"events": [_tidy(hit) for hit in hits], "next": hits[-1]["seq"] if len(hits) == limit else None}


def flow(store: Path, id: str) -> dict[str, Any]:
    """One flow whole, or the event of a number with its flow. Raises NothingThere or Unreadable."""
    with opened(store) as reader:
        try:
            view = search.show(reader, id)
        except QueryError as error:
            raise NothingThere(str(error)) from error
    return {"id": view.id, "stage": view.stage, "events": [asdict(event) for event in view.events]}


def tree(store: Path, id: str) -> dict[str, Any]:
    """The task tree of a trace, a session or a flow: branches with flat rows. Raises NothingThere, QueryError or Unreadable."""
    with opened(store) as reader:
        try:
            forest = asdict(lineage.tree(reader, id))
        except lineage.NoSuchTree as error:
            raise NothingThere(str(error)) from error
    for branch in forest["branches"]:
        branch["rows"] = [_tidy(row) for row in branch["rows"]]
    return forest


def sessions(store: Path, query: str) -> list[dict[str, Any]]:
    """Sessions, newest first. Raises QueryError or Unreadable."""
    with opened(store) as reader:
        return [asdict(row) for row in search.sessions(reader, query)]


def exported(store: Path, query: str, format: str) -> Iterator[dict[str, Any]]:
    """Everything a query finds, newest first: `jsonl` events, or `flows` with skeleton and bodies (base64). Raises like `page`."""
    made: Callable[[Reader, list[search.Hit], set[str]], Iterator[dict[str, Any]]] = _flows if format == "flows" else _events
    seen: set[str] = set()
    now, before = time.time(), None
    with opened(store) as reader:
        while True:
            hits = search.search(reader, query, PAGE, before, now=now)
            yield from made(reader, hits, seen)
            if len(hits) < PAGE:
                return
            before = hits[-1].seq


@contextmanager
def opened(store: Path) -> Iterator[Reader]:
    """A reader of the store, closed afterwards. What the store cannot do becomes Unreadable."""
    try:
        with Reader.open(store) as reader:
            yield reader
    except StoreError as error:
        raise Unreadable(str(error)) from error


def _events(reader: Reader, hits: list[search.Hit], seen: set[str]) -> Iterator[dict[str, Any]]:
    places = ", ".join("?" * len(hits))
    for event in reader.events(f"seq IN ({places})", [hit.seq for hit in hits], "seq DESC") if hits else ():
        fields = {name: _readable(value) for name, value in event.fields.items() if name != "skeleton"}
        yield {"seq": event.seq, "leaf": event.leaf.hex(), "core": dict(event.core), "fields": fields}


def _flows(reader: Reader, hits: list[search.Hit], seen: set[str]) -> Iterator[dict[str, Any]]:
    for hit in hits:
        if hit.flow is None or hit.flow in seen:
            continue
        seen.add(hit.flow)
        events = reader.events("flow = ?", (pack_id(hit.flow),))
        skeleton = _first(events, "skeleton")
        if skeleton is not None:
            body, answer = _first(events, "request.body"), _first(events, "response.body") or _streamed(events)
            yield {
                "flow": hit.flow,
                "skeleton": _b64(skeleton),
                "request_body": _b64(body or b""),
                "response_body": None if answer is None else _b64(answer),
                "facts": _facts(events),
            }


def _facts(events: list[StoredEvent]) -> dict[str, Any]:
    """What a flow file says of a flow in its comment: who, why, decided how, and where it stands in the log."""
    core: dict[str, Any] = {}
    for event in events:
        core |= event.core
    names = ("flow", "session", "trace", "service", "verb", "effect", "rules", "approval", "status", "masked")
    facts: dict[str, Any] = {f"guardhouse-{name}": core[name] for name in names if name in core}
    purpose = next((value for value in (search.json_of(event.fields.get("purpose")) for event in events) if isinstance(value, dict)), {})
    who = next((name for name in (search.principal_name(event.fields) for event in events) if name), None)
    facts |= {"guardhouse-principal": who, "guardhouse-purpose": purpose.get("label"), "guardhouse-seq": [event.seq for event in events]}
    return {name: value for name, value in facts.items() if value is not None}


def _first(events: list[StoredEvent], name: str) -> bytes | None:
    return next((event.fields[name] for event in events if name in event.fields), None)


def _streamed(events: list[StoredEvent]) -> bytes | None:
    """The body of an answer that passed as a stream, put together from its chunks; cut where the store's cap cut it."""
    chunks = [event.fields["chunk"] for event in events if event.kind == "chunk" and "chunk" in event.fields]
    return b"".join(chunks) if chunks else None


def _readable(value: bytes) -> Any:
    parsed = search.json_of(value)
    return parsed if isinstance(parsed, dict | list) else text(value)


def _tidy(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without the members that have no value."""
    return {name: value for name, value in row.items() if value not in (None, (), {})}


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
