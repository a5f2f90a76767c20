"""Write down what is about to happen, before it may; and how it ended, before the client sees the end.

`Intent` stands after everything that decides, and before everything that waits or sends: without its durable event
nothing leaves. `Outcome` stands behind masking and arrival, sees flows however they ended, and writes exactly one
terminal event for each; an answer whose end cannot be written becomes 503. What the events hold is built in
`addons.core.audit.traffic`, large ones in a thread; this module only says what mitmproxy saw. Loaded alone it refuses everything.
"""

from functools import partial
from weakref import WeakSet

from mitmproxy import connection, http

from addons.core import exchange
from addons.core.audit import traffic
from addons.core.audit.events import Event, json_field, make
from addons.core.audit.log import AuditLog
from addons.core.audit.traffic import Ending
from addons.core.config.model import Snapshot
from addons.core.errors import AuditError, GuardhouseError
from addons.core.exchange import Redactor
from addons.host import evidence, gate, socket_evidence, stream_evidence
from addons.host.fail_closed import guard, settled
from addons.host.refusals import EXIT_CODE
from addons.host.runtime import Runtime
from addons.host.streams import of_stream


def log_of(runtime: Runtime) -> AuditLog:
    """The open log. AuditError while there is none."""
    if runtime.store is None:
        raise AuditError(detail="the audit log is not open")
    return runtime.store


def redactor_of(runtime: Runtime) -> Redactor:
    """The storage mask. AuditError while there is none: nothing is stored unmasked."""
    if runtime.redactor is None:
        raise AuditError(detail="there is no storage mask yet")
    return runtime.redactor


class Intent:
    """Opens the log, and makes the intent of every flow durable."""

    name = "guardhouse-intent"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def running(self) -> None:
        snapshot, clock, keys = self.runtime.snapshot, self.runtime.clock, self.runtime.keys
        if snapshot is None or clock is None or keys is None:
            raise GuardhouseError(detail="the configuration was not read")
        gateway = snapshot.gateway
        log = await AuditLog.open(gateway.audit, gateway.state, keys, clock, snapshot.digest, session_quiet=gateway.session.quiet)
        log.on_fatal = evidence.stopper(EXIT_CODE)
        self.runtime.store = log
        self.runtime.on_close("audit", log.close)
        self.runtime.reloaders.append(self.reloaded)

    def reloaded(self, snapshot: Snapshot) -> None:
        """The rules changed: say so in the log, from which digest to which."""
        log = log_of(self.runtime)
        fields = {"note": json_field({"from": log.snapshot, "to": snapshot.digest})}
        log.snapshot = snapshot.digest
        log.tell(make("Mark", "config", {"verb": "reload", "policy_digest": snapshot.digest}, fields))

    async def request(self, flow: http.HTTPFlow) -> None:
        log, redactor = log_of(self.runtime), redactor_of(self.runtime)
        snapshot = self.runtime.snapshot_of(flow)
        record = exchange.read(flow.metadata)
        seen = evidence.seen(flow, record, snapshot)
        work = partial(traffic.intent, record, seen, redactor, snapshot.gateway.audit.body_cap)
        event = await evidence.built(work, seen, redactor, record.service)
        gate.of(flow).intent_seq = await log.append(event, reserve=True)
        if not flow.client_conn.connected:  # it left meanwhile, and no hook may be left to say so
            log.lose(record.id, "the client left")


class Outcome:
    """Exactly one terminal event per flow, and a row for a connection that never became one."""

    name = "guardhouse-outcome"
    sees_settled = True

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.ending: WeakSet[http.HTTPFlow] = WeakSet()
        self.spoke: WeakSet[connection.Client] = WeakSet()

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """The beginning of an answer that passes as a stream is durable before its first piece leaves."""
        stream = gate.of(flow).stream
        if stream is not None and of_stream(flow, stream) and not settled(flow) and flow.error is None:
            await stream_evidence.begin(self.runtime, flow, stream, log_of(self.runtime), redactor_of(self.runtime))

    async def response(self, flow: http.HTTPFlow) -> None:
        door = gate.of(flow)
        if door.stream is not None and door.stream.error is not None:
            await self.end(flow, evidence.ending_of_error(flow, door))
            return
        status = flow.response.status_code if flow.response else None
        if door.refusal is not None:
            await self.end(flow, evidence.ending_of_refusal(flow, door.refusal))
        elif socket_evidence.is_open(flow):
            await socket_evidence.opened(flow, log_of(self.runtime), redactor_of(self.runtime))
        elif settled(flow) or not door.departed:
            await self.end(flow, Ending("Denied", status, reason="answered by the gateway"))
        else:
            await self.end(flow, Ending("ResponseComplete", status))

    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        await self.end(flow, socket_evidence.ending(flow))

    async def error(self, flow: http.HTTPFlow) -> None:
        await self.end(flow, evidence.ending_of_error(flow, gate.of(flow)))

    async def client_disconnected(self, client: connection.Client) -> None:
        """End what this client has begun and nobody will end; a connection without any request gets a row of its own."""
        flows = [flow for flow in self.runtime.open_flows if flow.client_conn is client and isinstance(flow, http.HTTPFlow)]
        for flow in flows:
            if gate.of(flow).intent_seq is not None and not socket_evidence.is_closing(flow):
                await self.end(flow, Ending("Interrupted", reason="the client left"))
        if not flows and client not in self.spoke:
            await self.tell_connection(client)

    async def end(self, flow: http.HTTPFlow, ending: Ending) -> None:
        """Write the terminal event, once. Raises AuditError when it cannot be written; the log then ends the flow when it can."""
        door = gate.of(flow)
        if flow in self.ending or door.terminal:
            return
        self.ending.add(flow)
        self.spoke.add(flow.client_conn)
        record, log = exchange.read(flow.metadata), log_of(self.runtime)
        if self.is_junk(flow, record, ending) and not log.suppressor.admit(evidence.peer_of(flow.client_conn), evidence.code_of(ending)):
            door.terminal = True  # counted; the minute's summary says how many
            return
        try:
            await stream_evidence.close_books(flow, record)
            await log.append(await self.event(flow, record, ending), release=door.intent_seq is not None)
        except BaseException:
            log.lose(record.id, "the end could not be written")
            raise
        door.terminal = True
        self.conclude(flow, record, ending)

    def is_junk(self, flow: http.HTTPFlow, record: exchange.Exchange, ending: Ending) -> bool:
        """True for a refusal before identity: only these are ever summarised."""
        return record.principal is None and gate.of(flow).intent_seq is None and ending.stage == "Denied"

    async def event(self, flow: http.HTTPFlow, record: exchange.Exchange, ending: Ending) -> Event:
        """Build the event; for what is large or new in a thread, because storing an answer means masking it again."""
        door, snapshot = gate.of(flow), self.runtime.snapshot_of(flow)
        whole = evidence.measured(flow, record, ending, self.runtime.clock)
        seen = evidence.seen(flow, record, snapshot, ending=whole, key=log_of(self.runtime).evidence_key)
        has_intent, cap, redactor = door.intent_seq is not None, snapshot.gateway.audit.body_cap, redactor_of(self.runtime)
        stream = stream_evidence.stream_of(flow)
        if stream is not None:
            return await stream_evidence.finish(flow, stream, record, (seen, whole, redactor, cap, has_intent))
        work = partial(traffic.terminal, record, seen, whole, redactor, cap, has_intent=has_intent)
        return await evidence.built(work, seen, redactor, record.service)

    def conclude(self, flow: http.HTTPFlow, record: exchange.Exchange, ending: Ending) -> None:
        """Leave the outcome in the record, where nobody else has."""
        if record.outcome is None and ending.status is not None:
            code = ending.refusal.code if ending.refusal else None
            size = len(flow.response.raw_content or b"") if flow.response else 0
            record.outcome = exchange.Outcome(ending.status, code, size)
            exchange.write(flow.metadata, record)

    async def tell_connection(self, client: connection.Client) -> None:
        """A connection came, spoke no HTTP that we understood, and went."""
        log = log_of(self.runtime)
        if log.suppressor.admit(evidence.peer_of(client), "no-request"):
            facts = {"client": json_field(evidence.client_of(client, self.runtime.snapshot)), "reason": b"no-request"}
            await log.append(make("Mark", "connection", {"verb": "unparsed"}, facts))


_runtime = Runtime()
addons = [guard(Intent(_runtime)), guard(Outcome(_runtime))]
