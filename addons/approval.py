"""Hold a request until enough people agree to these exact bytes.

Stands after `audit.Intent` (that somebody asks is durable before anybody waits) and before `credentials` (nobody's
secret is fetched for what may be denied). What was approved is judged again after the wait, by the newest rules, and
once more by departure, which commits the use as its last act.

Who may decide, when it is enough and what a ticket says is decided in `addons.core.approval`; this module moves values
between the flow and the desk. Loaded alone it has an empty Runtime, so it refuses everything.
"""

import asyncio
from weakref import WeakKeyDictionary

from mitmproxy import connection, http

from addons.core import exchange
from addons.core.approval import prefer
from addons.core.approval.desk import Desk
from addons.core.approval.hold import Pending
from addons.core.approval.prefer import Preference
from addons.core.approval.recovery import recover
from addons.core.approval.signals import SignalBox, prepare
from addons.core.config.model import Reference, Snapshot
from addons.core.errors import GuardhouseError, ValidationError
from addons.core.exchange import Effect, Exchange
from addons.host import gate, socket_steps
from addons.host.fail_closed import answer, guard, settled
from addons.host.held import accepted, alive, asked_of, judged_again
from addons.host.ledger import LogLedger
from addons.host.periodic import Periodic
from addons.host.runtime import Runtime

TURN = 0.25  # seconds between two looks at deadlines; the precision of every wait here


class Approval:
    """Waits for people."""

    name = "guardhouse-approval"
    no_deadline = True  # a hold has its own
    sees_settled = True  # what came of a use is also to be said of a flow that failed

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.preferences: WeakKeyDictionary[http.HTTPFlow, Preference] = WeakKeyDictionary()

    async def running(self) -> None:
        runtime = self.runtime
        if runtime.store is None or runtime.clock is None or runtime.keys is None or runtime.snapshot is None:
            return
        desk = Desk(
            LogLedger(runtime.store, runtime.snapshot.gateway.audit.database),
            runtime.clock,
            runtime.keys,
            self._newest,
            self._mask_text,
            self._reveal,
        )
        await recover(desk, runtime.snapshot)
        ticking = Periodic("the clock of the approvals", runtime.clock, lambda: TURN, desk.tick)
        ticking.start()
        runtime.on_close("the clock of the approvals", ticking.stop)
        self._watch_files(desk, runtime.snapshot)
        self._follow_reloads(desk)
        runtime.holds = desk

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Take out what is said to us, before the request gets its fingerprint."""
        if settled(flow):
            return
        preference = prefer.read(flow.request.headers.get_all("prefer"))
        flow.request.headers.pop("prefer", None)
        flow.request.headers.set_all("prefer", preference.rest)
        self.preferences[flow] = preference

    async def request(self, flow: http.HTTPFlow) -> None:
        if settled(flow):
            return
        record = exchange.read(flow.metadata)
        if record.decision is None or record.decision.effect is not Effect.HOLD:
            return
        if flow.request.trailers:
            raise ValidationError("A request that people decide on has no trailers. Send them as headers.")
        desk, preference = self._desk(), self.preferences.get(flow, Preference())
        judged_again(self.runtime, desk, flow, record)
        asked = asked_of(self.runtime, flow, record, preference)
        try:
            hold = await desk.hold(asked, lambda: alive(flow))
        except Pending as ticket:
            if not preference.respond_async:
                raise
            answer(flow, accepted(ticket, record.id))
            return
        self._require_still(flow, record)
        if judged_again(self.runtime, desk, flow, record) != hold.digest:
            await desk.changed(hold.id)
        record = exchange.read(flow.metadata)
        record.hold = hold
        exchange.write(flow.metadata, record)

    async def response(self, flow: http.HTTPFlow) -> None:
        """The upstream answered: say so beside the use."""
        if flow.response is not None and gate.of(flow).departed:
            await self._outcome(flow, "sent", flow.response.status_code)

    async def error(self, flow: http.HTTPFlow) -> None:
        """It failed after it was let out: nobody can say how far it came."""
        if gate.of(flow).departed:
            await self._outcome(flow, "unknown", 0)

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Held messages are not waited for: both directions would stand still."""
        await socket_steps.hold(self.runtime, flow)

    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        await socket_steps.unsent(self.runtime, flow)

    def client_disconnected(self, client: connection.Client) -> None:
        """End the holds of a client that has left."""
        if self.runtime.holds is not None:
            self.runtime.holds.client_gone(client.id)

    async def _outcome(self, flow: http.HTTPFlow, outcome: str, status: int) -> None:
        record = exchange.read(flow.metadata)
        if record.hold is not None:
            await self._desk().outcome(record.hold.id, record.id, outcome, status)

    def _require_still(self, flow: http.HTTPFlow, record: Exchange) -> None:
        """Released: the client is still there, and its identity still good."""
        if not alive(flow):
            raise GuardhouseError(detail="the client left while its request was held")
        if self.runtime.identity is None or record.principal is None:
            raise GuardhouseError(detail="no identity after the hold")
        self.runtime.identity.still_good(record.principal, self.runtime.snapshot_of(flow))

    def _watch_files(self, desk: Desk, snapshot: Snapshot) -> None:
        signals, clock = snapshot.approvals.signals, self.runtime.clock
        if signals.directory is None or clock is None:
            return
        prepare(signals.directory)
        box = SignalBox(signals.directory, desk.decide, desk.book.alert)
        looking = Periodic("the signal folder", clock, lambda: signals.poll_interval, lambda: box.poll(self._newest().approvals))
        looking.start()
        self.runtime.on_close("the signal folder", looking.stop)

    def _follow_reloads(self, desk: Desk) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def follow(snapshot: Snapshot) -> None:
            task = asyncio.get_running_loop().create_task(desk.reconsider(snapshot))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        self.runtime.reloaders.append(follow)

    def _desk(self) -> Desk:
        if self.runtime.holds is None:
            raise GuardhouseError(detail="no desk")
        return self.runtime.holds

    def _newest(self) -> Snapshot:
        if self.runtime.snapshot is None:
            raise GuardhouseError(detail="no Snapshot")
        return self.runtime.snapshot

    async def _mask_text(self, text: str, service: str) -> str:
        if self.runtime.redactor is None:
            raise GuardhouseError(detail="no redactor")
        return await asyncio.to_thread(self.runtime.redactor.redact_text, text, service)

    def _reveal(self, reference: Reference) -> bytes:
        if self.runtime.secrets is None:
            raise GuardhouseError(detail="no secrets")
        return self.runtime.secrets.resolve(reference).reveal()


addons = [guard(Approval(Runtime()))]
