"""Recorded requests go out again under the investigator's own name, to the gateway, and reading only."""

import json

import pytest
from mitmproxy import http
from mitmproxy.io import FlowReader

pytestmark = pytest.mark.e2e
PURPOSE = {"X-Purpose": "demo/tour"}


@pytest.fixture(scope="module")
def case(gateway, tmp_path_factory):
    """A flow file with one read and one write of alice, exported from the running gateway."""
    file = tmp_path_factory.mktemp("case") / "case.flows"
    alice = gateway.token("alice")
    read = gateway.request("GET", gateway.cleartext + "/customers/1?case=send", alice, headers=PURPOSE)
    write = gateway.request(
        "PATCH", gateway.cleartext + "/customers/1?case=send", alice, b'{"plan": "pro"}', {**PURPOSE, "Content-Type": "application/json"}
    )
    assert (read.status, write.status) == (200, 200), (read.text, write.text)
    done = gateway.cli(
        "export", "--format", "flows", "stage:ResponseComplete", "path:/customers/1", "-o", str(file), token=gateway.token("carol")
    )
    assert done.status == 0, done.headers["stderr"]
    return file


def test_stock_mitmproxy_reads_the_export_and_finds_no_personal_value(gateway, case):
    with case.open("rb") as file:
        flows = [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow) and "case=send" in flow.request.path]
    assert {flow.request.method for flow in flows} == {"GET", "PATCH"}
    for flow in flows:
        assert flow.response is not None and flow.response.content is not None
        assert json.loads(flow.response.content)["id"] == 1
        assert "authorization" not in flow.request.headers
    data = case.read_bytes()
    assert b"mustermann" not in data.lower().replace(b"erika mustermann", b"")  # names are not masked by default; addresses are
    assert b"Bearer" not in data


def test_the_read_is_sent_and_the_write_is_not(gateway, case):
    done = gateway.cli("replay", "send", str(case), "--go", "--json", token=gateway.token("carol"))
    assert done.status == 0, done.headers["stderr"]
    rows = {row["method"]: row for row in map(json.loads, done.text.splitlines()) if "case=send" in row["path"]}
    assert rows["GET"]["status"] == 200
    assert rows["PATCH"]["sends"] is False and rows["PATCH"].get("status") is None
    found = gateway.cli("search", "principal:dev:carol", "stage:ResponseComplete", "--json", token=gateway.token("carol"))
    replayed = [json.loads(line) for line in found.text.splitlines()]
    assert any(row["path"] == "/customers/1" for row in replayed), found.text


def test_the_gateway_refuses_a_replayed_write_by_itself(gateway, case):
    answer = gateway.request(
        "PATCH",
        gateway.cleartext + "/customers/1",
        gateway.token("carol"),
        b'{"plan": "basic"}',
        {**PURPOSE, "Content-Type": "application/json", "Guardhouse-Replay-Of": "01932c07-2b2b-7aaa-8aaa-0123456789ab"},
    )
    assert (answer.status, answer.json["code"]) in ((403, "policy-denied"), (403, "replay-write"))


def test_without_a_token_nothing_is_sent(gateway, case):
    assert gateway.cli("replay", "send", str(case), "--go").status == 2
