"""Day one: a real mitmdump on our host parts binds its own listener and nothing else, allows one, denies one."""

import pytest

from tests.parts.host_gateway import Gateway, Upstream, mitmdump, ok

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def upstream():
    server = Upstream(lambda request: ok())
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    home = tmp_path_factory.mktemp("gateway")
    with mitmdump(home, env={"GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{upstream.port}"}) as running:
        yield running.wait_until_up()


def test_an_allowed_request_reaches_the_upstream_with_our_credential_and_not_the_callers(gateway: Gateway, upstream: Upstream):
    status, answer = gateway.get("/customers")
    assert status == 200, gateway.output
    assert answer.endswith(b"\r\n\r\nhello")
    assert b"Bearer upstream-secret" in upstream.seen[-1]
    assert b"Bearer good" not in upstream.seen[-1]


def test_a_denied_request_is_answered_here_and_the_upstream_sees_nothing(gateway: Gateway, upstream: Upstream):
    before = len(upstream.seen)
    status, answer = gateway.get("/denied/1")
    assert status == 403
    assert b'"code": "policy-denied"' in answer
    assert len(upstream.seen) == before
