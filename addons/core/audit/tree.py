"""The task tree: which request led to which, from W3C trace context, then by session and purpose.

Pure: `grow` turns events into a forest, and says what does not fit. A parent counts as verified when the log itself shows
that its span was issued to somebody the child acts for (its subject, an actor of its chain, its owner); any other parent
is a claim of the caller, and is drawn dashed. Rows come flat and in drawing order, each with its depth: a caller chooses
how deep a chain of spans gets, and a nested answer would break whoever reads it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from addons.core.audit.search import json_of, principal_name
from addons.core.audit.store import StoredEvent

ORPHAN = "orphan-parent"  # names a span that the log does not have
NO_TERMINAL = "no-terminal"  # under way, or its end was never written
CLOCK = "clock-backwards"  # ends before it began, or begins before its parent
IDENTITY = "identity-change"  # another principal than the parent's (or the trace's first), without a verified link
UNVERIFIED = "unverified-child"  # the parent span was not issued to anybody the caller acts for
ROOTS = "more-than-one-root"  # of a trace
GAP = "sequence-gap"  # of the log, in the range of this tree
LOOP = "loop"  # spans that are each other's ancestors: nobody's gateway writes that


@dataclass(frozen=True, slots=True)
class Row:
    """One flow, in drawing order. A dashed row hangs below a parent that is only claimed."""

    depth: int
    flow: str
    trace: str | None
    span: str | None
    parent: str | None
    is_dashed: bool
    flags: tuple[str, ...]
    seq: int
    ts_us: int
    session: str | None = None
    purpose: str | None = None
    principal: str | None = None  # alias:subject
    kind: str | None = None
    actors: tuple[str, ...] = ()
    service: str | None = None
    operation: str = ""
    effect: str | None = None
    rules: tuple[str, ...] = ()
    approval: str | None = None
    hold: tuple[str, ...] = ()  # what happened to the approval, in order
    reviewers: tuple[str, ...] = ()
    masked: Mapping[str, int] = field(default_factory=dict)
    stage: str = "open"
    status: int | None = None
    reason: str | None = None
    dur_us: int | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """One trace, filed under the session and the purpose of its first flow."""

    session: str | None
    purpose: str | None
    trace: str | None
    flags: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Forest:
    """What was asked for, and the branches in the order of their sessions."""

    id: str
    what: str  # trace | session | flow
    flags: tuple[str, ...]
    missing: int  # events of the range that the log should have and has not
    branches: tuple[Branch, ...]


@dataclass(slots=True)
class Flow:
    """The events of one flow, gathered."""

    id: str
    core: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, bytes] = field(default_factory=dict)
    seq: int = 0
    begins: int = 0
    stage: str = "open"
    is_backwards: bool = False
    hold: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    is_dashed: bool = False

    def text(self, name: str) -> str | None:
        """A word of the core."""
        value = self.core.get(name)
        return value if isinstance(value, str) else None

    @property
    def principal(self) -> Mapping[str, Any]:
        """Who asked, as the log has it."""
        value = json_of(self.fields.get("principal"))
        return value if isinstance(value, dict) else {}

    @property
    def who(self) -> tuple[Any, Any]:
        """The subject's key."""
        return self.principal.get("issuer"), self.principal.get("subject")

    @property
    def purpose(self) -> str | None:
        """The label."""
        value = json_of(self.fields.get("purpose"))
        label = value.get("label") if isinstance(value, dict) else None
        return label if isinstance(label, str) else None


def grow(id: str, what: str, events: Sequence[StoredEvent], missing: int = 0) -> Forest:
    """Return the forest of these events (any order). `missing` is how many the log lacks in their range."""
    flows = gather(events)
    traces: dict[str | None, list[Flow]] = defaultdict(list)
    for flow in flows:
        traces[flow.text("trace") or f"flow {flow.id}"].append(flow)
    branches = [_branch(group) for group in traces.values()]
    order = {session: at for at, session in enumerate(dict.fromkeys((branch.session, branch.purpose) for branch in branches))}
    branches.sort(key=lambda branch: order[branch.session, branch.purpose])
    return Forest(id, what, (GAP,) if missing else (), missing, tuple(branches))


def gather(events: Iterable[StoredEvent]) -> list[Flow]:
    """Flows in the order in which they began. What tells of a flow beside it (its approval) adds to its hold."""
    flows: dict[str, Flow] = {}
    beside: list[StoredEvent] = []
    for event in sorted(events, key=lambda one: one.seq):
        if event.stage == "Mark":
            beside.append(event)
            continue
        id = event.core.get("flow")
        if not isinstance(id, str):
            continue
        flow = flows.setdefault(id, Flow(id, seq=event.seq, begins=_moment(event)))
        flow.is_backwards = flow.is_backwards or _moment(event) < flow.begins
        flow.core |= event.core
        for name, value in event.fields.items():
            flow.fields.setdefault(name, value)
        if event.is_terminal:
            flow.stage = event.stage
    for event in beside:
        if event.kind == "approval" and (asked := flows.get(str(event.core.get("flow")))) is not None:
            asked.core.setdefault("approval", event.core.get("approval"))
    for flow in flows.values():
        for event in beside:
            if event.kind == "approval" and event.core.get("approval") == flow.core.get("approval"):
                _tell(flow, event)
    return list(flows.values())


def _tell(flow: Flow, event: StoredEvent) -> None:
    """Add what happened to the approval of a flow, and who voted."""
    flow.hold.append(str(event.core.get("verb", "")))
    voters = json_of(event.fields.get("reviewers"))
    flow.reviewers += [str(one) for one in voters if str(one) not in flow.reviewers] if isinstance(voters, list) else []


def is_verified(child: Flow, parent: Flow) -> bool:
    """True when the parent's span was issued to somebody the child acts for (addons.core.sessions.trace says the same of live flows)."""
    actors = _actors(parent)
    acting = (actors[0].get("issuer"), actors[0].get("subject")) if actors else parent.who
    people = [child.who, *((one.get("issuer"), one.get("subject")) for one in _actors(child))]
    if None in acting:
        return False
    return acting in people or (not actors and child.principal.get("owner") == principal_name(parent.fields))


def _branch(flows: list[Flow]) -> Branch:
    """One trace: link the spans, flag what does not fit, put the rows in order."""
    spans: dict[str, Flow] = {}
    for flow in flows:
        if span := flow.text("span"):
            spans.setdefault(span, flow)
    children: dict[str, list[Flow]] = defaultdict(list)
    tops: list[Flow] = []
    for flow in flows:
        parent = spans.get(flow.text("parent") or "")
        _judge(flow, None if parent is flow else parent, flows[0])
        if parent is None or parent is flow:
            tops.append(flow)
        else:
            children[parent.id].append(flow)
    claimed = {flow.text("parent") for flow in tops}
    rows = _ordered(tops, children)
    lost = [flow for flow in flows if flow.id not in {row.flow for row in rows}]
    for flow in lost:
        flow.flags.append(LOOP)
    rows += [_row(flow, 0) for flow in lost]
    first = flows[0]
    several = len([flow for flow in tops if not flow.text("parent")]) + len(claimed - {None}) > 1
    return Branch(first.text("session"), first.purpose, first.text("trace"), (ROOTS,) if several else (), tuple(rows))


def _judge(flow: Flow, parent: Flow | None, first: Flow) -> None:
    """Flag what does not fit about one flow."""
    is_child = parent is not None and is_verified(flow, parent)
    reference = parent or first
    if flow.text("parent") and parent is None:
        flow.flags.append(ORPHAN)
    if flow.text("parent") and not is_child:
        flow.flags.append(UNVERIFIED)
        flow.is_dashed = True
    if reference is not flow and not is_child and flow.who != reference.who:
        flow.flags.append(IDENTITY)
    if flow.stage == "open":
        flow.flags.append(NO_TERMINAL)
    if flow.is_backwards or (parent is not None and flow.begins < parent.begins):
        flow.flags.append(CLOCK)


def _ordered(tops: list[Flow], children: Mapping[str, list[Flow]]) -> list[Row]:
    """Depth first, oldest first, without recursion."""
    rows: list[Row] = []
    waiting = [(flow, 0) for flow in reversed(tops)]
    while waiting:
        flow, depth = waiting.pop()
        rows.append(_row(flow, depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(flow.id, []))]
    return rows


def _row(flow: Flow, depth: int) -> Row:
    core, principal = flow.core, flow.principal
    rules, masked = core.get("rules"), core.get("masked")
    operation = json_of(flow.fields.get("operation"))
    told = operation.get("text") if isinstance(operation, dict) else None
    path = flow.fields.get("path", b"").decode("utf-8", "backslashreplace")
    reason = flow.fields.get("reason")
    return Row(
        depth=depth, flow=flow.id, trace=flow.text("trace"), span=flow.text("span"), parent=flow.text("parent"), is_dashed=flow.is_dashed,
        flags=tuple(flow.flags), seq=flow.seq, ts_us=flow.begins, session=flow.text("session"), purpose=flow.purpose,
        principal=principal_name(flow.fields), kind=str(principal["kind"]) if "kind" in principal else None,
        actors=tuple(_name(one, principal) for one in _actors(flow)), service=flow.text("service"),
        operation=told if isinstance(told, str) else f"{core.get('verb', '')} {path}".strip(), effect=flow.text("effect"),
        rules=tuple(str(rule) for rule in rules) if isinstance(rules, list) else (), approval=flow.text("approval"), hold=tuple(flow.hold),
        reviewers=tuple(flow.reviewers), masked=masked if isinstance(masked, dict) else {},
        stage=flow.stage, status=_number(core.get("status")), reason=None if reason is None else reason.decode("utf-8", "backslashreplace"),
        dur_us=_number(core.get("dur_us")),
    )  # fmt: skip


def _actors(flow: Flow) -> list[Mapping[str, Any]]:
    told = flow.principal.get("actors")
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def _name(actor: Mapping[str, Any], principal: Mapping[str, Any]) -> str:
    alias = principal.get("issuer_alias") if actor.get("issuer") == principal.get("issuer") else actor.get("issuer")
    return f"{alias}:{actor.get('subject')}"


def _moment(event: StoredEvent) -> int:
    return _number(event.core.get("ts_us")) or 0


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
