"""The events of a flow, from its Exchange and from what the shell saw of the messages. Pure, and slow on large bodies: run it in a thread.

Everything a caller or an upstream chose goes through the Redactor before it is in an event, also in the answer that
masking has already changed: what may be shown to one principal need not be kept. What the Redactor cannot mask it
withholds, and the event says so (`masking_complete: false`). `is_quick` says when no thread is needed.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from addons.core.audit import blobs
from addons.core.audit.events import Event, json_field, make
from addons.core.errors import CODES, GuardhouseError
from addons.core.exchange import Exchange, Redacted, Redactor
from addons.core.wire.field_names import stored_name
from addons.core.wire.plain_fields import is_plain

WITHHELD = "<withheld>"
METHODS = frozenset(
    {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"}
)  # any other may be a value: a core cannot be erased
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "dpop"})
QUICK = 4 << 10  # characters of heads, the two of a browser's exchange: all that is cold in them takes a few milliseconds
MAX_PRINCIPALS = 256
_PRINCIPALS: dict[int, tuple[Any, bytes]] = {}  # by id of the principal, which is held and so keeps its id
REQUEST_LEVELS = frozenset({"Request", "RequestResponse"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the shell saw it. `body` is content-decoded; None when it cannot be decoded, and then it is withheld."""

    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = b""
    media_type: str | None = None
    path: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the shell adds to the Exchange: facts of the connection and the messages, still unmasked."""

    method: str
    request: Message
    client: Mapping[str, Any] = field(default_factory=dict)
    upstream: Mapping[str, Any] = field(default_factory=dict)
    response: Message | None = None
    received: Mapping[str, Any] | None = None  # HMAC and length of the raw answer
    sent: Mapping[str, Any] | None = None  # the same of the raw request body that went upstream
    skeleton: Callable[[Callable[[str], str]], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a flow ended."""

    stage: str
    status: int | None = None
    size: int = 0
    dur_us: int = 0
    refusal: GuardhouseError | None = None
    reason: str = ""


@dataclass(slots=True)
class Storage:
    """The storage mask of one event: remembers whether anything had to be withheld."""

    redactor: Redactor
    service: str | None
    cap: int
    complete: bool = True

    def text(self, value: str) -> str:
        """A masked line."""
        return self.redactor.redact_text(value, self.service)

    def json(self, value: Any) -> bytes:
        """A masked structure."""
        return self._kept(self.redactor.redact(json_field(value), "application/json", self.service))

    def headers(self, message: Message) -> bytes:
        """The masked fields of a head. What is new with every message and holds nothing is set aside, so that the rest is masked once."""
        found = _headers(message, self)
        aside = {name: values for name, values in found.items() if all(is_plain(name, value) for value in values)}
        masked = self.json({name: values for name, values in found.items() if name not in aside})
        if not aside or masked[:1] != b"{":
            return masked
        return json_field({**json.loads(masked), **aside})

    def body(self, message: Message) -> tuple[bytes | None, dict[str, Any]]:
        """A masked body as it is kept, and what its whole was."""
        if message.body is None:
            self.complete = False
            return None, {"withheld": True}
        whole = self._kept(self.redactor.redact(message.body, message.media_type, self.service)) if message.body else b""
        kept, is_cut = blobs.capped(whole, self.cap)
        facts = {"sha256": hashlib.sha256(whole).hexdigest(), "length": len(whole)}
        return kept or None, {**facts, "truncated": True} if is_cut else facts

    def _kept(self, redacted: Redacted) -> bytes:
        self.complete = self.complete and redacted.complete
        return redacted.body


def is_quick(seen: Seen, redactor: Redactor, service: str | None) -> bool:
    """Whether the events of this flow may be built in the event loop: its heads are small, and its bodies are small or were masked lately."""
    messages = [seen.request] if seen.response is None else [seen.request, seen.response]
    if (
        sum(len(name) + len(value) for one in messages for name, value in one.headers) + len(seen.request.path) + len(seen.request.query)
        > QUICK
    ):
        return False
    return all(redactor.is_quick(one.body or b"", one.media_type, service) for one in messages)


def intent(record: Exchange, seen: Seen, redactor: Redactor, cap: int) -> Event:
    """The event that must be durable before a byte goes upstream."""
    storage = Storage(redactor, record.service, cap)
    fields = request_fields(record, seen, storage)
    return make("RequestReceived", "http", {**core_of(record, seen.method), "masking_complete": storage.complete}, fields)


def terminal(record: Exchange, seen: Seen, ending: Ending, redactor: Redactor, cap: int, *, has_intent: bool) -> Event:
    """The one event that ends a flow. Without an intent it also says what was asked."""
    storage = Storage(redactor, record.service, cap)
    fields = {} if has_intent else request_fields(record, seen, storage)
    fields |= who(record, seen, storage) | response_fields(record, seen, storage) | _why(record, ending, storage)
    core = core_of(record, seen.method) | {
        "status": ending.status,
        "bytes": ending.size,
        "dur_us": ending.dur_us,
        "masked": dict(record.masked) or None,
        "masking_complete": record.masking_complete and storage.complete,
    }
    return make(ending.stage, "http", core, fields)


def core_of(record: Exchange, method: str) -> dict[str, Any]:
    """What every event of a flow says, never personal. None is left out."""
    operation, decision, trace = record.operation, record.decision, record.trace
    return {
        "flow": record.id,
        "snapshot": record.snapshot,
        "session": record.session_id,
        "trace": trace.trace_id if trace else None,
        "span": trace.span_id if trace else None,
        "parent": trace.parent_id if trace else None,
        "service": record.service,
        "protocol": operation.protocol if operation else "http",
        "verb": _word(operation.verb) if operation else method if method in METHODS else "unknown",
        "access": sorted(str(a) for a in operation.access) if operation else None,
        "effect": str(decision.effect) if decision else None,
        "rules": list(decision.rules) if decision else None,
        "policy_digest": decision.policy_digest or None if decision else None,
        "obligations": list(decision.masks) if decision else None,
        "approval": record.hold.id if record.hold else None,
        "ref": record.replay_of,
    }


def who(record: Exchange, seen: Seen, storage: Storage) -> dict[str, bytes | None]:
    """The fields that searches ask for, on the first event of a flow and on its last."""
    principal = record.principal
    return {
        "principal": _principal_field(record) if principal else None,
        "purpose": _purpose_field(record.purpose, record.purpose_source, record.purpose_conflict) if record.purpose else None,
        "client": storage.json(seen.client),
        "path": storage.text(seen.request.path).encode("utf-8", "backslashreplace"),
    }


def request_fields(record: Exchange, seen: Seen, storage: Storage) -> dict[str, bytes | None]:
    """Everything about the request that is kept at this flow's level."""
    fields = who(record, seen, storage) | {
        "upstream": json_field(seen.upstream) if seen.upstream else None,
        "query": storage.text(seen.request.query).encode("utf-8", "backslashreplace") if seen.request.query else None,
        "operation": _operation(record, storage),
        "request.headers": storage.headers(seen.request),
    }
    if level_of(record) in REQUEST_LEVELS:
        fields["request.body"], facts = storage.body(seen.request)
        if facts.get("truncated") or facts.get("withheld"):
            fields["note"] = json_field({"request.body": facts})
    return fields


def response_fields(record: Exchange, seen: Seen, storage: Storage) -> dict[str, bytes | None]:
    """Everything about the answer, as the client got it, that is kept at this flow's level."""
    fields: dict[str, bytes | None] = {
        "request.sent": json_field(seen.sent) if seen.sent else None,
        "response.received": json_field(seen.received) if seen.received else None,
        "fields_seen": storage.json(record.fields_seen) if record.fields_seen else None,
    }
    if seen.response is None:
        return fields
    fields["response.headers"] = storage.headers(seen.response)
    body, facts = storage.body(seen.response)
    fields["response.digest"] = json_field(facts)
    if level_of(record) == "RequestResponse":
        fields["response.body"] = body
    fields["skeleton"] = seen.skeleton(storage.text) if seen.skeleton else None
    return fields


def level_of(record: Exchange) -> str:
    """Which bodies are kept. A flow that was refused before policy keeps none."""
    return record.decision.audit_level if record.decision else "Metadata"


def principal_of(record: Exchange) -> dict[str, Any]:
    """Who asked, as the log keeps it: enough to answer for it, without token ids of other issuers' making."""
    p = record.principal
    assert p is not None
    said: dict[str, Any] = {
        "issuer": p.issuer, "issuer_alias": p.issuer_alias, "subject": p.subject, "kind": p.kind, "client_id": p.client_id, "groups": list(p.groups),
        "actors": [{"issuer": a.issuer, "subject": a.subject} for a in p.actors], "owner": p.owner, "method": p.method, "token_id": p.token_id,
        "acr": p.acr, "attributes": dict(p.attributes),
    }  # fmt: skip
    return {name: value for name, value in said.items() if value}


def _principal_field(record: Exchange) -> bytes:
    """The principal as a field. One comes with every request of a token, as the very same object, so the bytes are remembered."""
    known = _PRINCIPALS.get(id(record.principal))
    if known is not None and known[0] is record.principal:
        return known[1]
    made = json_field(principal_of(record))
    if len(_PRINCIPALS) >= MAX_PRINCIPALS:
        _PRINCIPALS.clear()
    _PRINCIPALS[id(record.principal)] = (record.principal, made)
    return made


@lru_cache(maxsize=1024)
def _purpose_field(label: str, source: str, conflict: str | None) -> bytes:
    told = {"label": label, "source": source, "conflict": conflict}
    return json_field({name: value for name, value in told.items() if value})


def ending_of(refusal: GuardhouseError) -> str:
    """The stage of a flow that we answered with a refusal: whose fault it was."""
    if refusal.code == "shutting-down":
        return "Interrupted"
    return {"caller": "Denied", "policy": "Denied", "upstream": "Failed"}.get(CODES[refusal.code].fault, "Panic")


def proof(key: bytes, raw: bytes) -> dict[str, Any]:
    """What is kept of bytes that must not be stored: a keyed digest and their length (design/audit.md 3.4)."""
    return {"hmac": "hmac-sha-256:" + hmac.digest(key, raw, "sha256").hex(), "bytes": len(raw)}


def _why(record: Exchange, ending: Ending, storage: Storage) -> dict[str, bytes | None]:
    refusal = ending.refusal
    note: dict[str, Any] = {"notes": list(record.notes), "receipt": list(record.receipt)}
    if refusal is not None and refusal.detail:
        note["detail"] = storage.text(refusal.detail)
    if record.decision is not None and record.decision.observed:
        note["observed"] = record.decision.observed
    note = {name: value for name, value in note.items() if value}
    reason = refusal.code if refusal is not None else ending.reason
    reviewers = record.hold.reviewers if record.hold else ()
    return {
        "reason": reason.encode() if reason else None,
        "note": json_field(note) if note else None,
        "reviewers": json_field(list(reviewers)) if reviewers else None,
    }


def _operation(record: Exchange, storage: Storage) -> bytes | None:
    operation = record.operation
    if operation is None:
        return None
    told = {
        "text": operation.text,
        "resources": list(operation.resources),
        "attributes": dict(operation.attributes),
        "exact": operation.exact,
    }
    return storage.json(told)


def _headers(message: Message, storage: Storage) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for sent, value in message.headers:
        shown = stored_name(sent, storage.text)
        name = sent.lower() if shown == sent else shown
        found.setdefault(name, []).append(WITHHELD if name in SECRET_HEADERS else value)
    return found


def _word(value: str) -> str:
    """A verb as the core may hold it: the caller chose it, so it is cut and made printable."""
    return json.dumps(value)[1:-1][:64]
