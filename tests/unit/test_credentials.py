"""The credentials shell: the service's own secret goes in last, or nothing goes out."""

import os
from dataclasses import replace

import pytest

from addons.core import exchange
from addons.core.config.model import Address, Credential, Reference, Service
from addons.core.services.credentials.references import Secrets
from addons.credentials import Credentials
from addons.host import gate
from addons.host.fail_closed import guard, open_record
from addons.host.runtime import Runtime
from tests import harness

ENV = Credential("bearer", Reference("env", "CRM_TOKEN", "service-crm"))


def stage(tmp_path, credential: Credential | None, environ=None) -> Runtime:
    service = Service("crm", "http", "http", Address("127.0.0.1", 8446), credential=credential)
    runtime = harness.runtime(harness.snapshot(services={"crm": service}))
    runtime.secrets = Secrets(tmp_path, environ or {"CRM_TOKEN": "s3cret-canary"})
    return runtime


async def send(runtime: Runtime, headers=(), **where):
    flow = harness.live_flow(headers=headers)
    open_record(runtime, flow)
    record = exchange.read(flow.metadata)
    record.service = "crm"
    exchange.write(flow.metadata, record)
    flow.request.scheme, flow.request.host, flow.request.port = "http", "127.0.0.1", where.get("port", 8446)
    await guard(Credentials(runtime)).request(flow)
    return flow


async def test_the_secret_is_injected_and_the_door_knows_it(tmp_path):
    flow = await send(stage(tmp_path, ENV), [("authorization", "Bearer theirs")])
    assert flow.response is None
    assert flow.request.headers.get_all("Authorization") == ["Bearer s3cret-canary"]
    assert gate.of(flow).injected == {"authorization": "Bearer s3cret-canary"}
    assert b"s3cret-canary" in gate.of(flow).scrub


async def test_the_secret_is_nowhere_in_the_record(tmp_path):
    flow = await send(stage(tmp_path, ENV))
    assert "canary" not in repr(flow.metadata)


async def test_a_service_without_one_gets_none(tmp_path):
    flow = await send(stage(tmp_path, None))
    assert flow.response is None
    assert "authorization" not in flow.request.headers
    assert gate.of(flow).injected == {}


@pytest.mark.parametrize(
    ("credential", "environ"),
    [
        pytest.param(ENV, {"OTHER": "x"}, id="variable-not-set"),
        pytest.param(ENV, {"CRM_TOKEN": "a\nb"}, id="no-header-text"),
        pytest.param(Credential("bearer", Reference("file", "/nonexistent/token", "service-crm")), None, id="no-file"),
    ],
)
async def test_a_secret_that_cannot_be_had_is_502(tmp_path, credential, environ):
    flow = await send(stage(tmp_path, credential, environ))
    assert (flow.response.status_code, gate.of(flow).refusal.code) == (502, "credential-unavailable")


async def test_a_flow_that_goes_elsewhere_gets_no_secret(tmp_path):
    flow = await send(stage(tmp_path, ENV), port=9999)
    assert flow.response.status_code == 502
    assert "authorization" not in flow.request.headers


async def test_a_key_file_that_is_replaced_is_used_at_the_next_request(tmp_path):
    """Row 19: secrets that are rotated by an agent need no restart."""
    file = tmp_path / "token"
    file.write_text("first-secret\n")
    file.chmod(0o600)
    runtime = stage(tmp_path, Credential("bearer", Reference("file", str(file), "service-crm")))
    assert (await send(runtime)).request.headers["Authorization"] == "Bearer first-secret"
    fresh = tmp_path / "token.new"
    fresh.write_text("second-secret\n")
    fresh.chmod(0o600)
    os.replace(fresh, file)
    assert (await send(runtime)).request.headers["Authorization"] == "Bearer second-secret"


async def test_a_header_of_its_own_name(tmp_path):
    credential = replace(ENV, type="header", header="X-Token")
    flow = await send(stage(tmp_path, credential), [("x-token", "theirs"), ("X_Token", "theirs")])
    assert flow.request.headers.get_all("X-Token") == ["s3cret-canary"]
    assert "x_token" not in flow.request.headers


async def test_loaded_alone_it_refuses_everything():
    flow = harness.live_flow()
    await guard(Credentials(Runtime())).request(flow)
    assert flow.response.status_code == 503
