"""The shell: a real server in this loop, over TLS of our own authority, with real parts behind it."""

import asyncio
import logging
import ssl
from dataclasses import replace

import httpx
import pytest

from addons import control
from addons.core.config import model
from addons.core.exchange import Redacted
from addons.core.services.credentials.keyring import KeyRing
from addons.host import asgi
from addons.host.fail_closed import hooks_of
from addons.host.runtime import Runtime
from tests import harness
from tests.parts.control import FakeDesk, FakeIdentity, FakeStore, bearer, card, person
from tests.parts.processes import free_ports


class PlainRedactor:
    """Masks one name."""

    def redact(self, data, media_type, service):
        return Redacted(data)

    def is_quick(self, data, media_type, service):
        return True

    def redact_text(self, text, service):
        return text.replace("jane", "[MASKED]")


class Warmth:
    is_warm = True


@pytest.fixture
async def runtime(tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    base = harness.snapshot(home=tmp_path)
    port = free_ports(1)[0]
    terms = replace(base.gateway.control, bind=model.Address("127.0.0.1", port), public_url=f"https://127.0.0.1:{port}")
    made = harness.runtime(replace(base, gateway=replace(base.gateway, control=terms)))
    made.keys, made.secrets, made.redactor, made.masker = KeyRing(b"r" * 32, {}), object(), PlainRedactor(), Warmth()
    made.holds, made.store, made.identity = FakeDesk(), FakeStore(), FakeIdentity(made.clock)
    made.identity.add("bob", person("bob", "dev:sre"))
    yield made
    for _, close in reversed(made.closers):
        await close()


def trusting(runtime):
    gateway = runtime.snapshot.gateway
    context = ssl.create_default_context(cafile=gateway.state / "certificates" / "ca.pem")
    return httpx.AsyncClient(base_url=gateway.control.public_url, verify=context)


async def test_it_serves_https_under_the_local_authority_and_stops(runtime, caplog):
    caplog.set_level(logging.INFO)
    runtime.holds.add(card())
    await control.Control(runtime).running()
    async with trusting(runtime) as client:
        alive = await client.get("/healthz")
        listed = await client.get("/v1/approvals", headers=bearer("bob"))
    assert (alive.status_code, [one["id"] for one in listed.json()["approvals"]]) == (200, ["ap_1"])
    assert "server" not in alive.headers
    assert [name for name, _ in runtime.closers] == ["the control plane"]
    await runtime.closers.pop()[1]()
    async with trusting(runtime) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("/healthz")
    logged = [one.getMessage() for one in caplog.records if not one.name.startswith("httpx")]
    assert "/v1/approvals" not in " ".join(logged)  # no access log: paths and queries are not for log files


async def test_it_takes_no_signal(runtime):
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    await control.Control(runtime).running()
    assert {number: signal.getsignal(number) for number in before} == before


async def test_a_port_in_use_is_an_error_that_names_it(runtime):
    await control.Control(runtime).running()
    with pytest.raises(OSError, match=r"control.bind 127.0.0.1:\d+"):
        await control.Control(runtime).running()


async def test_it_does_not_start_before_all_others_run():
    with pytest.raises(RuntimeError, match="not filled: snapshot clock keys"):
        await control.Control(Runtime()).running()


async def test_it_has_no_traffic_hook():
    assert hooks_of(control.Control(Runtime())) == []


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        pytest.param({}, (), id="ready"),
        pytest.param({"draining": True}, ("draining",), id="draining"),
        pytest.param({"holds": None}, ("waiting-for:holds",), id="empty-slot"),
        pytest.param({"chain": ("guardhouse-listeners",)}, ("starting",), id="listeners-not-bound"),
    ],
)
async def test_readiness_tells_what_is_missing(runtime, change, problems, monkeypatch):
    monkeypatch.setattr(harness.FullRuntime, "missing", Runtime.missing)
    for name, value in change.items():
        setattr(runtime, name, value)
    assert control.readiness(runtime, runtime.clock).problems == problems


async def test_readiness_waits_for_the_masking_engine(runtime):
    runtime.masker.is_warm = False
    assert control.readiness(runtime, runtime.clock).problems == ("warming-up",)


async def test_development_and_observe_mode_are_loud(runtime):
    gateway = runtime.snapshot.gateway
    observed = replace(gateway.services["crm"], observe=model.Observe(until=runtime.clock.now() + 60, reason="migration"))
    development = model.Development(model.Address("127.0.0.1", 1), model.Address("127.0.0.1", 2), {})
    runtime.snapshot = replace(runtime.snapshot, gateway=replace(gateway, services={"crm": observed}, development=development))
    assert control.readiness(runtime, runtime.clock).notes == ("development", "observe:crm")
    await runtime.clock.advance(60)
    assert control.readiness(runtime, runtime.clock).notes == ("development",)


async def test_an_answer_that_breaks_off_is_not_a_whole_one(tmp_path):
    async def breaking(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("secret detail")

    serving = asgi.Serving(breaking, model.Address("127.0.0.1", 0), None)
    await serving.start()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.1:{serving.port}/")
    await serving.stop()


async def test_stopping_cuts_a_long_poll(runtime):
    runtime.holds.add(card())
    await control.Control(runtime).running()
    async with trusting(runtime) as client:
        waiting = asyncio.create_task(client.get("/v1/approvals/ap_1?wait=30&version=1", headers=bearer("bob"), timeout=40))
        while not client._transport._pool.connections or not runtime.identity.tokens:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(8):
            await runtime.closers.pop()[1]()
        result = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(result[0], httpx.HTTPError) or result[0].status_code >= 500


async def test_a_connection_that_says_nothing_is_closed(monkeypatch):
    async def answering(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(asgi, "FIRST_REQUEST_SECONDS", 0.2)
    serving = asgi.Serving(answering, model.Address("127.0.0.1", 0), None)
    await serving.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{serving.port}/")).status_code == 204
    await serving.stop()
