"""The events of a WebSocket: that it opened, each message as it was passed on or refused, and control frames. Pure; run in a thread.

Each message is one event, durable before the message goes on. What is kept of it was masked for the record, whatever the
client may see. Beyond the cap of a session only the digest and length of a message are kept.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.core.audit.events import Event, json_field, make
from addons.core.audit.traffic import REQUEST_LEVELS, Storage, level_of
from addons.core.exchange import Decision, Exchange, Operation, Redactor

TEXT, BINARY = "text/plain; charset=utf-8", "application/octet-stream"
SIDES = ("client", "upstream", "gateway")


@dataclass(frozen=True, slots=True)
class Seen:
    """One message as the shell saw it."""

    number: int
    side: str  # who said it
    is_text: bool
    content: bytes
    is_passed: bool
    subprotocol: str = ""
    room: int = 0  # bytes that may still be stored of this session
    operation: Operation | None = None
    decision: Decision | None = None
    reason: str = ""  # the code of its refusal
    approval: str | None = None


def message(record: Exchange, seen: Seen, redactor: Redactor) -> Event:
    """The event of one message."""
    storage = Storage(redactor, record.service, seen.room)
    kept, facts = _content(record, seen, storage)
    decision = seen.decision
    core = _core(record) | {
        "verb": "text" if seen.is_text else "binary",
        "protocol": seen.operation.protocol if seen.operation else "websocket",
        "access": sorted(map(str, seen.operation.access)) if seen.operation else None,
        "number": seen.number,
        "side": seen.side,
        "bytes": len(seen.content),
        "passed": seen.is_passed,
        "effect": str(decision.effect) if decision else None,
        "rules": list(decision.rules) if decision else None,
        "approval": seen.approval,
        "masking_complete": storage.complete,
    }
    fields = {
        "chunk": kept,
        "operation": _operation(seen.operation, storage) if seen.operation else None,
        "note": json_field(facts) if facts else None,
        "reason": seen.reason.encode() if seen.reason else None,
    }
    return make("Mark", "ws", core, fields)


def control(record: Exchange, frames: Sequence[Mapping[str, Any]], lost: int, redactor: Redactor) -> Event:
    """Pings and pongs that carried something, since the last event."""
    storage = Storage(redactor, record.service, 0)
    told = [{"frame": one["frame"], "from": one["from"], "payload": _shown(one["payload"], storage)} for one in frames]
    note = {"frames": told, **({"uncounted": lost} if lost else {})}
    core = _core(record) | {"verb": "control", "protocol": "websocket", "masking_complete": storage.complete}
    return make("Mark", "ws", core, {"note": json_field(note)})


def opened(record: Exchange, subprotocol: str, upgraded: Sequence[tuple[str, str]], redactor: Redactor) -> Event:
    """The upgrade is done; its end is told by the flow's terminal event."""
    storage = Storage(redactor, record.service, 0)
    core = _core(record) | {"protocol": "websocket", "verb": "open", "status": 101, "masking_complete": storage.complete}
    headers = storage.json({name.lower(): value for name, value in upgraded})
    return make("ResponseStarted", "http", core, {"response.headers": headers, "note": json_field({"subprotocol": subprotocol})})


def _core(record: Exchange) -> dict[str, Any]:
    trace = record.trace
    return {
        "flow": record.id,
        "snapshot": record.snapshot,
        "session": record.session_id,
        "trace": trace.trace_id if trace else None,
        "span": trace.span_id if trace else None,
        "service": record.service,
    }


def _content(record: Exchange, seen: Seen, storage: Storage) -> tuple[bytes | None, dict[str, Any]]:
    level = level_of(record)
    if level not in REQUEST_LEVELS or (seen.side != "client" and level != "RequestResponse"):
        return None, {"kept": "by its size only"}
    redacted = storage.redactor.redact(seen.content, TEXT if seen.is_text else BINARY, record.service)
    storage.complete = storage.complete and redacted.complete
    if len(redacted.body) <= seen.room:
        return redacted.body, {}
    return None, {"sha256": hashlib.sha256(redacted.body).hexdigest(), "length": len(redacted.body), "truncated": True}


def _shown(payload: bytes, storage: Storage) -> str:
    """A ping's payload is any bytes: text is masked as text, the rest withheld."""
    redacted = storage.redactor.redact(payload, TEXT if _is_text(payload) else BINARY, storage.service)
    storage.complete = storage.complete and redacted.complete
    return redacted.body.decode("utf-8", "backslashreplace")


def _is_text(payload: bytes) -> bool:
    try:
        return payload.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _operation(operation: Operation, storage: Storage) -> bytes:
    told = {
        "protocol": operation.protocol,
        "verb": operation.verb,
        "text": operation.text,
        "resources": list(operation.resources),
        "attributes": dict(operation.attributes),
        "exact": operation.exact,
    }
    return storage.json(told)
