import pytest
from mitmproxy import http

from addons.core import exchange
from addons.core.config import model
from addons.host.fail_closed import chain_of, guard
from addons.host.runtime import Runtime
from addons.validation import Validation
from tests import harness


def shell(runtime=None):
    (made,) = chain_of(runtime or harness.runtime(), [Validation])
    return made


async def test_a_canonical_request_passes_unchanged():
    flow = harness.live_flow(path="/customers/7?x=1", headers=[("Accept", "*/*")])
    before = flow.request.data.headers.fields
    await shell().requestheaders(flow)
    assert flow.response is None
    assert flow.request.data.headers.fields == before


async def test_an_ambiguous_one_is_refused_with_what_to_send_instead():
    flow = harness.live_flow(path="/customers//7")
    await shell().requestheaders(flow)
    assert flow.response.status_code == 400
    assert "Send a single `/` between segments." in flow.response.text


async def test_the_method_is_read_from_the_wire():
    flow = harness.live_flow(method="get")
    await shell().requestheaders(flow)
    assert flow.response.status_code == 400


async def test_the_configured_headers_of_ours_may_come_once_only():
    runtime = harness.runtime(harness.snapshot(purpose=model.Purpose(header="X-Why", catalogue=("**",))))
    flow = harness.live_flow(headers=[("X-Why", "a"), ("x-why", "b")])
    await shell(runtime).requestheaders(flow)
    assert flow.response.status_code == 400


async def test_forged_names_are_stripped_and_noted():
    flow = harness.live_flow(
        headers=[("X-Remote-User", "root"), ("x-remote-user", "x"), ("Guardhouse-Replay-Of", "1"), ("X-Forwarded-For", "::1")]
    )
    await shell().requestheaders(flow)
    assert [name for name in flow.request.headers] == ["Host", "Guardhouse-Replay-Of"]
    assert exchange.read(flow.metadata).notes == ["stripped:x-forwarded-for", "stripped:x-remote-user"]


async def test_a_body_of_http2_gets_its_length():
    flow = harness.live_flow(method="POST", body=b"{}", http_version="HTTP/2.0")
    flow.request.headers.pop("content-length", None)
    await shell().request(flow)
    assert flow.request.headers["content-length"] == "2"


@pytest.mark.parametrize(
    ("service", "status"),
    [pytest.param(model.Service("crm", "http", "http", model.Address("127.0.0.1", 1)), 400, id="not-listed"),
     pytest.param(model.Service("crm", "http", "http", model.Address("127.0.0.1", 1), request_trailers=("Grpc-Late",)), None, id="listed")],
)  # fmt: skip
async def test_trailers_come_only_where_the_service_lists_them(service, status):
    flow = harness.live_flow(method="POST", body=b"{}")
    made = shell(harness.runtime(harness.snapshot(services={"crm": service})))
    await made.requestheaders(flow)
    record = exchange.read(flow.metadata)
    record.service = "crm"
    exchange.write(flow.metadata, record)
    flow.request.trailers = http.Headers([(b"grpc-late", b"1")])
    await made.request(flow)
    assert (flow.response and flow.response.status_code) == status


async def test_a_body_over_the_cap_is_413():
    flow = harness.live_flow(method="POST", body=b"x" * 11)
    flow.request.headers.pop("content-length", None)
    await shell(harness.runtime(harness.snapshot(limits=model.Limits(body=10)))).request(flow)
    assert flow.response.status_code == 413


async def test_loaded_alone_it_refuses_everything():
    flow = harness.live_flow()
    await guard(Validation(Runtime())).requestheaders(flow)
    assert flow.response.status_code == 503
