import asyncio

import pytest

from addons.core.config import model
from addons.core.errors import ConfigError, ConfigProblem
from addons.core.web.services import Readiness
from tests import harness
from tests.parts.control import DIGEST, Bench, bearer, card

METADATA = 'resource_metadata="https://127.0.0.1:8444/.well-known/oauth-protected-resource"'
GOOD = {"effect": "approve", "digest": DIGEST, "reason": "CHG-4711 agreed in the change board"}


@pytest.fixture
def bench():
    made = Bench()
    made.desk.add(card())
    return made


async def test_a_reviewer_approves_and_sees_the_card(bench):
    async with bench.client() as client:
        answer = await client.post("/v1/approvals/ap_1/decision", json=GOOD | {"grant": {"kind": "one_time"}}, headers=bearer("bob"))
    assert (answer.status_code, answer.json()["state"]) == (200, "approved")
    assert [(vote.voter.person, vote.channel, vote.assurance) for vote in bench.desk.votes] == [("dev:bob", "rest", "oidc")]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(GOOD | {"digest": "hmac-sha-256:0"}, 409, "digest-mismatch", id="other-digest"),
        pytest.param({"effect": "approve", "reason": "long enough"}, 422, "invalid", id="no-digest"),
        pytest.param(GOOD | {"effect": "allow"}, 422, "invalid", id="unknown-effect"),
        pytest.param(GOOD | {"force": True}, 422, "invalid", id="unknown-field"),
        pytest.param(GOOD | {"reason": 7}, 422, "invalid", id="wrong-type"),
        pytest.param(GOOD | {"reason": "x" * 1001}, 422, "invalid", id="reason-too-long"),
        pytest.param(GOOD | {"reason": ""}, 422, "invalid", id="reason-missing"),
        pytest.param(GOOD | {"grant": {"kind": "window"}}, 422, "invalid", id="grant-not-built"),
        pytest.param([GOOD], 422, "invalid", id="not-an-object"),
    ],
)
async def test_a_decision_that_is_not_one_decides_nothing(bench, body, status, code):
    async with bench.client() as client:
        answer = await client.post("/v1/approvals/ap_1/decision", json=body, headers=bearer("bob"))
    assert (answer.status_code, answer.json()["code"], answer.headers["content-type"]) == (status, code, "application/problem+json")
    assert bench.desk.votes == []


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"effect":"deny","effect":"approve","digest":"%s","reason":"long enough"}' % DIGEST.encode(), id="duplicate-name"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param(b"effect=approve", id="not-json"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_a_body_that_two_readers_read_differently_is_422(bench, raw):
    async with bench.client() as client:
        headers = bearer("bob") | {"Content-Type": "application/json"}
        answer = await client.post("/v1/approvals/ap_1/decision", content=raw, headers=headers)
    assert (answer.status_code, answer.json()["code"], bench.desk.votes) == (422, "invalid", [])


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        pytest.param("robot", 403, "not-a-person", id="an-agent-in-the-group"),
        pytest.param("alice", 403, "self-approval", id="the-requester"),
        pytest.param("dave", 404, "not-found", id="somebody-else"),
        pytest.param("bob-data", 401, "token-invalid", id="a-token-for-the-data-path"),
        pytest.param("nobody", 401, "token-invalid", id="unknown-token"),
    ],
)
async def test_who_may_not_decide(bench, token, status, code):
    async with bench.client() as client:
        answer = await client.post("/v1/approvals/ap_1/decision", json=GOOD, headers=bearer(token))
    assert (answer.status_code, answer.json()["code"], bench.desk.votes) == (status, code, [])


async def test_without_a_token_the_challenge_names_no_error(bench):
    async with bench.client() as client:
        answer = await client.get("/v1/approvals")
        wrong = await client.get("/v1/approvals", headers=bearer("nobody"))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f'Bearer realm="guardhouse", {METADATA}')
    assert wrong.headers["www-authenticate"] == f'Bearer realm="guardhouse", error="invalid_token", {METADATA}'


async def test_the_list_holds_what_the_viewer_may_see(bench):
    async with bench.client() as client:
        seen = [
            (await client.get("/v1/approvals?state=pending", headers=bearer(who))).json()["approvals"] for who in ("bob", "alice", "dave")
        ]
        wrong = await client.get("/v1/approvals?state=open", headers=bearer("bob"))
    assert [[one["id"] for one in cards] for cards in seen] == [["ap_1"], ["ap_1"], []]
    assert (wrong.status_code, wrong.json()["errors"]) == (422, ["query/state"])


async def test_a_long_poll_answers_when_the_approval_changes(bench):
    async with bench.client() as client:
        waiting = asyncio.create_task(client.get("/v1/approvals/ap_1?wait=20&version=1", headers=bearer("bob")))
        await asyncio.sleep(0)
        await client.post("/v1/approvals/ap_1/decision", json=GOOD, headers=bearer("carol"))
        answer = await asyncio.wait_for(waiting, 5)
    assert (answer.json()["state"], answer.json()["version"]) == ("approved", 2)


@pytest.mark.parametrize("wait", ["31", "-1", "nan", "inf", "x"])
async def test_a_wait_has_a_bound(bench, wait):
    async with bench.client() as client:
        answer = await client.get(f"/v1/approvals/ap_1?wait={wait}", headers=bearer("bob"))
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("token", "status"),
    [
        pytest.param("alice-data", 200, id="the-caller-with-their-data-token"),
        pytest.param("alice", 200, id="the-caller-with-a-control-token"),
        pytest.param("dave-data", 404, id="somebody-else"),
        pytest.param("bob", 404, id="a-reviewer"),
        pytest.param("nobody", 401, id="nobody"),
        pytest.param(None, 401, id="no-token"),
    ],
)
async def test_the_state_of_ones_own_approval_and_nothing_else(bench, token, status):
    async with bench.client() as client:
        answer = await client.get("/v1/approvals/ap_1/status", headers=bearer(token) if token else {})
    assert answer.status_code == status
    if status == 200:
        assert (answer.json(), answer.headers["retry-after"]) == ({"state": "pending", "have": 0, "need": 1, "retry_after": 10}, "10")


async def test_the_requester_withdraws(bench):
    async with bench.client() as client:
        refused = await client.post("/v1/approvals/ap_1/cancel", json={}, headers=bearer("bob"))
        answer = await client.post("/v1/approvals/ap_1/cancel", json={}, headers=bearer("alice"))
    assert (refused.status_code, answer.status_code, answer.json()["state"]) == (403, 200, "cancelled")


async def test_a_webhook_is_handed_on_with_its_raw_bytes(bench):
    async with bench.client() as client:
        good = await client.post("/v1/webhooks/demo", content=b"\xff\x00raw", headers={"webhook-signature": "v1,good"})
        twice = await client.post(
            "/v1/webhooks/demo", content=b"x", headers=[("webhook-signature", "v1,good"), ("webhook-signature", "v1,bad")]
        )
        unknown = await client.post("/v1/webhooks/other", content=b"x", headers={"webhook-signature": "v1,good"})
    assert (good.status_code, good.content, bench.desk.webhook_body) == (204, b"", b"\xff\x00raw")
    assert (twice.status_code, unknown.status_code) == (401, 401)


@pytest.mark.parametrize(
    ("readiness", "status"),
    [
        pytest.param(Readiness(notes=("development", "observe:crm")), 200, id="ready-and-loud"),
        pytest.param(Readiness(problems=("draining",)), 503, id="draining"),
        pytest.param(Readiness(problems=("warming-up",)), 503, id="warming-up"),
    ],
)
async def test_readiness_says_why(bench, readiness, status):
    bench.readiness = readiness
    async with bench.client() as client:
        answer = await client.get("/readyz")
        alive = await client.get("/healthz")
    assert (answer.status_code, alive.status_code) == (status, 200)
    assert answer.json() == {"ready": status == 200, "problems": list(readiness.problems), "notes": list(readiness.notes)}


async def test_metrics_need_a_role_unless_they_are_open():
    bench = Bench()
    bench.desk.add(card())
    async with bench.client() as client:
        refused = await client.get("/metrics")
        forbidden = await client.get("/metrics", headers=bearer("dave"))
        shown = await client.get("/metrics", headers=bearer("carol"))
        control = bench.snapshot.gateway.control
        bench.snapshot = harness.snapshot(
            control=model.Control(control.bind, control.tls, control.public_url, (), control.sign_in, {}, unsafe_metrics_open=True)
        )
        open_to_all = await client.get("/metrics")
    assert (refused.status_code, forbidden.status_code, shown.status_code, open_to_all.status_code) == (401, 403, 200, 200)
    assert "# TYPE guardhouse_holds_pending gauge\nguardhouse_holds_pending 1.0\n" in shown.text


async def test_only_an_admin_reloads_and_sees_every_problem(bench):
    async def broken():
        raise ConfigError([ConfigProblem("rules.yaml:7", "unknown key `efect`", "effect")])

    async with bench.client() as client:
        forbidden = await client.post("/v1/reload", json={}, headers=bearer("alice"))
        done = await client.post("/v1/reload", json={}, headers=bearer("bob"))
        bench.reload = broken
        refused = await client.post("/v1/reload", json={}, headers=bearer("bob"))
    assert (forbidden.status_code, forbidden.json()["code"]) == (403, "forbidden")
    assert (done.status_code, done.json()["digest"]) == (200, bench.snapshot.digest)
    assert [event.core["verb"] for event in bench.store.appended] == ["reload-asked", "reloaded", "reload-asked"]
    assert (refused.status_code, refused.json()["problems"]) == (
        422,
        [{"where": "rules.yaml:7", "problem": "unknown key `efect`", "hint": "effect"}],
    )


async def test_a_reload_that_cannot_be_recorded_does_not_happen(bench):
    async def never():
        raise AssertionError("reloaded")

    bench.reload, bench.store.is_broken = never, True
    async with bench.client() as client:
        answer = await client.post("/v1/reload", json={}, headers=bearer("bob"))
    assert (answer.status_code, answer.json()["code"]) == (503, "audit-unavailable")


async def test_what_nobody_foresaw_is_a_503_without_its_text(bench, caplog):
    async def exploding():
        raise RuntimeError("secret detail")

    bench.reload = exploding
    async with bench.client() as client:
        answer = await client.post("/v1/reload", json={}, headers=bearer("bob"))
    assert (answer.status_code, answer.json()["code"], answer.headers["content-type"]) == (503, "unavailable", "application/problem+json")
    assert "secret detail" not in answer.text + caplog.text


async def test_one_person_asks_at_a_bounded_rate(bench):
    async with bench.client() as client:
        statuses = [(await client.get("/v1/approvals", headers=bearer("bob"))).status_code for _ in range(21)]
        other = await client.get("/v1/approvals", headers=bearer("carol"))
        last = await client.get("/v1/approvals", headers=bearer("bob"))
        await bench.clock.advance(1)
        later = await client.get("/v1/approvals", headers=bearer("bob"))
    assert statuses == [200] * 20 + [429]
    assert (other.status_code, last.headers["retry-after"], later.status_code) == (200, "1", 200)


async def test_one_address_asks_at_a_bounded_rate_before_it_has_a_name(bench):
    async with bench.client() as client:
        statuses = [(await client.get("/sign-in")).status_code for _ in range(101)]
        refused = await client.get("/v1/approvals", headers=bearer("bob"))
        probe = await client.get("/readyz")
        await bench.clock.advance(1)
        later = await client.get("/v1/approvals", headers=bearer("bob"))
    assert statuses == [200] * 100 + [429]
    assert (refused.status_code, refused.json()["code"], probe.status_code, later.status_code) == (429, "too-many-requests", 200, 200)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/v1/nothing", 404, "not-found", id="no-such-address"),
        pytest.param("DELETE", "/v1/approvals", 405, "method-not-allowed", id="other-method"),
        pytest.param("GET", "/docs", 404, "not-found", id="framework-docs-are-off"),
        pytest.param("GET", "/redoc", 404, "not-found", id="redoc-is-off"),
        pytest.param("GET", "/openapi.json", 404, "not-found", id="the-framework's-own-description-is-off"),
    ],
)
async def test_every_error_is_a_problem(bench, method, path, status, code):
    async with bench.client() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"], answer.headers["content-type"]) == (status, code, "application/problem+json")


async def test_a_caller_with_an_api_key_learns_how_its_own_approval_stands_and_nothing_else(bench):
    async with bench.client() as client:
        own = await client.get("/v1/approvals/ap_1/status", headers={"X-Api-Key": "alice-data"})
        other = await client.get("/v1/approvals/ap_1/status", headers={"X-Api-Key": "dave-data"})
        both = await client.get("/v1/approvals/ap_1/status", headers={"X-Api-Key": "alice-data"} | bearer("nobody"))
        listed = await client.get("/v1/approvals", headers={"X-Api-Key": "alice-data"})
    assert (own.status_code, own.json()["state"]) == (200, "pending")
    assert [answer.status_code for answer in (other, both, listed)] == [404, 401, 401]
