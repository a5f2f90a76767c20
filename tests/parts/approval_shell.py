"""The approval shell with a desk in memory, and flows that a hold rule stops."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mitmproxy import http

from addons.approval import Approval
from addons.core import exchange
from addons.core.approval.desk import Desk
from addons.core.config import model
from addons.core.errors import TokenExpired
from addons.core.exchange import Access, Effect, Operation, Principal, Redacted
from addons.core.policy.evaluate import decide
from addons.host import gate
from addons.host.facts import request_facts
from addons.host.fail_closed import guard, open_record
from tests import harness
from tests.parts.approval import ALICE, Keys, MemoryLedger, snapshot

SERVICE = model.Service("crm", "http", "http", model.Address("127.0.0.1", 8446))


class Canary:
    """A redactor that knows one kind of secret: words that begin with CANARY-."""

    def redact(self, data: bytes, media_type: str | None, service: str | None) -> Redacted:
        try:
            return Redacted(self.redact_text(data.decode(), service).encode(), {"WORD": 1} if b"CANARY" in data else {})
        except UnicodeDecodeError:
            return Redacted(b"", {}, complete=False)

    def is_quick(self, data: bytes, media_type: str | None, service: str | None) -> bool:
        return True

    def redact_text(self, text: str, service: str | None) -> str:
        import re

        return re.sub(r"CANARY[-A-Z0-9]*", "*****", text)


class StillGood:
    """An identity that a test can end."""

    good = True

    def still_good(self, principal: Principal, snapshot: model.Snapshot) -> None:
        if not self.good:
            raise TokenExpired()


class Shell:
    """The shell on a Runtime whose store is in memory."""

    def __init__(self, observe: bool = False, masks: tuple[str, ...] = ()) -> None:
        self.clock = harness.FakeClock()
        until = model.Observe(self.clock.now() + 3600, "trying out")
        self.rule = model.Rule(
            "deletes", "hold", services=("crm",), access=("delete",), approval="one-sre", mask=masks, where="rules.yaml:3"
        )
        self.allow = model.Rule("reads", "allow", services=("crm",), access=("read",), where="rules.yaml:5")
        service = replace(SERVICE, observe=until) if observe else SERVICE
        self.runtime = harness.runtime(snapshot(self.rule, self.allow, services={"crm": service}), self.clock)
        self.identity = StillGood()
        self.runtime.identity = self.identity  # type: ignore[assignment]  # a small true one
        self.runtime.redactor = Canary()
        self.ledger = MemoryLedger()
        self.shell = Approval(self.runtime)
        self.desk = Desk(self.ledger, self.clock, Keys(), lambda: self.runtime.snapshot, self.shell._mask_text, lambda reference: b"")
        self.runtime.holds = self.desk
        self.guarded: Any = guard(self.shell)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.ledger.tables["approval"]

    def flow(
        self, method: str = "DELETE", path: str = "/customers/7", headers: Iterable[tuple[str, str]] = (), body: bytes = b"",
        effect: Effect = Effect.HOLD, detail: str | None = None,
    ) -> http.HTTPFlow:  # fmt: skip
        """A flow as it comes to the shell's `request`: identity, operation and decision are there."""
        flow = harness.live_flow(method, path, headers, body)
        open_record(self.runtime, flow)
        record = exchange.read(flow.metadata)
        access = Access.DELETE if method == "DELETE" else Access.READ
        record.service, record.principal, record.purpose = "crm", ALICE, "demo/tour"
        record.purpose_source, record.purpose_detail = "header", detail
        record.operation = Operation(
            "http", method, f"{method} {path.partition('?')[0]}", frozenset({access}), (path,), {"path": path, "method": method}
        )
        record.decision = decide(self.runtime.snapshot, record, self.clock.now())
        exchange.write(flow.metadata, record)
        self.shell.requestheaders(flow)
        return flow

    async def waiting(self, flow: http.HTTPFlow) -> asyncio.Task[None]:
        """The shell's request hook, begun; it waits now, or has ended."""
        before = len(self.ledger.log)
        task = asyncio.create_task(self.guarded.request(flow))
        for _ in range(200):
            await self.clock.settle()
            if task.done() or any(entry.waiters for entry in self.desk.book.open.values() if self._waits(entry, flow)):
                break
            await asyncio.sleep(0.005)
        assert task.done() or len(self.ledger.log) >= before
        return task

    def _waits(self, entry: Any, flow: http.HTTPFlow) -> bool:
        ident = exchange.read(flow.metadata).id
        return any(waiter.flow_id == ident for waiter in entry.waiters)

    async def approve(self, who: Any) -> None:
        from addons.core.approval.decide import Vote

        row = self.rows[-1]
        await self.desk.decide(Vote(row["id"], row["digest"], "approve", "agreed in the change board", who, "rest"))

    def reload(self, *rules: model.Rule) -> None:
        """A new Snapshot with further rules."""
        now = self.runtime.snapshot
        self.runtime.snapshot = replace(now, digest="sha-256:" + "1" * 64, rules=model.Rules("deny", (*now.rules.rules, *rules)))

    def change(
        self,
        rules: model.Rules | None = None,
        terms: Any = None,
        service: dict[str, Any] | None = None,
        profile: dict[str, Any] | None = None,
    ) -> None:
        """A new Snapshot with one thing changed."""
        now = self.runtime.snapshot
        assert now is not None
        if rules is not None:
            now = replace(now, rules=rules)
        if terms is not None:
            now = replace(now, approvals=replace(now.approvals, terms=terms))
        if service is not None:
            services = {**now.gateway.services, "crm": replace(now.gateway.services["crm"], **service)}
            now = replace(now, gateway=replace(now.gateway, services=services))
        if profile is not None:
            profiles = {**now.masking.profiles, "pii": replace(now.masking.profiles["pii"], **profile)}
            now = replace(now, masking=replace(now.masking, profiles=profiles))
        self.runtime.snapshot = replace(now, digest="sha-256:" + "2" * 64)

    async def use(self, flow: http.HTTPFlow) -> None:
        """What departure does as its last act."""
        record = exchange.read(flow.metadata)
        facts = request_facts(flow, self.runtime.snapshot_of(flow), without=gate.of(flow).injected)
        await self.desk.use(record.hold, facts, record, lambda: None)
