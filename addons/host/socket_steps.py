"""What each step of the chain does with one WebSocket message: values moved between the Socket and one call of an area.

The shells call these from their `websocket_message`; each decision is made in core. A message that a step has nothing to say
of is noted by it all the same, because the layer passes on only what every step has seen.
"""

import asyncio
from dataclasses import replace
from functools import partial

from mitmproxy import http
from mitmproxy.websocket import WebSocketMessage

from addons.core import exchange
from addons.core.approval import digest, policy, terms
from addons.core.approval.hold import Asked
from addons.core.audit import messages as message_events
from addons.core.audit.log import AuditLog
from addons.core.errors import AuditError, GuardhouseError, MaskingError, PolicyDeniedError, TokenExpired, Unmaskable
from addons.core.exchange import Decision, Effect, Exchange
from addons.core.masking import message as message_mask
from addons.core.masking import rules, write_back
from addons.core.masking.answer import Terms
from addons.core.masking.engine import MaskEngine, session_place
from addons.core.policy import masked_filters
from addons.core.policy.evaluate import decide, denial
from addons.core.services import graphql, messages
from addons.core.services.websocket import OPAQUE
from addons.host import facts, gate, sockets
from addons.host.departure import RULES_CHANGED, require_no_less
from addons.host.runtime import Runtime
from addons.host.sockets import Socket

METHOD = "MESSAGE"  # what stands for the method in the digest of a message that people decide on


def read(flow: http.HTTPFlow) -> None:
    """Routing: what a client's message does."""
    message, socket = sockets.under_way(flow), sockets.of(flow)
    if message is None or socket.reading == OPAQUE or not sockets.is_client_message(message):
        return
    upgrade = exchange.read(flow.metadata).operation
    if upgrade is None:
        raise GuardhouseError(detail="a WebSocket without its operation")
    socket.operation = messages.operation(socket.reading, message.content, upgrade, is_text=message.is_text)


def identify(runtime: Runtime, flow: http.HTTPFlow) -> None:
    """Identity: still good, or within what the service lets a stream outlive its token. Else the session ends."""
    record, snapshot = exchange.read(flow.metadata), runtime.snapshot_of(flow)
    try:
        if record.principal is None or runtime.identity is None or runtime.clock is None:
            raise GuardhouseError(detail="no identity beside an open WebSocket")
        if (until := deadline(runtime, flow, record)) is not None and runtime.clock.now() >= until:
            raise TokenExpired(detail="expired during a WebSocket")
        try:
            runtime.identity.still_good(record.principal, snapshot)
        except TokenExpired:
            if until is None:
                raise
    except GuardhouseError as error:
        sockets.end(flow, sockets.POLICY, error)
        raise


def deadline(runtime: Runtime, flow: http.HTTPFlow, record: Exchange) -> float | None:
    """When the session must end by its identity, in unix seconds; None when the identity has no end of its own."""
    service = runtime.snapshot_of(flow).gateway.services.get(record.service or "")
    principal = record.principal
    if principal is None or not principal.expires_at:
        return None
    return principal.expires_at + (service.outlive_token if service else 0.0)


def judge(runtime: Runtime, flow: http.HTTPFlow) -> None:
    """Policy: a message of its own is judged by the newest rules; every message needs an upgrade that they still permit."""
    message, socket, record = sockets.under_way(flow), sockets.of(flow), exchange.read(flow.metadata)
    if message is None:
        return
    if runtime.snapshot is None or runtime.clock is None:
        raise GuardhouseError(detail="no Snapshot or no clock")
    if runtime.snapshot is not socket.snapshot:
        require_upgrade(runtime, flow, socket, record)
    if socket.operation is None:
        socket.judged = message
        return
    told = replace(record, operation=socket.operation)
    socket.decision = decide(runtime.snapshot, told, runtime.clock.now())
    if socket.decision.effect is Effect.DENY:
        raise denial(socket.decision, told)
    owe(flow, record, socket.decision)
    owed = replace(told, decision=record.decision)
    masked_filters.check(runtime.snapshot, owed, rules.covers)
    graphql.check_aliases(socket.operation, record.decision.masks if record.decision else ())
    if socket.decision.effect is Effect.ALLOW:
        socket.judged = message


def require_upgrade(runtime: Runtime, flow: http.HTTPFlow, socket: Socket, record: Exchange) -> None:
    """After a reload: the newest rules must permit the open session as it stands, else it ends."""
    assert runtime.snapshot is not None and runtime.clock is not None
    pinned, newest = runtime.snapshot_of(flow), runtime.snapshot
    try:
        if record.decision is None or record.service is None:
            raise GuardhouseError(detail="no decision beside an open WebSocket")
        if newest.gateway.services.get(record.service) != pinned.gateway.services.get(record.service):
            raise PolicyDeniedError(RULES_CHANGED, detail="the service's definition changed")
        require_no_less(record.decision, decide(newest, record, runtime.clock.now()))
    except GuardhouseError as error:
        sockets.end(flow, sockets.POLICY, error)
        raise
    socket.snapshot = newest


def owe(flow: http.HTTPFlow, record: Exchange, decision: Decision) -> None:
    """What a message's rules mask is masked from now on in all that comes back: answers do not say to which message they belong."""
    if record.decision is None or set(decision.masks) <= set(record.decision.masks):
        return
    record.decision = replace(record.decision, masks=tuple(sorted({*record.decision.masks, *decision.masks})))
    exchange.write(flow.metadata, record)


async def guard_write(runtime: Runtime, flow: http.HTTPFlow, engine: MaskEngine) -> None:
    """Prepare: a client's message that carries one of our masks is refused."""
    message, record = sockets.under_way(flow), exchange.read(flow.metadata)
    if message is None or not sockets.is_client_message(message):
        return
    snapshot, service = runtime.snapshot_of(flow), record.service or ""
    masked = snapshot.masking.service(service)
    masks = record.decision.masks if record.decision else ()
    message_mask.check_kind(message.is_text, sockets.of(flow).subprotocol, masked.pass_media, masked.writes == "deny" or bool(masks))
    if masked.writes != "deny":
        return
    guarded = rules.view_of(snapshot, service, {*rules.record_profiles(snapshot, service), *masks})
    marks, tells, content = engine.transformer.marks, engine.would_mask(guarded), message.content
    await engine.run(lambda: write_back.refuse_marks(b"", (), content, guarded, marks, tells), len(content))


async def hold(runtime: Runtime, flow: http.HTTPFlow) -> None:
    """Approval: a message that people decide on is not waited for here. An approval of these exact bytes is used; else a ticket."""
    message, socket = sockets.under_way(flow), sockets.of(flow)
    if message is None or socket.decision is None or socket.decision.effect is not Effect.HOLD:
        return
    desk, record = runtime.holds, exchange.read(flow.metadata)
    if desk is None or socket.operation is None or runtime.snapshot is None:
        raise GuardhouseError(detail="no desk")
    told = replace(record, operation=socket.operation, decision=socket.decision)
    asked = asked_of(runtime, flow, told, message)
    state = await desk.hold(asked, lambda: is_alive(flow))
    await desk.use(state, asked.facts, told, lambda: identify(runtime, flow))
    socket.hold = state.id
    socket.judged = message


def asked_of(runtime: Runtime, flow: http.HTTPFlow, told: Exchange, message: WebSocketMessage) -> Asked:
    """What the desk needs to know of a held message: the upgrade it belongs to, and its own bytes."""
    snapshot, redactor = runtime.snapshot, runtime.redactor
    if snapshot is None or redactor is None or told.principal is None or told.decision is None:
        raise GuardhouseError(detail="a held message without principal, decision or redactor")
    asking = flow.request.copy()
    asking.headers = http.Headers([(b"Host", (flow.request.host_header or "").encode()), (b"Content-Type", b"application/json")])
    asking.raw_content = message.content
    without = gate.of(flow).injected
    reading = sockets.of(flow).reading
    bare = facts.request_facts(flow, snapshot, without=without, decision=told.decision)
    return Asked(
        flow_id=told.id,
        client_id=flow.client_conn.id,
        facts=replace(bare, method=METHOD, content_digest=digest.content_digest(messages.without_id(reading, message.content))),
        principal=told.principal,
        excluded=policy.four_eyes(told.principal, snapshot.gateway.identity),
        terms=terms.merged(snapshot, told.decision.approvals),
        masks=told.decision.masks,
        body_size=len(message.content),
        session_id=told.session_id,
        trace_id=None if told.trace is None else told.trace.trace_id,
        view=lambda: facts.view_of(asking, told, redactor),
        at_once=True,
    )


def is_alive(flow: http.HTTPFlow) -> bool:
    """The session is open, and its client is there."""
    return flow.client_conn.connected and flow.live and sockets.of(flow).end is None


async def mask(runtime: Runtime, flow: http.HTTPFlow, engine: MaskEngine) -> None:
    """Apply: what goes to the client is masked. What the client says goes on as it is; it is masked for the record."""
    message, socket, record = sockets.under_way(flow), sockets.of(flow), exchange.read(flow.metadata)
    if message is None:
        return
    if not message.from_client and not message.injected:
        terms_of = mask_terms(runtime, flow, record)
        passes = runtime.snapshot_of(flow).masking.service(record.service or "").pass_media
        message_mask.check_kind(message.is_text, socket.subprotocol, passes, terms_of.view is not None)
        content, is_text, alive = message.content, message.is_text, engine.budget(terms_of.limits.time)
        made = await engine.run(
            lambda: message_mask.mask_message(content, is_text, terms_of, engine.detector, engine.transformer, alive), len(content)
        )
        message.content = made.content
        message_mask.add(record, made)
        exchange.write(flow.metadata, record)
    socket.masked = message


def mask_terms(runtime: Runtime, flow: http.HTTPFlow, record: Exchange) -> Terms:
    """What this session's messages are masked by. A flow without a decision cannot be here."""
    if record.decision is None or record.service is None:
        raise Unmaskable("crash", detail="no decision")
    snapshot, names = runtime.snapshot_of(flow), record.decision.masks
    view = rules.view_of(snapshot, record.service, names) if names else None
    path = flow.request.data.path.partition(b"?")[0].decode("latin-1")
    return Terms(view, snapshot.masking.limits, session_place(snapshot, record.service, record.session_id, path), gate.of(flow).scrub)


async def record_message(runtime: Runtime, flow: http.HTTPFlow, log: AuditLog) -> None:
    """Recording: durable before it goes on. A refused message is recorded as well."""
    socket, record, redactor = sockets.of(flow), exchange.read(flow.metadata), runtime.redactor
    message = socket.message
    if message is None or redactor is None:
        raise AuditError(detail="no message or no redactor to record")
    await record_control(runtime, flow, log)
    seen = seen_of(runtime, flow, socket, message)
    is_quick = seen.operation is None and redactor.is_quick(seen.content, message_events.TEXT, record.service)
    work = partial(message_events.message, record, seen, redactor)
    event = work() if is_quick else await asyncio.to_thread(work)
    await log.append(event)
    socket.stored += len(event.fields.get("chunk", b""))
    if message.dropped:
        return
    if socket.masked is not message or socket.judged is not message:
        raise MaskingError(code="masking-missing", detail="a message that no step has masked or judged")
    if socket.hold is not None and runtime.holds is not None:
        await runtime.holds.outcome(socket.hold, record.id, "sent", 101)
    socket.recorded = message


def seen_of(runtime: Runtime, flow: http.HTTPFlow, socket: Socket, message: WebSocketMessage) -> message_events.Seen:
    """The message as plain data."""
    return message_events.Seen(
        number=socket.number,
        side="gateway" if message.injected else "client" if message.from_client else "upstream",
        is_text=message.is_text,
        content=message.content,
        is_passed=not message.dropped,
        subprotocol=socket.subprotocol,
        room=max(0, runtime.snapshot_of(flow).gateway.audit.body_cap - socket.stored),
        operation=socket.operation,
        decision=socket.decision,
        reason=socket.refusal.code if socket.refusal else "",
        approval=socket.hold,
    )


async def record_control(runtime: Runtime, flow: http.HTTPFlow, log: AuditLog) -> None:
    """Write down the pings and pongs since the last event."""
    socket, redactor = sockets.of(flow), runtime.redactor
    if not socket.control and not socket.control_lost:
        return
    if redactor is None:
        raise AuditError(detail="no redactor")
    frames, lost = list(socket.control), socket.control_lost
    event = await asyncio.to_thread(message_events.control, exchange.read(flow.metadata), frames, lost, redactor)
    await log.append(event)
    socket.control = socket.control[len(frames) :]
    socket.control_lost -= lost


async def unsent(runtime: Runtime, flow: http.HTTPFlow) -> None:
    """The session ended between the use of an approval and its message: say that nothing was sent."""
    socket = sockets.find(flow)
    if socket is None or socket.hold is None or socket.recorded is socket.message or runtime.holds is None:
        return
    await runtime.holds.outcome(socket.hold, exchange.read(flow.metadata).id, "not_sent", 0)
