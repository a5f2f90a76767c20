"""What we know about one request: the record that travels from addon to addon.

mitmproxy keeps it under one key of `flow.metadata` as plain data; code sees the typed `Exchange` through `read`
and `write`. Each field has exactly one writer (named beside it). Secrets and bodies never enter it, and what it
says is trusted only within the flow that wrote it: metadata of a loaded or replayed flow comes from a file, so the
guard wipes it when it first sees a flow.

The types that several areas share (Principal, Operation, Decision ...) stand here, at the bottom of the layers, so
that areas meet in this file and not in each other.
"""

import copy
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, Protocol

KEY = "guardhouse"


class Access(StrEnum):
    """What an operation does to what it touches. What cannot be parsed is `unknown`."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    SCHEMA = "schema"
    ADMIN = "admin"
    EXECUTE = "execute"
    TRANSFER = "transfer"
    CONNECT = "connect"
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """What policy says of an operation."""

    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that somebody wants to do, whatever the protocol (DESIGN.md section 5)."""

    protocol: str
    verb: str
    text: str
    access: frozenset[Access]
    resources: tuple[str, ...]
    attributes: Mapping[str, Any]
    children: tuple["Operation", ...] = ()
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts for somebody else (RFC 8693 `act`)."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, verified. A person's key is (issuer, subject); names and e-mail addresses are never keys."""

    issuer: str
    issuer_alias: str
    subject: str
    kind: str = "service"  # human | service | agent | ci | workload
    client_id: str | None = None
    groups: tuple[str, ...] = ()  # each prefixed "alias:"
    actors: tuple[Actor, ...] = ()  # the current actor first
    owner: str | None = None  # "alias:subject" of the person answerable for an agent or key
    related: tuple[str, ...] = ()  # further people for four-eyes, "alias:subject"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    auth_time: float | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()
    token_id: str = ""
    method: str = "jwt"  # jwt | api_key | mtls | introspection | saml
    expires_at: float = 0.0

    @property
    def person(self) -> str:
        """The form in which files and pages name somebody: `alias:subject`, split at the first colon."""
        return f"{self.issuer_alias}:{self.subject}"

    @property
    def key(self) -> str:
        """The unambiguous key of this principal, for rows and look-ups."""
        return f"{self.issuer}\n{self.subject}"

    @property
    def asker_key(self) -> str:
        """`key`, and who acts for them: alice herself and an agent that acts for alice ask as two."""
        return "\n".join([self.key, *(f"{actor.issuer}\n{actor.subject}" for actor in self.actors)])


@dataclass(frozen=True, slots=True)
class Trace:
    """Where the request stands in a W3C trace. `span_id` is ours; `parent_id` is what the caller sent."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    verified: bool = False  # the parent span was issued by us to somebody this principal acts for


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy decided, by which rules, and what it obliges us to do."""

    effect: Effect
    rules: tuple[str, ...] = ()  # names of the rules that decided, sorted
    masks: tuple[str, ...] = ()  # profiles that apply to the answer, sorted; the obligation to mask
    approvals: tuple[str, ...] = ()  # keys of approvals.yaml named by the matching hold rules, sorted
    reasons: tuple[str, ...] = ()  # the rules' own sentences, for people
    audit_level: str = "RequestResponse"
    policy_digest: str = ""
    observed: str | None = None  # in observe mode: the effect it would have had


@dataclass(frozen=True, slots=True)
class HoldState:
    """The hold a request met, as far as the flow is concerned."""

    id: str
    state: str
    digest: str
    reviewers: tuple[str, ...] = ()
    reason: str | None = None
    decided_at: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended."""

    status: int
    code: str | None = None  # slug of core.errors when we refused
    bytes: int = 0


@dataclass(slots=True)
class Exchange:
    """The record of one request. See the writer beside each field."""

    id: str = ""  # guard (uuid7)
    started_at: float = 0.0  # guard (unix seconds)
    snapshot: str = ""  # guard (digest of the pinned Snapshot)
    service: str | None = None  # routing
    operation: Operation | None = None  # routing
    principal: Principal | None = None  # identity
    replay_of: str | None = None  # identity (investigators only)
    session_id: str | None = None  # session
    purpose: str = ""  # session
    purpose_source: str = "none"  # session: claim | header | baggage | none
    purpose_conflict: str | None = None  # session
    purpose_detail: str | None = None  # session (untrusted free text; its hash is part of the approval digest)
    trace: Trace | None = None  # session
    decision: Decision | None = None  # policy
    hold: HoldState | None = None  # approval
    masked: dict[str, int] = field(default_factory=dict)  # masking
    masking_complete: bool = True  # masking
    receipt: list[dict[str, Any]] = field(default_factory=list)  # masking: entries, never a value
    fields_seen: dict[str, int] = field(default_factory=dict)  # masking
    notes: list[str] = field(default_factory=list)  # anybody: short ids of oddities, e.g. "stripped:x-remote-user"
    outcome: Outcome | None = None  # refuse | audit


class Redactor(Protocol):
    """Makes the masked form of anything that is stored, shown or logged (design/masking.md 3.10)."""

    def redact(self, data: bytes, media_type: str | None, service: str | None) -> "Redacted":
        """Mask a body (already content-decoded). Never raises for bad data: what it cannot mask is withheld."""

    def redact_text(self, text: str, service: str | None) -> str:
        """Mask a line of hostile text: a path, header value, error text or log line."""

    def is_quick(self, data: bytes, media_type: str | None, service: str | None) -> bool:
        """Whether `redact` may be asked for this in the event loop; else it belongs into a thread."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A masked copy. `complete` is False when something was withheld instead of masked."""

    body: bytes
    counts: Mapping[str, int] = field(default_factory=dict)
    complete: bool = True


class Written(dict[str, Any]):
    """The plain record of a flow, made out of the typed one when somebody looks; `read` and `write` alone do not.

    Nobody looks at most flows: encoding each of a dozen writes cost more than the steps that wrote. Once it was looked at
    it is an ordinary dict, and what is in it counts.
    """

    __slots__ = ("typed",)

    def __init__(self, typed: Exchange) -> None:
        super().__init__(id=typed.id)  # never empty: code in C looks at the size before it asks for anything
        self.typed: Exchange | None = typed

    def made(self) -> dict[str, Any]:
        """The plain record, which from now on is all there is."""
        if self.typed is not None:
            typed, self.typed = self.typed, None
            super().update(encode(typed))
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return copy.deepcopy(dict(self.made()), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (dict, (dict(self.made()),))


def _looked_at(name: str) -> Callable[..., Any]:
    plain = getattr(dict, name)

    def looked(self: Written, *args: Any, **kwargs: Any) -> Any:
        self.made()
        return plain(self, *args, **kwargs)

    return looked


for _name in (
    "__getitem__", "__setitem__", "__delitem__", "__contains__", "__iter__", "__reversed__", "__len__", "__repr__", "__eq__", "__ne__",
    "__or__", "__ror__", "__ior__", "get", "keys", "values", "items", "pop", "popitem", "setdefault", "update", "clear", "copy",
):  # fmt: skip
    setattr(Written, _name, _looked_at(_name))


def read(metadata: Mapping[Any, Any]) -> Exchange:
    """Return the typed record of a flow. A missing record raises KeyError: the guard opens it before any shell runs."""
    data = metadata[KEY]
    typed = data.typed if type(data) is Written else None
    return decode(data) if typed is None else _copy(typed)


def write(metadata: MutableMapping[Any, Any], record: Exchange) -> None:
    """Put the record back as plain data (dict, list, str, int, float, bool, None: anything else breaks saving)."""
    old = metadata.get(KEY)
    before = old.typed if type(old) is Written else None
    made = _copy(record)
    if made.operation is not None and (before is None or made.operation is not before.operation):
        made.operation = operation_from(_plain(made.operation))
    if made.principal is not None and (before is None or made.principal is not before.principal):
        made.principal = _plain_principal(made.principal)
    metadata[KEY] = Written(made)


def encode(record: Exchange) -> dict[str, Any]:
    """Return the record as plain data."""
    return _members(record)


def decode(data: Mapping[str, Any]) -> Exchange:
    """Return the record that `encode` made. Unknown members raise TypeError."""
    record = Exchange(**{name: data[name] for name in data})
    record.operation = None if data.get("operation") is None else operation_from(data["operation"])
    record.principal = None if data.get("principal") is None else principal_from(data["principal"])
    record.trace = None if data.get("trace") is None else Trace(**data["trace"])
    record.decision = None if data.get("decision") is None else _decision_from(data["decision"])
    record.hold = None if data.get("hold") is None else _hold_from(data["hold"])
    record.outcome = None if data.get("outcome") is None else Outcome(**data["outcome"])
    for name in ("masked", "receipt", "fields_seen", "notes"):
        setattr(record, name, type(getattr(record, name))(getattr(record, name)))
    return record


def operation_from(data: Mapping[str, Any]) -> Operation:
    """Rebuild an operation from plain data."""
    return Operation(
        protocol=data["protocol"],
        verb=data["verb"],
        text=data["text"],
        access=frozenset(Access(name) for name in data["access"]),
        resources=tuple(data["resources"]),
        attributes=dict(data["attributes"]),
        children=tuple(operation_from(child) for child in data["children"]),
        exact=data["exact"],
    )


def principal_from(data: Mapping[str, Any]) -> Principal:
    """Rebuild a principal from plain data."""
    values = {f.name: data[f.name] for f in fields(Principal) if f.name in data}
    for name in ("groups", "related", "amr"):
        values[name] = tuple(values.get(name, ()))
    values["actors"] = tuple(Actor(**actor) for actor in data.get("actors", ()))
    return Principal(**values)


def _decision_from(data: Mapping[str, Any]) -> Decision:
    values = dict(data)
    values["effect"] = Effect(data["effect"])
    for name in ("rules", "masks", "approvals", "reasons"):
        values[name] = tuple(values[name])
    return Decision(**values)


def _hold_from(data: Mapping[str, Any]) -> HoldState:
    return HoldState(**{**data, "reviewers": tuple(data["reviewers"])})


def _members(value: Any) -> dict[str, Any]:
    """The members of a dataclass as plain data. `dataclasses.asdict` copies everything deeply and costs five times as much."""
    kind = type(value)
    names = _NAMES.get(kind)
    if names is None:
        names = _NAMES[kind] = tuple(one.name for one in fields(kind))
    return {name: _plain(getattr(value, name)) for name in names}


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if kind is dict:
        return {str(name): _plain(item) for name, item in value.items()}
    if kind in _NAMES or is_dataclass(value):
        return _members(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return str(value)
    return value


def _plain_principal(principal: Principal) -> Principal:
    """The principal as it will be read from the plain record. Remembered: one comes with every request of its token."""
    known = _PRINCIPALS.get(id(principal))
    if known is not None and known[0] is principal:
        return known[1]
    made = principal_from(_plain(principal))
    if len(_PRINCIPALS) >= MOST_PRINCIPALS:
        _PRINCIPALS.clear()
    _PRINCIPALS[id(principal)] = (principal, made)
    return made


def _copy(record: Exchange) -> Exchange:
    """A record of its own: nothing that a step changes in it is seen before it is written."""
    made = Exchange(*_VALUES(record))
    made.masked = dict(made.masked) if made.masked else {}
    made.receipt = [dict(row) for row in made.receipt] if made.receipt else []
    made.fields_seen = dict(made.fields_seen) if made.fields_seen else {}
    made.notes = list(made.notes) if made.notes else []
    return made


_SCALARS = frozenset({str, int, float, bool, type(None)})
_NAMES: dict[type, tuple[str, ...]] = {}
_MEMBERS = tuple(one.name for one in fields(Exchange))
_VALUES = attrgetter(*_MEMBERS)
MOST_PRINCIPALS = 256
_PRINCIPALS: dict[int, tuple[Principal, Principal]] = {}  # by id of a principal, which is held and so keeps it
