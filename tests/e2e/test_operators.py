"""What operators and investigators have: the tree, metrics, an archive, the REST page, a look at one's own token."""

import json

import pytest
from mitmproxy.io import FlowReader
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.e2e
SAYS = {"Host": "crm.localhost", "X-Purpose": "support/4711"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e47{:02x}"


@pytest.fixture(scope="module")
def carol(gateway):
    return gateway.token("carol")


def ask(gateway, who, path="/customers/1", method="GET", **headers):
    return gateway.request(method, gateway.cleartext + path, gateway.token(who), headers=SAYS | headers)


def upstream_span(gateway, carol, flow_trace):
    """The span that the gateway gave the last request of this trace."""
    rows = gateway.cli("tree", flow_trace, "--json", token=carol).json["branches"][0]["rows"]
    return rows[-1]["span"]


def test_an_agents_work_hangs_below_its_principals_and_a_claimed_parent_is_dashed(gateway, carol):
    trace = TRACE.format(1)
    assert ask(gateway, "alice", traceparent=f"00-{trace}-00f067aa0ba902b7-01").status == 200
    span = upstream_span(gateway, carol, trace)
    assert ask(gateway, "planner", traceparent=f"00-{trace}-{span}-01").status == 200
    assert ask(gateway, "bob", traceparent=f"00-{trace}-{span}-01").status == 200
    assert ask(gateway, "alice", "/export/all", traceparent=f"00-{trace}-{span}-01").status in (200, 403)
    answer = gateway.cli("tree", trace, "--json", token=carol)
    rows = [(row["depth"], row["principal"], row["is_dashed"], row.get("flags", [])) for row in answer.json["branches"][0]["rows"]]
    assert rows == [
        (0, "dev:alice", True, ["orphan-parent", "unverified-child"]),
        (1, "dev:alice", False, []),
        (1, "dev:bob", True, ["unverified-child", "identity-change"]),
        (1, "dev:alice", False, []),
    ]
    planner = answer.json["branches"][0]["rows"][1]
    assert (planner["actors"], planner["effect"], planner["status"]) == (["dev:planner"], "allow", 200)
    drawn = gateway.cli("tree", trace, token=carol)
    assert "┄" in drawn.text and "[identity-change]" in drawn.text
    bare = gateway.cli("tree", "--db", str(gateway.store), trace, "--json")
    assert [row["flow"] for row in bare.json["branches"][0]["rows"]] == [row["flow"] for row in answer.json["branches"][0]["rows"]]


def test_metrics_count_what_happened_and_name_nobody(gateway, carol):
    before = samples(gateway)
    assert ask(gateway, "alice").status == 200
    assert ask(gateway, "planner", "/export/all").status == 403
    assert gateway.request("GET", gateway.cleartext + "/customers/1", headers=SAYS).status == 401
    after = samples(gateway)

    def more(name, **labels):
        place = (name, tuple(sorted(labels.items())))
        return after.get(place, 0) - before.get(place, 0)

    assert more("guardhouse_requests_total", service="crm", effect="allow", status="2xx") == 1
    assert more("guardhouse_requests_total", service="crm", effect="deny", status="4xx") == 1
    assert more("guardhouse_refusals_total", code="policy-denied") == 1
    assert more("guardhouse_refusals_total", code="credential-required") == 1
    assert sum(more(name, **dict(labels)) for name, labels in after if name == "guardhouse_masked_total") > 0
    assert more("guardhouse_step_seconds_count", step="guardhouse-apply.response") >= 1
    assert after["guardhouse_audit_append_seconds_count", ()] > before["guardhouse_audit_append_seconds_count", ()]
    assert after["guardhouse_development", ()] == 1
    for name in (
        "guardhouse_anchor_lag_seconds",
        "guardhouse_event_loop_lag_seconds",
        "guardhouse_audit_queue_events",
        "guardhouse_holds_pending",
    ):
        assert (name, ()) in after
    told = {value for _, labels in after for _, value in labels}
    assert not [value for value in told if any(word in value for word in ("alice", "planner", "carol", "127.0.0.1", "/customers"))]


def samples(gateway):
    text = gateway.request("GET", gateway.control + "/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_archive_of_real_traffic_opens_and_is_masked(gateway, carol, tmp_path):
    trace = TRACE.format(2)
    answer = ask(gateway, "alice", "/customers", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    target = tmp_path / "case.har"
    done = gateway.cli("export", "--format", "har", f"trace:{trace}", "-o", str(target), token=carol)
    assert done.status == 0, done.headers["stderr"]
    (entry,) = json.loads(target.read_text())["log"]["entries"]
    assert entry["_guardhouse"]["principal"] == "dev:alice"
    assert "[MASKED" in entry["response"]["content"]["text"]
    assert gateway.token("alice")[:40] not in target.read_text()
    with target.open("rb") as file:
        (flow,) = FlowReader(file).stream()
    assert (flow.request.path, flow.response.status_code) == ("/customers", answer.status)


def test_the_rest_interface_has_a_page(gateway):
    page = gateway.request("GET", gateway.control + "/api", headers={"Accept": "text/html"})
    assert (page.status, "<script" in page.text) == (200, False)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert gateway.request("GET", gateway.control + "/v1/openapi.json").json["openapi"].startswith("3.")


def test_a_token_is_looked_at_with_the_issuers_real_keys(gateway):
    good = gateway.cli("identity", "check", "--json", token=gateway.token("bob"))
    assert (good.status, good.json["principal"]["principal"]) == (0, "dev:bob")
    head, payload, signature = gateway.token("bob").split(".")
    forged = ".".join((head, payload, signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")))
    bad = gateway.cli("identity", "check", "-", "--json", stdin=forged.encode())
    assert [row["row"] for row in bad.json["checks"] if row["state"] == "fails"] == [11]
    assert bad.status == 1
