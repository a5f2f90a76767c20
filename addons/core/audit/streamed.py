"""The events of a streamed answer: that it began, and what is said of the whole at its end. Pure; see `traffic` for the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from addons.core.audit import traffic
from addons.core.audit.events import Event, json_field, make
from addons.core.audit.traffic import Message, Seen, Storage
from addons.core.exchange import Exchange, Redactor


def started(record: Exchange, seen: Seen, status: int, redactor: Redactor) -> Event:
    """The event that must be durable before the first piece leaves."""
    storage = Storage(redactor, record.service, 0)
    bare = replace(seen, received=None, sent=None, skeleton=None)
    fields = traffic.response_fields(record, without_body(bare), storage)
    core = {**traffic.core_of(record, seen.method), "status": status, "masking_complete": storage.complete}
    return make("ResponseStarted", "http", core, {"response.headers": fields.get("response.headers")})


def chunk_core(record: Exchange) -> dict[str, Any]:
    """What each chunk says of where it belongs."""
    trace = record.trace
    told = {
        "flow": record.id,
        "session": record.session_id,
        "trace": trace.trace_id if trace else None,
        "span": trace.span_id if trace else None,
        "service": record.service,
        "verb": "chunk",
    }
    return {name: value for name, value in told.items() if value is not None}


def without_body(seen: Seen) -> Seen:
    """The body of a stream stands in its chunks."""
    return seen if seen.response is None else replace(seen, response=replace(seen.response, body=b""))


def ended(event: Event, facts: Mapping[str, Any], trailers: Sequence[tuple[str, str]], redactor: Redactor, service: str | None) -> Event:
    """The terminal event, with what is said of the whole stream in place of a body."""
    fields = {name: value for name, value in event.fields.items() if name != "response.body"}
    fields["response.digest"] = json_field(dict(facts))
    if trailers:
        storage = Storage(redactor, service, 0)
        bare = Seen("GET", Message(), response=Message(trailers))
        shown = traffic.response_fields(Exchange(service=service), bare, storage).get("response.headers")
        fields["response.trailers"] = shown or b"{}"
    return replace(event, fields=fields)
