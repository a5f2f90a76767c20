"""Small true implementations for tests, and live flows: the one place that imports `mitmproxy.test`.

Nothing here is a mock of our own code. `FakeClock` is a clock that only moves when told; `snapshot` is a small valid
configuration without files; `live_flow` is what mitmproxy hands to a hook.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mitmproxy import http
from mitmproxy.test import tflow, tutils

from addons.core.config import model
from addons.host.runtime import Runtime


class FakeClock:
    """A clock that stands still until `advance` moves it, and wakes whoever slept so long."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.wall = start
        self.mono = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.wall

    def now_us(self) -> int:
        return int(self.wall * 1_000_000)

    def monotonic(self) -> float:
        return self.mono

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.mono + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move both clocks and let everybody run whose time has come."""
        await self.settle()
        target = self.mono + seconds
        while True:
            due = sorted((at for at, future in self._sleepers if at <= target and not future.done()))
            if not due:
                break
            self._move_to(due[0])
            await self.settle()
        self._move_to(target)
        await self.settle()

    async def settle(self) -> None:
        """Let every task that can run do so."""
        for _ in range(20):
            await asyncio.sleep(0)

    def _move_to(self, mono: float) -> None:
        self.wall += mono - self.mono
        self.mono = mono
        for at, future in self._sleepers:
            if at <= mono and not future.done():
                future.set_result(None)
        self._sleepers = [(at, future) for at, future in self._sleepers if not future.done()]


def snapshot(home: Path = Path("/nonexistent"), **gateway: Any) -> model.Snapshot:
    """A small valid configuration: one service `crm`, one issuer `dev`, no rules. Keywords replace members of Gateway."""
    address = model.Address("127.0.0.1", 8446)
    auto = model.Reference("auto", "", "root-key")
    base = model.Gateway(
        name="test",
        home=home,
        state=home / "state",
        development=None,
        keys={"root": auto},
        listeners=(model.Listener("local", model.Address("127.0.0.1", 8442), None, ("crm",)),),
        extra_scripts=(),
        limits=model.Limits(),
        control=model.Control(
            bind=model.Address("127.0.0.1", 8444),
            tls=model.Tls(model.Reference("auto", "", "control")),
            public_url="https://127.0.0.1:8444",
            audiences=("https://127.0.0.1:8444/",),
            sign_in=model.SignIn(),
            roles={"investigator": ("dev:investigators",), "admin": ("dev:sre",)},
        ),
        identity=model.Identity(
            public_url="https://127.0.0.1:8443",
            issuers=(model.Issuer(name="dev", preset="oidc", issuer="http://127.0.0.1:8445", audiences=("https://127.0.0.1:8443/",)),),
        ),
        purpose=model.Purpose(catalogue=("support/*", "change/*", "demo/*")),
        session=model.SessionTerms(),
        forward_baggage=False,
        services={"crm": model.Service("crm", "http", "http", address)},
        audit=model.AuditTerms(database=home / "audit.db", origin="guardhouse.example/test/r1"),
    )
    pii = model.Profile("pii", {"EMAIL_ADDRESS": model.EntityRule("EMAIL_ADDRESS")})
    secrets = model.Profile("secrets", {"SECRET": model.EntityRule("SECRET")})
    record = model.Profile("record", {})
    return model.Snapshot(
        digest="sha-256:" + "0" * 64,
        folder=home / "policies",
        gateway=replace(base, **gateway),
        rules=model.Rules("deny", ()),
        masking=model.Masking(
            "token", "US", ("US", "GB", "DE", "FR"), "tenant", model.MaskLimits(), "mask",
            {"pii": pii, "secrets": secrets, "record": record}, {"crm": model.MaskedService(always=("secrets",))},
        ),
        approvals=model.Approvals(
            {"one-sre": model.ApprovalTerms("one-sre", (model.Requirement("dev:sre", 1),), assurance="file")},
            {"dev:bob": ("dev:sre",)}, model.Signals(None), {},
        ),
        retention=model.Retention(()),
    )  # fmt: skip


class FullRuntime(Runtime):
    """A Runtime whose required slots count as filled: tests fill the ones they use."""

    def missing(self) -> list[str]:
        return [name for name in ("snapshot", "clock") if getattr(self, name) is None]


def runtime(configuration: model.Snapshot | None = None, clock: FakeClock | None = None) -> Runtime:
    """A Runtime for the test of one shell."""
    made = FullRuntime()
    made.snapshot = configuration or snapshot()
    made.clock = clock or FakeClock()
    return made


def live_flow(
    method: str = "GET", path: str = "/customers", headers: Iterable[tuple[str, str]] = (), body: bytes = b"", host: str = "127.0.0.1",
    response: http.Response | None = None, http_version: str = "HTTP/1.1", metadata: Mapping[str, Any] | None = None,
) -> http.HTTPFlow:  # fmt: skip
    """A flow as mitmproxy hands it to a hook: live, with a Host header, nothing opened yet."""
    fields = [(b"Host", host.encode()), *((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers)]
    request = tutils.treq(
        method=method.encode(), path=path.encode(), headers=http.Headers(fields), content=body, host=host, port=8442, http_version=http_version.encode(),
        scheme=b"http", authority=b"",
    )  # fmt: skip
    flow = tflow.tflow(req=request, resp=response if response is not None else False)
    flow.live = True
    flow.metadata.update(metadata or {})
    return flow
