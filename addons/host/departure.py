"""Departure: the only door out.

The guard catches a step that raises; departure catches one that is missing, was moved, returned early, or was undone
by something later. Each flow starts blocked, and only `Departure.request` unblocks it, when everything it asks holds.
`server_connect` then dials nothing for which no departed flow of that client exists (`addons.host.connections`), and
the dispatcher answers whatever is still blocked after the last `request` hook (`addons.host.hook_index`).
"""

from mitmproxy import http
from mitmproxy.proxy import server_hooks

from addons.core import exchange
from addons.core.config.model import Snapshot
from addons.core.errors import AuditError, GuardhouseError, PolicyDeniedError
from addons.core.exchange import Access, Decision, Effect, Exchange
from addons.core.policy.evaluate import decide
from addons.core.services import websocket
from addons.host import chain, connections, gate, listeners, patches_clock, streams
from addons.host.facts import request_facts
from addons.host.fingerprint import fingerprint
from addons.host.gate import Gate
from addons.host.refusals import settled
from addons.host.request_head import head_of
from addons.host.runtime import Runtime

NO_UPGRADE = "Guardhouse carries no upgrade but WebSocket. Send an ordinary request."
RULES_CHANGED = "The rules changed while this request was on its way. Send it again."


class Departure:
    """Lets a request out, or refuses it."""

    name = "guardhouse-departure"
    no_deadline = True  # the approval's use, its last act, has its own

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def request(self, flow: http.HTTPFlow) -> None:
        door = gate.of(flow)
        record = exchange.read(flow.metadata)
        snapshot = self.runtime.snapshot_of(flow)
        require_steps(door)
        require_unchanged(flow, door)
        require_known_upgrade(flow, record, snapshot)
        if listeners.is_tls_missing(flow, snapshot) and not flow.is_replay:
            raise GuardhouseError(detail="cleartext on a TLS listener, or no listener of ours")
        self._require_identity(record, snapshot)
        self._require_current_rules(record, snapshot)
        await self._use_approval(flow, record, door, snapshot)
        require_client(flow, door)
        door.departed = True
        connections.departed(flow)
        if service := snapshot.gateway.services.get(record.service or ""):
            patches_clock.start(flow, service)

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Dial only for a departed flow, and never ourselves."""
        connections.require_departed(self.runtime, data)
        if service := connections.service_of(self.runtime, data.client, data.server):
            patches_clock.watch_dial(data, service)

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Judge the address that was really dialled, before a byte is sent (design/mitmproxy.md 7.3)."""
        connections.require_allowed_peer(self.runtime, data)
        streams.pace(data.client, data.server)

    def _require_identity(self, record: Exchange, snapshot: Snapshot) -> None:
        if record.principal is None or self.runtime.identity is None:
            raise GuardhouseError(detail="no principal at departure")
        self.runtime.identity.still_good(record.principal, snapshot)

    def _require_current_rules(self, record: Exchange, pinned: Snapshot) -> None:
        """After a reload the newest rules decide, and the service must still be the same one."""
        decision = record.decision
        if decision is None or decision.effect is Effect.DENY:
            raise GuardhouseError(detail="no decision that lets it pass")
        newest = self.runtime.snapshot
        if newest is pinned:
            return
        if newest is None or self.runtime.clock is None or record.service is None:
            raise GuardhouseError(detail="no Snapshot at departure")
        if newest.gateway.services.get(record.service) != pinned.gateway.services.get(record.service):
            raise GuardhouseError(RULES_CHANGED, detail="the service's definition changed during the flow")
        require_no_less(decision, decide(newest, record, self.runtime.clock.now()))

    async def _use_approval(self, flow: http.HTTPFlow, record: Exchange, door: Gate, snapshot: Snapshot) -> None:
        """The very last act: commit the use of the approval that permits this request."""
        if door.intent_seq is None:
            raise AuditError(detail="no durable intent at departure")
        if record.decision is None or record.decision.effect is not Effect.HOLD:
            return
        if record.hold is None or self.runtime.holds is None:
            raise GuardhouseError(detail="a hold without an approval")
        facts = request_facts(flow, snapshot, without=door.injected)  # the digest's input, made again from what will leave
        await self.runtime.holds.use(record.hold, facts, record, lambda: self._require_both(flow, door, record, snapshot))
        try:
            require_client(flow, door)
            require_unchanged(flow, door)
        except GuardhouseError:
            await self.runtime.holds.outcome(record.hold.id, record.id, "not_sent", 0)
            raise

    def _require_both(self, flow: http.HTTPFlow, door: Gate, record: Exchange, snapshot: Snapshot) -> None:
        """Asked by the desk after its last wait, before it commits: client still there, identity still good."""
        require_client(flow, door)
        self._require_identity(record, snapshot)


def require_steps(door: Gate) -> None:
    """Every step of the way out ended normally, in its order."""
    if missing := chain.first_missing(door.steps):
        raise GuardhouseError(detail=f"{missing} did not run in its place")


def require_known_upgrade(flow: http.HTTPFlow, record: Exchange, snapshot: Snapshot) -> None:
    """The only upgrade that leaves is a WebSocket handshake that was judged as one."""
    if "upgrade" not in flow.request.headers:
        return
    service, operation = snapshot.gateway.services.get(record.service or ""), record.operation
    if service is None or operation is None or Access.CONNECT not in operation.access:
        raise GuardhouseError(NO_UPGRADE, code="not-supported", detail="an upgrade was asked for")
    websocket.check(head_of(flow), service)


def require_client(flow: http.HTTPFlow, door: Gate) -> None:
    """Nothing is sent for somebody who has left."""
    if door.gone or not flow.client_conn.connected:
        raise GuardhouseError(detail="the client left before its request was sent")


def require_unchanged(flow: http.HTTPFlow, door: Gate) -> None:
    """The request is what it was after `masking.Prepare`, plus what `credentials` put there."""
    if settled(flow) or flow.response is not None or flow.error is not None:
        raise GuardhouseError(detail="answered before departure")
    if flow.request.stream:
        raise GuardhouseError(detail="request streaming was turned on")
    if door.fingerprint is None:
        raise GuardhouseError(detail="no fingerprint")
    for name, value in door.injected.items():
        if flow.request.headers.get_all(name) != [value]:
            raise GuardhouseError(detail="the injected credential was changed")
    if fingerprint(flow, door.injected) != door.fingerprint or flow.request.raw_content != door.body:
        raise GuardhouseError(detail="the request was changed after it was judged")


def require_no_less(pinned: Decision, newest: Decision) -> None:
    """What the newest rules say must permit what the pinned ones did, with no mask that they did not ask for."""
    if newest.effect is Effect.DENY:
        raise PolicyDeniedError(detail="denied by the newest rules: " + " ".join(newest.rules))
    same = newest.effect is pinned.effect and newest.approvals == pinned.approvals
    if not same or not set(newest.masks) <= set(pinned.masks):
        raise GuardhouseError(RULES_CHANGED, detail="the newest rules hold it, or ask for a mask that was not prepared")
