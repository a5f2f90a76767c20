"""The only door out: what it asks for, and that the approval is used last, or not at all (acceptance 12, 19, 20)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode

from addons.core import exchange
from addons.core.config import model
from addons.core.errors import ApprovalError, CredentialError, TokenExpired
from addons.core.exchange import Access, Decision, Effect, HoldState, Operation, Principal
from addons.host import chain, departure, gate, listeners
from addons.host.departure import Departure
from addons.host.fail_closed import guard, open_record, refuse
from addons.host.fingerprint import fingerprint
from addons.host.runtime import Runtime
from tests import harness


class Verifier:
    def __init__(self) -> None:
        self.expired = False

    def still_good(self, principal: Principal, snapshot: model.Snapshot) -> None:
        if self.expired:
            raise TokenExpired


class Desk:
    """Keeps what was used and what came of it; `before` runs where the real desk asks once more."""

    def __init__(self) -> None:
        self.used: list[str] = []
        self.outcomes: list[str] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    async def use(self, hold: HoldState, facts: Any, record: exchange.Exchange, now_check: Callable[[], None]) -> None:
        self.before()
        now_check()
        self.used.append(hold.id)
        self.after()

    async def outcome(self, hold_id: str, flow_id: str, outcome: str, status: int) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    made = harness.runtime()
    made.chain = chain.CHAIN
    made.identity, made.holds = Verifier(), Desk()  # type: ignore[assignment]
    monkeypatch.setattr(departure.patches_clock, "start", lambda flow, service: None)
    return made


def ready(runtime: Runtime, effect: Effect = Effect.HOLD) -> http.HTTPFlow:
    """A flow that has passed every step, up to the door."""
    flow = harness.live_flow("DELETE", "/customers/7")
    assert runtime.snapshot is not None
    flow.client_conn.proxy_mode = ProxyMode.parse(listeners.modes(runtime.snapshot.gateway)[0])
    door = open_record(runtime, flow)
    record = exchange.read(flow.metadata)
    record.service, record.purpose = "crm", "support/1"
    record.operation = Operation("http", "DELETE", "DELETE /customers/7", frozenset({Access.DELETE}), ("/customers/7",), {})
    record.principal = Principal("https://issuer.example", "dev", "alice", expires_at=4e9)
    record.decision = Decision(effect, ("deletes-are-held",), approvals=("one-sre",) if effect is Effect.HOLD else ())
    record.hold = HoldState("ap_1", "approved", "hmac-sha-256:00") if effect is Effect.HOLD else None
    exchange.write(flow.metadata, record)
    door.steps, door.intent_seq = list(chain.WAY_OUT), 7
    door.fingerprint, door.body = fingerprint(flow, {}), flow.request.raw_content
    flow.request.headers["authorization"] = "Bearer upstream"
    door.injected = {"authorization": "Bearer upstream"}
    return flow


async def leave(runtime: Runtime, flow: http.HTTPFlow) -> int | None:
    """Send the flow through the guarded door; returns the status of the refusal, None when it left."""
    await guard(Departure(runtime)).request(flow)
    assert gate.of(flow).departed is (flow.response is None)
    return flow.response.status_code if flow.response else None


async def test_what_has_everything_leaves_and_uses_its_approval_once(runtime: Runtime):
    assert await leave(runtime, ready(runtime)) is None
    assert runtime.holds.used == ["ap_1"]  # type: ignore[union-attr]


async def test_what_policy_allows_needs_no_approval(runtime: Runtime):
    assert await leave(runtime, ready(runtime, Effect.ALLOW)) is None
    assert runtime.holds.used == []  # type: ignore[union-attr]


def forget(member: str, value: Any = None) -> Callable[[Runtime, http.HTTPFlow], None]:
    def change(runtime: Runtime, flow: http.HTTPFlow) -> None:
        record = exchange.read(flow.metadata)
        setattr(record, member, value)
        exchange.write(flow.metadata, record)

    return change


def at_the_gate(member: str, value: Any) -> Callable[[Runtime, http.HTTPFlow], None]:
    return lambda runtime, flow: setattr(gate.of(flow), member, value)


def renew(**changes: Any) -> Callable[[Runtime, http.HTTPFlow], None]:
    """A reload: the newest Snapshot differs from the pinned one."""

    def change(runtime: Runtime, flow: http.HTTPFlow) -> None:
        assert runtime.snapshot is not None
        runtime.snapshot = replace(runtime.snapshot, **{name: value(runtime.snapshot) for name, value in changes.items()})

    return change


def other_address(snapshot: model.Snapshot) -> model.Gateway:
    service = replace(snapshot.gateway.services["crm"], address=model.Address("127.0.0.1", 9))
    return replace(snapshot.gateway, services={"crm": service})


SHUT: dict[str, tuple[Callable[[Runtime, http.HTTPFlow], Any], int]] = {
    "no principal": (forget("principal"), 503),
    "no decision": (forget("decision"), 503),
    "a deny": (forget("decision", Decision(Effect.DENY)), 503),
    "no approval": (forget("hold"), 503),
    "no durable intent": (at_the_gate("intent_seq", None), 503),
    "no fingerprint": (at_the_gate("fingerprint", None), 503),
    "no step": (at_the_gate("steps", []), 503),
    "client gone": (at_the_gate("gone", True), 503),
    "token expired": (lambda runtime, flow: setattr(runtime.identity, "expired", True), 401),
    "no verifier": (lambda runtime, flow: setattr(runtime, "identity", None), 503),
    "path changed": (lambda runtime, flow: setattr(flow.request, "path", "/customers/8"), 503),
    "body changed": (lambda runtime, flow: setattr(flow.request, "content", b"x"), 503),
    "header added": (lambda runtime, flow: flow.request.headers.add("x", "y"), 503),
    "address changed": (lambda runtime, flow: setattr(flow.request, "port", 9), 503),
    "credential changed": (lambda runtime, flow: flow.request.headers.__setitem__("authorization", "Bearer mine"), 503),
    "credential twice": (lambda runtime, flow: flow.request.headers.add("authorization", "Bearer mine"), 503),
    "streaming": (lambda runtime, flow: setattr(flow.request, "stream", True), 503),
    "upgrade": (lambda runtime, flow: gate.of(flow) and _with_upgrade(flow), 501),
    "other service after a reload": (renew(gateway=other_address), 503),
    "denied by the newest rules": (renew(rules=lambda snapshot: model.Rules("deny", ())), 403),
    "cleartext on a TLS listener": (lambda runtime, flow: setattr(flow.client_conn, "proxy_mode", ProxyMode.parse("regular")), 503),
}


def _with_upgrade(flow: http.HTTPFlow) -> None:
    flow.request.headers["upgrade"] = "websocket"
    gate.of(flow).fingerprint = fingerprint(flow, gate.of(flow).injected)


@pytest.mark.parametrize("name", SHUT)
async def test_whatever_is_missing_keeps_the_door_shut_and_the_approval_unused(runtime: Runtime, name: str):
    change, status = SHUT[name]
    flow = ready(runtime)
    change(runtime, flow)
    assert await leave(runtime, flow) == status
    assert runtime.holds.used == []  # type: ignore[union-attr]


async def test_an_approval_that_is_not_usable_is_a_refusal(runtime: Runtime):
    def refused() -> None:
        raise ApprovalError

    runtime.holds.before = refused  # type: ignore[union-attr]
    assert await leave(runtime, ready(runtime)) == 429


async def test_a_client_that_leaves_before_the_commit_burns_nothing(runtime: Runtime):
    flow = ready(runtime)
    runtime.holds.before = lambda: setattr(gate.of(flow), "gone", True)  # type: ignore[union-attr]
    assert await leave(runtime, flow) == 503
    assert runtime.holds.used == []  # type: ignore[union-attr]


async def test_a_client_that_leaves_during_the_commit_gets_nothing_sent_and_the_use_says_so(runtime: Runtime):
    flow = ready(runtime)
    runtime.holds.after = lambda: setattr(gate.of(flow), "gone", True)  # type: ignore[union-attr]
    assert await leave(runtime, flow) == 503
    assert runtime.holds.used == ["ap_1"]  # type: ignore[union-attr]
    assert runtime.holds.outcomes == ["not_sent"]  # type: ignore[union-attr]


async def test_a_credential_that_cannot_be_had_burns_nothing(runtime: Runtime):
    """The guard settles the flow in `credentials`, so departure is not even asked."""
    flow = ready(runtime)

    refuse(flow, CredentialError())
    await guard(Departure(runtime)).request(flow)
    assert flow.response is not None
    assert flow.response.status_code == 502
    assert runtime.holds.used == []  # type: ignore[union-attr]
    assert not gate.of(flow).departed
