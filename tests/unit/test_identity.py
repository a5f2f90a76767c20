"""The identity shell: who asks, with the credential taken out of the request, whatever the outcome."""

import pytest

from addons.core import exchange
from addons.core.config import model
from addons.core.identity.verify import Verifier
from addons.host import gate
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime
from addons.identity import Identity
from tests import harness
from tests.parts.identity import Desk

FLOW = "018f2c5e-7e9a-7b1c-8d2e-3f4a5b6c7d8e"


def stage(**services) -> tuple[Desk, Runtime]:
    desk = Desk()
    runtime = harness.runtime(desk.snapshot, desk.clock)
    runtime.identity = desk.verifier
    return desk, runtime


async def pass_headers(runtime: Runtime, flow):
    shell = guard(Identity(runtime))
    await shell.requestheaders(flow)
    return shell, exchange.read(flow.metadata)


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


async def test_a_right_token_makes_a_principal_and_leaves_the_request():
    desk, runtime = stage()
    flow = harness.live_flow(headers=[bearer(desk.provider.token()), ("X-Remote-User", "root"), ("Accept", "*/*")])
    _, record = await pass_headers(runtime, flow)
    assert flow.response is None
    assert record.principal.person == "corp:alice"
    assert record.notes == ["stripped:x-remote-user"]
    assert [name.lower() for name in flow.request.headers] == ["host", "accept"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param([], 401, "credential-required", id="none"),
        pytest.param([("Authorization", "Bearer a.b.c")], 401, "token-invalid", id="junk"),
        pytest.param([("Authorization", "Bearer x"), ("Authorization", "Bearer y")], 400, "credential-ambiguous", id="two"),
        pytest.param([("X-Api-Key", "gh_x")], 401, "key-unknown", id="keys-without-a-store"),
    ],
)
async def test_a_refusal_takes_the_credential_out_all_the_same(headers, status, code):
    _, runtime = stage()
    flow = harness.live_flow(headers=[*headers, ("Impersonate-User", "root")])
    _, record = await pass_headers(runtime, flow)
    assert (flow.response.status_code, record.principal, gate.of(flow).refusal.code) == (status, None, code)
    assert [name.lower() for name in flow.request.headers] == ["host"]
    assert (status == 401) == ("www-authenticate" in flow.response.headers)


async def test_a_token_that_dies_while_its_body_trickles_in_is_refused():
    desk, runtime = stage()
    flow = harness.live_flow("POST", headers=[bearer(desk.provider.token())], body=b"{}")
    shell, _ = await pass_headers(runtime, flow)
    desk.clock.wall += 631
    await shell.request(flow)
    assert (flow.response.status_code, gate.of(flow).refusal.code) == (401, "token-expired")


async def test_an_issuer_that_a_reload_removed_vouches_for_nobody():
    desk, runtime = stage()
    flow = harness.live_flow("POST", headers=[bearer(desk.provider.token())], body=b"{}")
    shell, _ = await pass_headers(runtime, flow)
    desk.verifier.follow(harness.snapshot(identity=model.Identity("https://x.example", ())))
    await shell.request(flow)
    assert (flow.response.status_code, gate.of(flow).refusal.detail) == (401, "issuer-removed")


@pytest.mark.parametrize(
    ("groups", "replay_of", "notes"),
    [(["investigators"], FLOW, []), (["sre"], None, ["stripped:guardhouse-replay-of", "dropped:replay-of"])],
    ids=["investigator", "anybody-else"],
)
async def test_a_replay_is_an_investigators(groups, replay_of, notes):
    desk, runtime = stage()
    desk.snapshot.gateway.control.roles["investigator"] = ("corp:investigators",)
    flow = harness.live_flow(headers=[bearer(desk.provider.token(groups=groups)), ("Guardhouse-Replay-Of", FLOW)])
    _, record = await pass_headers(runtime, flow)
    assert record.replay_of == replay_of
    assert "guardhouse-replay-of" not in flow.request.headers
    assert [note for note in record.notes if note.startswith("dropped")] == notes[1:]


async def test_a_whole_body_gets_its_length_and_loses_its_hop_by_hop_framing():
    desk, runtime = stage()
    flow = harness.live_flow("POST", headers=[bearer(desk.provider.token()), ("Transfer-Encoding", "chunked")], body=b"")
    shell, _ = await pass_headers(runtime, flow)
    flow.request.data.content = b'{"a": 1}'
    flow.request.headers.pop("content-length", None)
    await shell.request(flow)
    assert flow.response is None
    assert flow.request.headers["content-length"] == "8"
    assert "transfer-encoding" not in flow.request.headers


async def test_identity_headers_as_trailers_are_removed():
    desk, runtime = stage()
    flow = harness.live_flow("POST", headers=[bearer(desk.provider.token())], body=b"{}")
    shell, _ = await pass_headers(runtime, flow)
    flow.request.trailers = type(flow.request.headers)([(b"x-remote-user", b"admin"), (b"x-checksum", b"1")])
    await shell.request(flow)
    assert flow.request.trailers.fields == ((b"x-checksum", b"1"),)
    assert exchange.read(flow.metadata).notes == ["stripped:x-remote-user"]


async def test_running_fills_the_slot_follows_reloads_and_is_closed_at_the_end():
    runtime = harness.runtime(Desk().snapshot)
    from addons.core.services.credentials.keyring import KeyRing

    runtime.keys = KeyRing(b"k" * 32, {})
    await Identity(runtime).running()
    assert isinstance(runtime.identity, Verifier)
    assert runtime.reloaders == [runtime.identity.follow]
    for _, close in runtime.closers:
        await close()


async def test_loaded_alone_it_refuses_everything():
    flow = harness.live_flow(headers=[bearer("a.b.c")])
    shell = guard(Identity(Runtime()))
    await shell.running()
    await shell.requestheaders(flow)
    assert flow.response.status_code == 503


async def test_a_refusal_says_where_a_token_is_to_be_had():
    _, runtime = stage()
    flow = harness.live_flow()
    await pass_headers(runtime, flow)
    told = 'resource_metadata="https://127.0.0.1:8444/.well-known/oauth-protected-resource"'
    assert flow.response.headers["www-authenticate"] == f'Bearer realm="guardhouse", {told}'
