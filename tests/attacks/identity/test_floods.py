"""Floods: made-up keys, junk tokens, a bomb for a key set. They cost the attacker; everybody else goes on."""

import json

import pytest

from addons.core import exchange
from addons.host import gate
from tests.parts.identity import Front, bearer, private_key, public_jwk


async def test_made_up_key_names_cost_one_fetch_and_nobody_elses_request():
    front = Front()
    good = front.desk.provider.token()
    assert (await front.send([bearer(good)])).response is None
    front.desk.clock.mono += 11
    before = len(front.desk.provider.fetched)
    statuses = set()
    for number in range(1000):
        flow = await front.send([bearer(front.desk.provider.token({"kid": f"made-up-{number}"}))])
        statuses.add((flow.response.status_code, gate.of(flow).refusal.code))
        if number % 100 == 0:
            assert (await front.send([bearer(good)])).response is None
    assert statuses == {(401, "token-invalid"), (429, "too-many-requests")}
    assert len(front.desk.provider.fetched) - before == 2  # one discovery, one key set


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b'{"keys":' + b"[" * 100_000, id="nested"),
        pytest.param(json.dumps({"keys": [{"kty": "EC"}] * 10_000}).encode(), id="ten-thousand-keys"),
        pytest.param(json.dumps({"keys": [{**public_jwk(private_key("P-256", "k1")), "kid": "k1"}] * 2}).encode(), id="one-name-twice"),
        pytest.param(b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"}]}', id="a-shared-secret"),
    ],
)
async def test_a_poisoned_key_set_changes_nothing(bomb):
    front = Front()
    assert (await front.send([bearer(front.desk.provider.token())])).response is None
    front.desk.provider.raw_set = bomb
    front.desk.clock.mono += 11
    assert (await front.send([bearer(front.desk.provider.token({"kid": "new"}))])).response.status_code == 401
    assert (await front.send([bearer(front.desk.provider.token(jti="another"))])).response is None


async def test_a_provider_that_is_gone_opens_nothing_and_blames_nobody():
    front = Front()
    front.desk.provider.down = True
    flow = await front.send([bearer(front.desk.provider.token())])
    assert (flow.response.status_code, gate.of(flow).refusal.code) == (503, "identity-unavailable")
    assert int(flow.response.headers["retry-after"]) >= 1
    assert exchange.read(flow.metadata).principal is None


async def test_junk_does_not_push_a_good_identity_out_and_one_peer_does_not_use_up_the_second():
    front = Front()
    good = front.desk.provider.token()
    await front.send([bearer(good)])
    for number in range(3000):
        await front.send([bearer(f"a.b{number}.c")])
    assert len(front.desk.verifier._verdicts.good) == 1
    assert (await front.send([bearer(good)])).response is None
    fresh = front.desk.provider.token(jti="of-another-peer")
    assert (await front.desk.verify(fresh, peer="203.0.113.9")).subject == "alice"


async def test_a_token_of_sixteen_megabytes_is_not_even_hashed():
    front = Front()
    flow = await front.send([bearer("a" * (16 << 20))])
    assert (flow.response.status_code, gate.of(flow).refusal.detail) == (400, "token-size")
