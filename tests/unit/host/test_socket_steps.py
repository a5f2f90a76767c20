"""What an open WebSocket may outlive, and what ends it at its next message."""

from dataclasses import replace

import pytest
from mitmproxy import http
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketMessage

from addons.core import exchange
from addons.core.config import model
from addons.core.errors import AuthenticationError, GuardhouseError, PolicyDeniedError, TokenExpired
from addons.core.exchange import Access, Decision, Effect, Exchange, Operation, Principal
from addons.host import gate, socket_steps, sockets
from addons.host.gate import Gate
from addons.host.runtime import Runtime
from tests import harness

OPENS = Operation("http", "GET", "GET /ws", frozenset({Access.CONNECT}), ("/ws",), {"path": "/ws"})


class Verifier:
    """An identity that expires, or is revoked."""

    def __init__(self, error: GuardhouseError | None = None) -> None:
        self.error = error

    def still_good(self, principal: Principal, snapshot: model.Snapshot) -> None:
        if self.error is not None:
            raise self.error


def session(runtime: Runtime, *, reading: str = "opaque", from_client: bool = True, masks: tuple[str, ...] = ()) -> http.HTTPFlow:
    assert runtime.snapshot is not None and runtime.clock is not None
    flow = tflow.twebsocketflow()
    assert flow.websocket is not None
    gate.put(flow, Gate(runtime.snapshot))
    record = Exchange(
        id="1", service="crm", operation=OPENS, decision=Decision(Effect.ALLOW, ("opens",), masks),
        principal=Principal("i", "dev", "ann", expires_at=runtime.clock.now() + 10),
    )  # fmt: skip
    exchange.write(flow.metadata, record)
    sockets.put(flow, sockets.Socket("", reading, runtime.snapshot))
    message = WebSocketMessage(1, from_client, b"hello")
    flow.websocket.messages[:] = [message]
    sockets.of(flow).begin(message)
    return flow


def runtime_with(error: GuardhouseError | None = None, outlive: float = 0.0, *rules: model.Rule) -> Runtime:
    base = harness.snapshot()
    service = replace(base.gateway.services["crm"], outlive_token=outlive, websocket={"": "opaque"})
    made = harness.runtime(replace(harness.snapshot(services={"crm": service}), rules=model.Rules("deny", rules)))
    made.identity = Verifier(error)  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("outlive", "later", "error", "ends"),
    [
        pytest.param(0.0, 5, None, False, id="good"),
        pytest.param(0.0, 11, None, True, id="expired"),
        pytest.param(60.0, 30, TokenExpired(), False, id="within-what-it-may-outlive"),
        pytest.param(60.0, 71, TokenExpired(), True, id="beyond-it"),
        pytest.param(60.0, 5, AuthenticationError(), True, id="revoked"),
        pytest.param(0.0, 5, GuardhouseError(), True, id="undecided"),
    ],
)
async def test_a_session_ends_with_its_identity(outlive, later, error, ends):
    runtime = runtime_with(error, outlive)
    flow = session(runtime)
    await runtime.clock.advance(later)  # type: ignore[union-attr]
    if not ends:
        socket_steps.identify(runtime, flow)
        assert sockets.of(flow).end is None
        return
    with pytest.raises(GuardhouseError):
        socket_steps.identify(runtime, flow)
    assert sockets.of(flow).end is not None


def test_a_key_without_an_end_has_no_deadline():
    runtime = runtime_with()
    flow = session(runtime)
    record = exchange.read(flow.metadata)
    assert record.principal is not None
    record.principal = replace(record.principal, expires_at=0.0)
    assert socket_steps.deadline(runtime, flow, record) is None


ALLOWS = model.Rule("opens", "allow", services=("crm",), access=("connect",))


@pytest.mark.parametrize(
    ("newest", "ends"),
    [
        pytest.param((ALLOWS,), False, id="still-allowed"),
        pytest.param((), True, id="no-rule-any-more"),
        pytest.param((ALLOWS, model.Rule("no", "deny", services=("crm",))), True, id="denied"),
        pytest.param((replace(ALLOWS, mask=("pii",)),), True, id="owes-a-mask-that-was-not-prepared"),
        pytest.param((replace(ALLOWS, effect="hold", approval="one-sre"),), True, id="held"),
    ],
)
def test_after_a_reload_the_newest_rules_must_permit_the_open_session(newest, ends):
    runtime = runtime_with(None, 0.0, ALLOWS)
    flow = session(runtime, masks=("secrets",))
    assert runtime.snapshot is not None
    runtime.snapshot = replace(runtime.snapshot, rules=model.Rules("deny", newest), digest="sha-256:" + "1" * 64)
    if not ends:
        socket_steps.judge(runtime, flow)
        assert sockets.of(flow).judged is sockets.of(flow).message
        return
    with pytest.raises(GuardhouseError):
        socket_steps.judge(runtime, flow)
    assert sockets.of(flow).judged is None
    assert sockets.of(flow).end is not None


def test_a_message_of_its_own_needs_a_rule_of_its_own():
    runtime = runtime_with(None, 0.0, ALLOWS)
    flow = session(runtime, reading="jsonrpc")
    sockets.of(flow).operation = Operation("jsonrpc", "reset", "call reset", frozenset({Access.EXECUTE}), ("reset",), {"path": "/ws"})
    with pytest.raises(PolicyDeniedError):
        socket_steps.judge(runtime, flow)
    assert sockets.of(flow).judged is None


def test_a_held_message_is_not_judged_until_people_have():
    hold = model.Rule("held", "hold", services=("crm",), protocols=("jsonrpc",), approval="one-sre")
    runtime = runtime_with(None, 0.0, ALLOWS, hold)
    flow = session(runtime, reading="jsonrpc")
    sockets.of(flow).operation = Operation("jsonrpc", "reset", "call reset", frozenset({Access.EXECUTE}), ("reset",), {"path": "/ws"})
    socket_steps.judge(runtime, flow)
    assert sockets.of(flow).judged is None


def test_what_a_messages_rule_masks_is_masked_from_then_on():
    calls = model.Rule("calls", "allow", services=("crm",), protocols=("jsonrpc",), mask=("pii",))
    runtime = runtime_with(None, 0.0, ALLOWS, calls)
    flow = session(runtime, reading="jsonrpc", masks=("secrets",))
    sockets.of(flow).operation = Operation("jsonrpc", "get", "call get", frozenset({Access.EXECUTE}), ("get",), {"path": "/ws"})
    socket_steps.judge(runtime, flow)
    decision = exchange.read(flow.metadata).decision
    assert decision is not None
    assert decision.masks == ("pii", "secrets")
