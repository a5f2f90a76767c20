"""Allow, deny or hold, and which masks the answer owes.

Stands after identity, session and routing (rules speak of principal, purpose and operation) and before masking (which
carries out the obligation). The decision is `addons.core.policy.evaluate.decide`; it is written down before a denial is
raised, so that the audit has it either way. A hold is not waited for here: `approval` does.
"""

from mitmproxy import http

from addons.core import exchange
from addons.core.errors import GuardhouseError
from addons.core.exchange import Effect
from addons.core.masking.rules import covers
from addons.core.policy import masked_filters, replays
from addons.core.policy.evaluate import decide, denial
from addons.host import socket_steps
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime


class Policy:
    name = "guardhouse-policy"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def request(self, flow: http.HTTPFlow) -> None:
        snapshot = self.runtime.snapshot_of(flow)
        if self.runtime.clock is None:
            raise GuardhouseError(detail="no clock")
        record = exchange.read(flow.metadata)
        decision = decide(snapshot, record, self.runtime.clock.now())
        record.decision = decision
        exchange.write(flow.metadata, record)
        if decision.effect is Effect.DENY:
            raise denial(decision, record)
        replays.check(record)
        masked_filters.check(snapshot, record, covers)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        socket_steps.judge(self.runtime, flow)


addons = [guard(Policy(Runtime()))]
