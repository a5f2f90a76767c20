"""Metrics follow the committed events, and no label is anybody's."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from addons.core.audit.events import KINDS, STAGES, Event, json_field, make
from addons.core.web.meters import Meters, status_class
from addons.core.web.services import Readiness
from tests.parts.control import Bench, FakeStore, bearer, card
from tests.unit.core.web.test_reading import opened

FLOW = "018bcfe5-6800-7000-8000-000000000001"
WHO = {"issuer": "http://127.0.0.1:8445", "issuer_alias": "dev", "subject": "jane@example.com", "kind": "human"}


def ended(stage="ResponseComplete", reason=None, **core):
    told = {"flow": FLOW, "service": "crm", "effect": "allow", "status": 200, "dur_us": 20_000, "session": "jane@example.com"}
    fields = {"principal": json_field(WHO), "path": b"/customers/jane@example.com", "reason": reason}
    return make(stage, "http", told | core, fields)


def approval(verb, id="ap_1"):
    return make("Mark", "approval", {"verb": verb, "approval": id})


def shown(meters, **labels):
    """Every sample by name and labels."""
    bench = Bench()
    text = meters.text(bench.services, "text/plain")[0].decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def counted(meters, name, **labels):
    return shown(meters).get((name, tuple(sorted(labels.items()))))


def test_requests_are_counted_by_service_effect_and_class():
    meters = Meters()
    for event in (
        ended(),
        ended(status=204),
        ended("Denied", b"policy-denied", effect="deny", status=403),
        ended("Interrupted", status=None),
    ):
        meters.committed(event, 0.001)
    assert counted(meters, "guardhouse_requests_total", service="crm", effect="allow", status="2xx") == 2
    assert counted(meters, "guardhouse_requests_total", service="crm", effect="deny", status="4xx") == 1
    assert counted(meters, "guardhouse_requests_total", service="crm", effect="allow", status="none") == 1
    assert counted(meters, "guardhouse_refusals_total", code="policy-denied") == 1
    assert counted(meters, "guardhouse_request_seconds_bucket", service="crm", le="0.025") == 4
    assert counted(meters, "guardhouse_audit_append_seconds_count") == 4


def test_an_intent_is_no_request_yet():
    meters = Meters()
    meters.committed(make("RequestReceived", "http", {"flow": FLOW, "service": "crm"}), 0.001)
    assert not [name for name, _ in shown(meters) if name == "guardhouse_requests_total"]


def test_masked_values_are_counted_by_info_type():
    meters = Meters()
    meters.committed(ended(masked={"EMAIL_ADDRESS": 3, "PERSON": 1}), 0.001)
    meters.committed(ended(masked={"PERSON": 1}), 0.001)
    assert counted(meters, "guardhouse_masked_total", info_type="PERSON") == 2
    assert counted(meters, "guardhouse_masked_total", info_type="EMAIL_ADDRESS") == 3


def test_approvals_are_counted_and_their_wait_is_measured():
    now = [100.0]
    meters = Meters(lambda: now[0])
    meters.committed(approval("requested"), 0.001)
    meters.committed(approval("requested", "ap_2"), 0.001)
    now[0] += 42
    for event in (approval("voted"), approval("approved"), approval("used"), approval("denied", "ap_3")):
        meters.committed(event, 0.001)
    assert counted(meters, "guardhouse_approvals_total", event="requested") == 2
    assert counted(meters, "guardhouse_approvals_total", event="approved") == 1
    assert counted(meters, "guardhouse_hold_wait_seconds_sum", outcome="approved") == 42
    assert counted(meters, "guardhouse_hold_wait_seconds_count", outcome="denied") is None


def test_refusals_that_were_summarised_are_counted_too():
    meters = Meters()
    note = {"count": 7, "codes": {"credential-required": 5, "made-up": 2}, "peers": [["203.0.113.9", 7]]}
    meters.committed(make("Mark", "suppressed", {}, {"note": json_field(note)}), 0.001)
    assert counted(meters, "guardhouse_refusals_total", code="credential-required") == 5
    assert counted(meters, "guardhouse_requests_total", service="none", effect="none", status="4xx") == 5
    assert "203.0.113.9" not in str(shown(meters)) and "made-up" not in str(shown(meters))


def test_steps_are_timed():
    meters = Meters()
    meters.step("guardhouse-apply.response", 0.02)
    assert counted(meters, "guardhouse_step_seconds_bucket", step="guardhouse-apply.response", le="0.025") == 1


@pytest.mark.parametrize(("status", "expected"), [(200, "2xx"), (101, "1xx"), (599, "5xx"), (None, "none"), (999, "none"), ("200", "none")])
def test_status_classes(status, expected):
    assert status_class(status) == expected


VALUES = st.one_of(
    st.none(), st.text(max_size=20), st.integers(-10, 1000), st.just("jane@example.com"), st.dictionaries(st.text(), st.integers())
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(STAGES)), st.sampled_from(sorted(KINDS)),
    st.dictionaries(st.sampled_from(["service", "effect", "status", "masked", "dur_us", "verb", "approval", "rules"]), VALUES),
    st.dictionaries(st.sampled_from(["reason", "note"]), st.one_of(st.binary(max_size=30), st.just(b'{"codes": {"jane@example.com": 1}}'))),
)  # fmt: skip
def test_whatever_an_event_holds_it_neither_breaks_the_log_nor_becomes_a_label(stage, kind, core, fields):
    meters = Meters()
    meters.committed(Event(stage, kind, {"flow": FLOW, **core}, fields), 0.001)
    meters.committed(ended(), 0.001)
    for (_, labels), _ in shown(meters).items():
        assert "jane@example.com" not in dict(labels).values()


async def test_the_answer_has_every_gauge_and_nobodys_name():
    bench = Bench(readiness=Readiness(problems=("draining",), notes=("development", "observe:crm")))
    bench.desk.add(card())
    bench.store.health = lambda: {
        "ok": True, "size": 12, "queue": 3, "lag_seconds": 0.25, "anchor_lag_seconds": 1.5, "reserved": 2, "failures": 0, "disk_free": 1000,
        "last_error": "jane@example.com", "anchor_failures": ["jane@example.com"],
    }  # fmt: skip
    bench.services.meters.committed(ended(), 0.001)
    async with bench.client() as client:
        answer = await client.get("/metrics", headers=bearer("carol"))
        opened_metrics = await client.get("/metrics", headers=bearer("carol") | {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert opened_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert opened_metrics.text.endswith("# EOF\n")
    for line in (
        "guardhouse_ready 0.0", "guardhouse_draining 1.0", "guardhouse_development 1.0", 'guardhouse_observe{service="crm"} 1.0',
        "guardhouse_holds_pending 1.0", "guardhouse_audit_ok 1.0", "guardhouse_audit_events 12.0", "guardhouse_audit_queue_events 3.0",
        "guardhouse_audit_lag_seconds 0.25", "guardhouse_anchor_lag_seconds 1.5", "guardhouse_event_loop_lag_seconds 0.0",
        'guardhouse_requests_total{effect="allow",service="crm",status="2xx"} 1.0',
    ):  # fmt: skip
        assert line in answer.text.splitlines(), line
    for word in ("jane", "alice", "dev:", "127.0.0.1", "/customers"):
        assert word not in answer.text


async def test_the_real_log_tells_of_every_committed_event(tmp_path):
    bench = Bench(database=tmp_path / "audit.db")
    log = await opened(tmp_path, bench.clock)
    bench = replace(bench, store=log)
    log.observers.append(bench.services.meters.committed)
    await log.append(make("RequestReceived", "http", {"flow": FLOW, "service": "crm"}, {"principal": json_field(WHO)}), reserve=True)
    await log.append(ended(), release=True)
    assert counted(bench.services.meters, "guardhouse_requests_total", service="crm", effect="allow", status="2xx") == 1
    assert shown(bench.services.meters)["guardhouse_audit_append_seconds_count", ()] == 3  # the intent opened a session
    assert log.health()["lag_seconds"] == 0.0
    await log.close()


def test_a_store_without_numbers_is_left_out():
    store = FakeStore()
    bench = Bench(store=store)
    text = bench.services.meters.text(bench.services, "")[0].decode()
    assert "guardhouse_anchor_lag_seconds" not in text
    assert json.dumps(text)
