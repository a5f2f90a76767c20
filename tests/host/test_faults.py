"""Each guarded hook of each step fails in turn: refused, nothing upstream, one terminal event (acceptance 1 and 19)."""

import time
from pathlib import Path

import pytest

from addons.host.fail_closed import hooks_of
from addons.host.runtime import Runtime
from tests.parts.host_gateway import Gateway, Upstream, mitmdump, ok, wait_for
from tests.parts.host_shells import SHELLS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BEFORE = ("requestheaders", "request")
AFTER = ("responseheaders", "response")
STEPS = [(shell.name, hook) for shell in SHELLS for hook in hooks_of(shell(Runtime())) if hook in BEFORE + AFTER]
KINDS = ("Exception", "OptionsError", "CancelledError")
TAMPER = Path(__file__).resolve().parents[1] / "parts" / "host_scripts" / "tamper.py"


@pytest.fixture(scope="module")
def upstream():
    server = Upstream(lambda request: ok())
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    env = {
        "GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{upstream.port}",
        "GUARDHOUSE_TEST_LIMITS": '{"hook_deadline": 0.5}',
        "GUARDHOUSE_TEST_SCRIPTS": str(TAMPER),
    }
    with mitmdump(tmp_path_factory.mktemp("gateway"), "-s", str(TAMPER), env=env) as running:
        yield running.wait_until_up()


def terminal(gateway: Gateway, path: str) -> list[dict]:
    return [event for event in gateway.events if event.get("path") == path and event["kind"] in ("complete", "error")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("step", "hook"), [one for one in STEPS if one[1] in BEFORE], ids=lambda value: value)
def test_a_step_that_fails_before_the_upstream_refuses_and_nothing_leaves(
    gateway: Gateway, upstream: Upstream, step: str, hook: str, kind: str
):
    before, path = len(upstream.seen), f"/fault/{step}/{hook}/{kind}"
    status, answer = gateway.get(path, f"X-Fault: {step}.{hook}={kind}")
    assert status == 503
    assert b"SECRET" not in answer
    assert len(upstream.seen) == before
    assert len(wait_for(lambda: terminal(gateway, path))) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("step", "hook"), [one for one in STEPS if one[1] in AFTER], ids=lambda value: value)
def test_a_step_that_fails_after_the_upstream_withholds_the_answer(gateway: Gateway, step: str, hook: str, kind: str):
    path = f"/fault/{step}/{hook}/{kind}"
    status, answer = gateway.get(path, f"X-Fault: {step}.{hook}={kind}")
    assert status in (502, 503)
    assert b"hello" not in answer and b"SECRET" not in answer
    if step != "guardhouse-outcome":
        assert len(wait_for(lambda: terminal(gateway, path))) == 1


def test_a_step_that_hangs_is_refused_at_its_deadline(gateway: Gateway, upstream: Upstream):
    before, started = len(upstream.seen), time.monotonic()
    assert gateway.get("/hang", "X-Fault: guardhouse-policy.request=Hang")[0] == 503
    assert 0.4 < time.monotonic() - started < 3
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    "what", ["method", "path", "header", "body", "address", "host", "stream", "response", "credential", "halt", "raise", "scheme"]
)
def test_what_a_later_script_changes_is_seen_at_the_door(gateway: Gateway, upstream: Upstream, what: str):
    before = len(upstream.seen)
    status, answer = gateway.get(f"/tamper/{what}", f"X-Tamper: {what}", method="POST", body=b"hello")
    assert status == 503
    assert len(upstream.seen) == before
    assert b"tampered" not in answer


def test_a_script_that_streams_the_answer_does_not_get_it_past_masking(gateway: Gateway):
    status, answer = gateway.get("/tamper/stream-answer", "X-Tamper: stream-answer")
    assert status == 502
    assert b"hello" not in answer


def test_the_gateway_still_works(gateway: Gateway):
    assert gateway.get("/after")[0] == 200
    assert "SECRET" not in gateway.output
