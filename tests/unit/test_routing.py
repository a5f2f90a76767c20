from dataclasses import replace

import pytest

from addons.core import exchange
from addons.core.config import model
from addons.host.fail_closed import chain_of, guard
from addons.host.runtime import Runtime
from addons.routing import Routing
from tests import harness

AT = model.Address("10.1.2.3", 8080)


def at_listener(flow, port=8442, alpn=None):
    flow.client_conn.sockname = ("127.0.0.1", port)
    flow.client_conn.alpn = alpn
    flow.client_conn.timestamp_tls_setup = None
    return flow


def shell(**service):
    crm = replace(model.Service("crm", "http", "http", AT), **service)
    (made,) = chain_of(harness.runtime(harness.snapshot(services={"crm": crm})), [Routing])
    return made


async def test_the_request_is_pointed_at_its_upstream():
    flow = at_listener(harness.live_flow(host="crm.test:8442"))
    await shell().requestheaders(flow)
    assert flow.response is None
    assert (flow.request.scheme, flow.request.host, flow.request.port, flow.request.authority) == ("http", "10.1.2.3", 8080, "")
    assert flow.request.headers["Host"] == "10.1.2.3:8080"
    assert exchange.read(flow.metadata).service == "crm"


async def test_the_received_host_stays_where_the_service_says_so():
    flow = at_listener(harness.live_flow(host="crm.test:8442"))
    await shell(host_header="as-received").requestheaders(flow)
    assert (flow.request.host, flow.request.headers["Host"]) == ("10.1.2.3", "crm.test:8442")


async def test_on_http2_the_authority_is_the_host():
    flow = at_listener(harness.live_flow(host="crm.test", http_version="HTTP/2.0"), alpn=b"h2")
    flow.request.data.authority = b"crm.test"
    await shell().requestheaders(flow)
    assert (flow.request.authority, flow.request.headers.get("Host")) == ("10.1.2.3:8080", None)


async def test_the_operation_is_written_with_the_body():
    flow = at_listener(harness.live_flow(method="POST", path="/customers?a=1", body=b"{}", headers=[("Content-Type", "application/json")]))
    made = shell()
    await made.requestheaders(flow)
    await made.request(flow)
    operation = exchange.read(flow.metadata).operation
    assert (operation.text, operation.attributes["content_type"], operation.attributes["filters"]) == (
        "POST /customers?a=1",
        "application/json",
        ["a"],
    )


@pytest.mark.parametrize(
    ("flow", "service", "status"),
    [
        pytest.param(lambda: at_listener(harness.live_flow(host="crm.test"), port=9), {}, 503, id="a-socket-nobody-configured"),
        pytest.param(lambda: at_listener(harness.live_flow(host="other.test")), {"hosts": ("crm.test",)}, 404, id="no-service"),
        pytest.param(lambda: at_listener(harness.live_flow(headers=[("Upgrade", "websocket")])), {}, 501, id="websocket"),
        pytest.param(lambda: at_listener(harness.live_flow(path="/a;b")), {}, 400, id="path-parameters"),
        pytest.param(lambda: at_listener(harness.live_flow(headers=[("Content-Length", "2")])), {}, 400, id="get-with-a-body"),
        pytest.param(lambda: at_listener(harness.live_flow(headers=[("X-Method-Override", "PUT")])), {}, 400, id="method-override"),
    ],
)
async def test_what_it_refuses_at_the_head(flow, service, status):
    sent = flow()
    await shell(**service).requestheaders(sent)
    assert sent.response.status_code == status


async def test_a_kind_that_is_not_built_yet_is_refused():
    flow = at_listener(harness.live_flow())
    made = shell(kind="kubernetes")
    await made.requestheaders(flow)
    await made.request(flow)
    assert flow.response.status_code == 501


async def test_an_unknown_upgrade_is_not_offered_upstream():
    flow = at_listener(harness.live_flow(headers=[("Connection", "keep-alive, Upgrade"), ("Upgrade", "foo")]))
    await shell().requestheaders(flow)
    assert flow.response is None
    assert (flow.request.headers.get("Upgrade"), flow.request.headers["Connection"]) == (None, "keep-alive")
    assert exchange.read(flow.metadata).notes == ["stripped:upgrade"]


async def test_loaded_alone_it_refuses_everything():
    flow = at_listener(harness.live_flow())
    await guard(Routing(Runtime())).requestheaders(flow)
    assert flow.response.status_code == 503
