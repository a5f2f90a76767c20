"""Small true shells for the host's own tests: the real chain, guard, departure, arrival, drain and listeners around them.

One service `crm` at the address in GUARDHOUSE_TEST_UPSTREAM, the caller `Bearer good`, everything under /denied denied,
everything else allowed. Intents and outcomes are kept in memory and written to GUARDHOUSE_TEST_EVENTS as JSON lines.
`GUARDHOUSE_TEST_FAULT` ("addon.hook=exception") makes one hook raise when the request carries `X-Fault: 1`.
"""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from mitmproxy import http

from addons.core import exchange
from addons.core.config import model
from addons.core.errors import AuditError, AuthenticationError, PolicyDeniedError, TokenExpired
from addons.core.exchange import Access, Decision, Effect, Operation, Principal, Redacted
from addons.hardening import Hardening
from addons.host import gate
from addons.host.arrival import Arrival, note_received
from addons.host.departure import Departure
from addons.host.drain import Drain
from addons.host.listeners import Listeners
from addons.host.runtime import Runtime
from tests import harness


def address(name: str, default: str) -> model.Address:
    host, _, port = os.environ.get(name, default).rpartition(":")
    return model.Address(host, int(port))


def certificate_authority() -> model.Reference | None:
    path = os.environ.get("GUARDHOUSE_TEST_CA")
    return model.Reference("file", path, "upstream-ca") if path else None


def snapshot(home: Path) -> model.Snapshot:
    """The test's configuration: listeners and the upstream come from the environment."""
    listeners = [model.Listener("local", address("GUARDHOUSE_TEST_LISTEN", "127.0.0.1:18442"), None, ("crm",))]
    if "GUARDHOUSE_TEST_TLS" in os.environ:
        tls = model.Tls(model.Reference("auto", "", "listener-tls"))
        listeners.append(model.Listener("tls", address("GUARDHOUSE_TEST_TLS", ""), tls, ("crm",)))
    if "GUARDHOUSE_TEST_TLS2" in os.environ:
        ca = model.Reference("file", os.environ["GUARDHOUSE_TEST_CLIENT_CA"], "client-ca")
        tls = model.Tls(model.Reference("auto", "", "listener-tls2"), client_ca=ca)
        listeners.append(model.Listener("tls2", address("GUARDHOUSE_TEST_TLS2", ""), tls, ("crm",)))
    upstream = address("GUARDHOUSE_TEST_UPSTREAM", "127.0.0.1:18446")
    limits = model.Limits(**json.loads(os.environ.get("GUARDHOUSE_TEST_LIMITS", "{}")))
    base = harness.snapshot(
        home,
        listeners=tuple(listeners),
        services={
            "crm": model.Service(
                "crm",
                "http",
                os.environ.get("GUARDHOUSE_TEST_SCHEME", "http"),
                upstream,
                ca=certificate_authority(),
                **json.loads(os.environ.get("GUARDHOUSE_TEST_TIMES", "{}")),
            )
        },
        limits=limits,
        extra_scripts=tuple(Path(path) for path in os.environ.get("GUARDHOUSE_TEST_SCRIPTS", "").split(":") if path),
    )
    return replace(
        base,
        gateway=replace(base.gateway, control=replace(base.gateway.control, bind=address("GUARDHOUSE_TEST_CONTROL", "127.0.0.1:18444"))),
    )


class Keys:
    def derive(self, label: str) -> bytes:
        return label.encode().ljust(32, b"-")


class TestHardening(Hardening):
    """Reads no file: the rest is the real one."""

    def read(self) -> None:
        self.runtime.snapshot = snapshot(Path(os.environ["GUARDHOUSE_TEST_HOME"]))
        self.runtime.keys, self.runtime.secrets = Keys(), object()  # type: ignore[assignment]


class Shell:
    """Fault injection for all: raises in the hook that GUARDHOUSE_TEST_FAULT names."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime


class Validation(Shell):
    name = "guardhouse-validation"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        pass

    def request(self, flow: http.HTTPFlow) -> None:
        pass


class Routing(Shell):
    name = "guardhouse-routing"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        service = self.runtime.snapshot_of(flow).gateway.services["crm"]
        flow.request.scheme, flow.request.host, flow.request.port = service.scheme, service.address.host, service.address.port
        record = exchange.read(flow.metadata)
        record.service = "crm"
        exchange.write(flow.metadata, record)

    def request(self, flow: http.HTTPFlow) -> None:
        record = exchange.read(flow.metadata)
        record.operation = Operation("http", flow.request.method, flow.request.path, frozenset({Access.READ}), (flow.request.path,), {})
        exchange.write(flow.metadata, record)


class TrueVerifier:
    """Every token is good until `expired` is set."""

    expired = False

    def still_good(self, principal: Principal, snapshot: model.Snapshot) -> None:
        if self.expired:
            raise TokenExpired


class Development(Shell):
    name = "guardhouse-development"


class Identity(Shell):
    name = "guardhouse-identity"

    async def running(self) -> None:
        self.runtime.identity = TrueVerifier()  # type: ignore[assignment]

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if "identity-waits" in flow.request.path:
            await asyncio.sleep(3.0)
        token = flow.request.headers.pop("authorization", "")
        if token != "Bearer good":
            raise AuthenticationError(code="credential-required")
        record = exchange.read(flow.metadata)
        record.principal = Principal("https://issuer.example", "dev", "alice", expires_at=4e9)
        exchange.write(flow.metadata, record)


class Session(Shell):
    name = "guardhouse-session"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        pass


class Policy(Shell):
    name = "guardhouse-policy"

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.path.startswith("/denied"):
            raise PolicyDeniedError
        record = exchange.read(flow.metadata)
        record.decision = Decision(Effect.ALLOW, ("all",), masks=("pii",) if "masked" in flow.request.path else ())
        exchange.write(flow.metadata, record)


class PlainRedactor:
    def redact(self, data: bytes, media_type: str | None, service: str | None) -> Redacted:
        return Redacted(b"(masked)")

    def is_quick(self, data: bytes, media_type: str | None, service: str | None) -> bool:
        return True

    def redact_text(self, text: str, service: str | None) -> str:
        return "(masked)"


class Prepare(Shell):
    name = "guardhouse-prepare"

    async def running(self) -> None:
        self.runtime.redactor = PlainRedactor()
        self.runtime.masker = object()  # type: ignore[assignment]

    def request(self, flow: http.HTTPFlow) -> None:
        pass


class Memory:
    """A store that is a file of JSON lines."""

    def __init__(self) -> None:
        self.path = Path(os.environ["GUARDHOUSE_TEST_EVENTS"])
        self.seq = 0

    async def append(self, event: Any, *, reserve: bool = False, release: bool = False) -> int:
        self.seq += 1
        plain = event if isinstance(event, dict) else {"kind": event.kind, **event.core}
        with self.path.open("a") as file:
            file.write(json.dumps({"seq": self.seq, **plain}) + "\n")
        return self.seq

    def tell(self, event: Any) -> None:
        self.told = asyncio.ensure_future(self.append(event))

    async def close(self) -> None:
        await self.append({"kind": "closed"})


class Intent(Shell):
    name = "guardhouse-intent"

    async def running(self) -> None:
        self.runtime.store = Memory()  # type: ignore[assignment]
        self.runtime.on_close("audit", self.runtime.store.close)

    async def request(self, flow: http.HTTPFlow) -> None:
        if "audit-fails" in flow.request.path:
            raise AuditError
        record = exchange.read(flow.metadata)
        gate.of(flow).intent_seq = await self.runtime.store.append({"kind": "intent", "flow": record.id, "path": flow.request.path})


class Waiting:
    """Holds what has `held` in its path until the desk is drained."""

    def __init__(self) -> None:
        self.waiting: set[asyncio.Future[None]] = set()

    async def drain(self) -> None:
        for future in self.waiting:
            future.set_result(None)


class Approval(Shell):
    name = "guardhouse-approval"
    no_deadline = True

    async def running(self) -> None:
        self.runtime.holds = Waiting()  # type: ignore[assignment]

    async def request(self, flow: http.HTTPFlow) -> None:
        if "released" in flow.request.path:
            while not (Path(os.environ["GUARDHOUSE_TEST_HOME"]) / "release").exists():
                await asyncio.sleep(0.02)
        if "held" not in flow.request.path:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        holds: Any = self.runtime.holds
        holds.waiting.add(future)
        await future
        holds.waiting.discard(future)
        from addons.core.errors import GuardhouseError

        raise GuardhouseError("Guardhouse is stopping, your request was not sent.", code="shutting-down")


class Credentials(Shell):
    name = "guardhouse-credentials"

    def request(self, flow: http.HTTPFlow) -> None:
        flow.request.headers["authorization"] = "Bearer upstream-secret"
        gate.of(flow).injected = {"authorization": "Bearer upstream-secret"}


class Apply(Shell):
    name = "guardhouse-apply"

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        pass

    def response(self, flow: http.HTTPFlow) -> None:
        note_received(self.runtime, flow)
        if "unmasked" not in flow.request.path:
            gate.of(flow).receipt = True


class Recording(Shell):
    name = "guardhouse-recording"


class Outcome(Shell):
    name = "guardhouse-outcome"
    sees_settled = True

    async def response(self, flow: http.HTTPFlow) -> None:
        await self._end(flow, "complete")

    async def error(self, flow: http.HTTPFlow) -> None:
        await self._end(flow, "error")

    async def _end(self, flow: http.HTTPFlow, kind: str) -> None:
        door = gate.of(flow)
        if door.terminal:
            return
        door.terminal = True
        record = exchange.read(flow.metadata)
        status = flow.response.status_code if flow.response else 0
        code = door.refusal.code if door.refusal else None
        detail = door.refusal.detail if door.refusal else None
        plain = {
            "kind": kind,
            "flow": record.id,
            "status": status,
            "code": code,
            "detail": detail,
            "path": flow.request.path,
            "notes": record.notes,
        }
        await self.runtime.store.append(plain)  # type: ignore[union-attr,arg-type]


class Control(Shell):
    name = "guardhouse-control"


SHELLS = [
    TestHardening, Development, Validation, Routing, Identity, Session, Policy, Prepare, Intent, Approval, Credentials, Departure, Apply, Arrival, Recording, Outcome,
    Control, Drain, Listeners,
]  # fmt: skip  # fmt: skip
