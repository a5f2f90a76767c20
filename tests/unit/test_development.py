"""The development shell and `guardhouse dev token`: an issuer and an upstream of our own, on loopback only."""

import asyncio
import json
import socket
from dataclasses import replace

import httpx
import pytest
from click.testing import CliRunner

from addons.cli import dev
from addons.core.config import model
from addons.core.config.model import Address, Credential, DevelopmentPerson, Reference, Service
from addons.core.development.issuer import DevelopmentIssuer
from addons.core.development.serve import serve
from addons.core.errors import AuthenticationError, ConfigError
from addons.core.exchange import Actor
from addons.core.identity.jwks import KeySets
from addons.core.identity.presented import Presented
from addons.core.identity.verify import Verifier
from addons.core.services.credentials.references import Secrets
from addons.development import Development
from addons.host.runtime import Runtime
from tests import harness

AUDIENCES = ("https://127.0.0.1:8443/", "https://127.0.0.1:8444/")
PEOPLE = {
    "alice": DevelopmentPerson("alice", "human", ("support",)),
    "planner": DevelopmentPerson("planner", "agent", client="planner-agent", on_behalf_of="alice"),
}
KINDS = (model.KindRule("agent", clients=("planner-agent",)), model.KindRule("human", claim="kind", value="human"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def running(tmp_path):
    """A Runtime with both servers up; closed at the end."""
    terms = model.Development(Address("127.0.0.1", free_port()), Address("127.0.0.1", free_port()), PEOPLE)
    issuer = model.Issuer("dev", "development", f"http://{terms.issuer}", AUDIENCES, kinds=KINDS, signing_algorithms=("ES256",))
    service = Service("crm", "http", "http", terms.example_service, credential=Credential("bearer", Reference("env", "T", "service-crm")))
    snapshot = harness.snapshot(development=terms, services={"crm": service}, identity=model.Identity("https://127.0.0.1:8443", (issuer,)))
    runtime = harness.runtime(snapshot)
    runtime.secrets = Secrets(tmp_path, {"T": "service-secret"})
    await Development(runtime).running()
    yield runtime
    while runtime.closers:
        await runtime.closers.pop()[1]()


def terms_of(runtime: Runtime) -> model.Development:
    return runtime.snapshot.gateway.development


async def ask(runtime: Runtime, **asked) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"http://{terms_of(runtime).issuer}/token", json=asked)


async def test_a_token_of_the_blocks_people_is_accepted(running):
    from addons.core.clock import SystemClock

    verifier = Verifier(SystemClock(), KeySets(SystemClock()))
    for name, kind, groups, actors in (("alice", "human", ("dev:support",), ()), ("planner", "agent", (), ("planner",))):
        token = (await ask(running, name=name)).json()["access_token"]
        principal = await verifier.verify(Presented("bearer", token), running.snapshot, "local", "127.0.0.1")
        issuer = f"http://{terms_of(running).issuer}"
        assert (principal.subject, principal.kind, principal.groups) == ("alice", kind, groups)
        assert principal.actors == tuple(Actor(issuer, actor) for actor in actors)
        assert await verifier.verify_bearer(token, AUDIENCES[1:], running.snapshot, "127.0.0.1")
    await verifier.close()


async def test_a_token_of_an_earlier_start_is_refused(running):
    from addons.core.clock import SystemClock

    earlier = DevelopmentIssuer(terms_of(running), f"http://{terms_of(running).issuer}", AUDIENCES)
    verifier = Verifier(SystemClock(), KeySets(SystemClock()))
    with pytest.raises(AuthenticationError) as caught:
        await verifier.verify(Presented("bearer", earlier.token("alice")), running.snapshot, "local", "127.0.0.1")
    assert caught.value.detail == "key-unknown"
    await verifier.close()


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"name": "mallory"}, id="nobody-of-the-block"),
        pytest.param({"name": "alice", "minutes": 61}, id="more-than-an-hour"),
        pytest.param({"name": "alice", "minutes": 0}, id="no-time"),
        pytest.param({"name": "alice", "minutes": True}, id="minutes-of-another-type"),
        pytest.param({"name": "alice", "audience": "https://bank.example/"}, id="another-audience"),
        pytest.param({"name": "alice", "kind": "human"}, id="unknown-member"),
        pytest.param({"name": ["alice"]}, id="name-of-another-type"),
        pytest.param({}, id="nothing"),
    ],
)
async def test_the_issuer_mints_nothing_else(running, asked):
    answer = await ask(running, **asked)
    assert answer.status_code == 400
    assert "access_token" not in answer.json()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Host": "evil.example", "Content-Type": "application/json"}, 421, id="a-rebound-name"),
        pytest.param({"Content-Type": "text/plain"}, 400, id="a-form-that-a-web-page-can-send"),
    ],
)
async def test_a_web_page_gets_no_token(running, headers, status):
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://{terms_of(running).issuer}/token", content=b'{"name":"alice"}', headers=headers)
    assert answer.status_code == status


async def test_the_example_service_knows_only_its_gateway(running):
    base = f"http://{terms_of(running).example_service}"
    async with httpx.AsyncClient(base_url=base) as client:
        assert (await client.get("/customers")).status_code == 401
        assert (await client.get("/customers", headers={"Authorization": "Bearer wrong"})).status_code == 401
        client.headers["Authorization"] = "Bearer service-secret"
        assert (await client.get("/customers/7")).json()["email"] == "ana.ejemplo@example.com"
        assert (await client.put("/customers/7", json={"name": "Ana"})).json() == {"id": 7, "name": "Ana"}
        assert (await client.patch("/customers/7", json={"plan": "pro"})).json() == {"id": 7, "name": "Ana", "plan": "pro"}
        assert (await client.post("/customers", json={"name": "New"})).json() == {"id": 9, "name": "New"}
        assert (await client.delete("/customers/7")).status_code == 204
        assert (await client.delete("/customers/7")).status_code == 404
        assert (await client.get("/export/customers.csv")).text.startswith("id,name,email")
        assert len((await client.get("/export/customers.json")).json()) == 8
        assert (await client.get("/ws")).status_code == 404  # only a WebSocket opens it
        told = await client.get("/events?n=2")
        assert told.text.count("\n\n") == 3
        echoed = (await client.post("/echo?x=1", content=b"hello", headers={"X-A": "b"})).json()
        assert (echoed["method"], echoed["target"], echoed["body"]) == ("POST", "/echo?x=1", "hello")
        assert ["x-a", "b"] in echoed["headers"]
        stats = (await client.get("/stats")).json()
    assert stats["calls"]["DELETE /customers/7"] == 2
    assert stats["customers"] == [1, 2, 3, 4, 5, 6, 8, 9]


async def test_the_command_prints_the_token_only(running, monkeypatch):
    monkeypatch.setattr(dev, "snapshot_of", lambda policies: running.snapshot)
    done = await asyncio.to_thread(CliRunner().invoke, dev.command, ["token", "planner", "--minutes", "5", "--purpose", "demo/tour"])
    assert done.exit_code == 0, done.output
    assert done.output.count("\n") == 1 and done.output.count(".") == 2
    told = await asyncio.to_thread(CliRunner().invoke, dev.command, ["token", "alice", "--json"])
    assert set(json.loads(told.output)) == {"access_token", "token_type", "expires_in"}
    no = await asyncio.to_thread(CliRunner().invoke, dev.command, ["token", "mallory"])
    assert no.exit_code == 1 and "alice, planner" in no.output


async def test_the_command_says_when_nobody_answers(running, monkeypatch):
    absent = replace(terms_of(running), issuer=Address("127.0.0.1", free_port()))
    gateway = replace(running.snapshot.gateway, development=absent)
    monkeypatch.setattr(dev, "snapshot_of", lambda policies: replace(running.snapshot, gateway=gateway))
    done = await asyncio.to_thread(CliRunner().invoke, dev.command, ["token", "alice"])
    assert done.exit_code == 3 and "Start the gateway" in done.output


async def test_without_the_block_there_is_no_token(monkeypatch):
    monkeypatch.setattr(dev, "snapshot_of", lambda policies: harness.snapshot())
    done = CliRunner().invoke(dev.command, ["token", "alice"])
    assert done.exit_code == 3 and "unsafe_development" in done.output


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "localhost", "::", "127.0.0.1.evil.example"])
async def test_nothing_is_served_off_loopback(host):
    with pytest.raises(ConfigError) as caught:
        await serve(None, Address(host, 0))
    assert "loopback literal" in str(caught.value)


async def test_an_address_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError) as caught:
            await serve(None, Address("127.0.0.1", taken.getsockname()[1]))
    assert "cannot listen" in str(caught.value)


async def test_without_the_block_nothing_starts(running):
    for runtime in (harness.runtime(), Runtime()):
        await Development(runtime).running()
        assert runtime.closers == []


async def test_a_second_start_finds_the_addresses_taken(running):
    with pytest.raises(ConfigError):
        await Development(running).running()
