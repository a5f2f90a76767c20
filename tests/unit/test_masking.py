"""The shells Prepare and Apply: what they do to a flow, and that a missing piece refuses."""

import gzip
import json

import pytest
from mitmproxy import http

from addons.core import exchange
from addons.core.exchange import Decision, Effect
from addons.host import gate
from addons.host.arrival import Arrival
from addons.host.fail_closed import guard, open_record
from addons.host.runtime import Runtime
from addons.masking import Apply, Prepare
from tests import harness
from tests.parts import masking as parts


def ready(masks=("pii", "secrets"), snapshot=None, **flow):
    """A runtime with a warm engine, and a flow that policy has let through."""
    runtime = harness.runtime(snapshot or parts.snapshot())
    runtime.keys = parts.FixedKeys()
    runtime.masker = parts.warm_engine(runtime.clock)
    live = harness.live_flow(**flow)
    open_record(runtime, live)
    record = exchange.read(live.metadata)
    record.service = "crm"
    record.decision = Decision(Effect.ALLOW, masks=masks)
    exchange.write(live.metadata, record)
    return runtime, live


def answer(body=b'{"email":"ann@corp.example"}', status=200, **headers):
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"content_type": "application/json", **headers}.items()]
    return http.Response(b"HTTP/1.1", status, b"OK", http.Headers(fields), body, None, 0, 0)


async def masked(response, masks=("pii", "secrets"), snapshot=None, method="GET", scrub=()):
    runtime, flow = ready(masks, snapshot, method=method, response=response)
    gate.of(flow).scrub = scrub
    apply = guard(Apply(runtime))
    await apply.responseheaders(flow)
    await apply.response(flow)
    return flow


async def test_an_answer_is_masked_and_has_a_receipt():
    flow = await masked(answer(content_length="28"))
    assert flow.response.content == b'{"email":"p-jfy6issxq26l5w@masked.invalid"}'
    assert flow.response.headers["content-length"] == "43"
    assert gate.of(flow).receipt is True
    record = exchange.read(flow.metadata)
    assert record.masked == {"EMAIL_ADDRESS": 1}
    assert record.receipt == [
        {"profile": "pii", "info_type": "EMAIL_ADDRESS", "path": "/email", "transform": "pseudonym", "count": 1, "revealed": False}
    ]
    assert record.fields_seen == {"/email": 1}
    assert gate.of(flow).received["bytes"] == 28


async def test_an_answer_without_hits_leaves_byte_for_byte_with_its_etag():
    body = b'{ "a": 1.0,\n "a": 12345678901234567890123, "b": "plain words" }'
    flow = await masked(answer(body, etag='"abc"'))
    assert flow.response.raw_content == body
    assert flow.response.headers["etag"] == '"abc"'


async def test_a_changed_answer_shows_no_measure_of_the_original():
    flow = await masked(
        answer(etag='"abc"', content_md5="x", repr_digest="sha-256=:x:", accept_ranges="bytes", cache_control="public, max-age=5")
    )
    headers = flow.response.headers
    assert headers["etag"].startswith('W/"')
    assert "abc" not in headers["etag"]
    assert not {"content-md5", "repr-digest", "accept-ranges"}.intersection(name.lower() for name in headers)
    assert headers["cache-control"] == "max-age=5, private"
    assert headers["vary"] == "Authorization, Cookie"


async def test_an_encoded_answer_goes_out_as_identity():
    flow = await masked(answer(gzip.compress(b'{"email":"ann@corp.example"}'), content_encoding="gzip"))
    assert "content-encoding" not in flow.response.headers
    assert flow.response.raw_content == b'{"email":"p-jfy6issxq26l5w@masked.invalid"}'


async def test_the_injected_credential_is_scrubbed_even_when_no_mask_is_owed():
    response = answer(b'{"echo":"Bearer upstream-secret"}', x_echo="upstream-secret")
    response.reason = "no upstream-secret"
    flow = await masked(response, masks=(), scrub=(b"upstream-secret",))
    assert b"upstream-secret" not in flow.response.raw_content
    assert "upstream-secret" not in flow.response.headers["x-echo"]
    assert "upstream-secret" not in flow.response.reason
    assert json.loads(flow.response.raw_content)
    assert exchange.read(flow.metadata).masked == {"UPSTREAM_SECRET": 3}
    assert gate.of(flow).receipt is True


async def test_an_answer_that_owes_nothing_is_left_alone_and_has_a_receipt():
    flow = await masked(answer(b"\x00\x01 binary", content_type="image/png"), masks=())
    assert flow.response.raw_content == b"\x00\x01 binary"
    assert gate.of(flow).receipt is True


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        pytest.param(answer(b"data: x\n\n", content_type="text/event-stream"), "media", id="sse"),
        pytest.param(answer(b'{"a":1}\n', content_type="application/x-ndjson"), "media", id="ndjson"),
        pytest.param(answer(b'{"a":1}', content_type="application/json;stream=watch"), "media", id="watch"),
        pytest.param(answer(b"ann@corp.example \x89PNG", content_type="image/png"), "media", id="image"),
        pytest.param(answer(b'{"a": ann@corp.example', content_type="application/json"), "syntax", id="broken-json"),
        pytest.param(answer(b"\xff\xfe", content_type="application/json"), "charset", id="not-utf8"),
        pytest.param(answer(b"ann@corp.example", content_encoding="br"), "truncated", id="mislabelled-br"),
        pytest.param(answer(gzip.compress(b'{"email":"ann@corp.example"}')[:-5], content_encoding="gzip"), "truncated", id="truncated"),
        pytest.param(answer(b"x", content_encoding="bz2"), "coding", id="unknown-coding"),
        pytest.param(answer(b"x", content_encoding="gzip, br"), "coding", id="two-codings"),
        pytest.param(answer(b'{"a":1}', status=206), "range", id="206"),
        pytest.param(answer(b'{"a":1}', content_range="bytes 0-1/2"), "range", id="content-range"),
        pytest.param(answer(b"[" * 300 + b"]" * 300), "depth", id="depth"),
    ],
)
async def test_what_cannot_be_masked_is_withheld_and_nothing_of_it_is_shown(response, reason):
    flow = await masked(response)
    assert flow.response.status_code == 502
    assert json.loads(flow.response.content)["reason"] == reason
    assert b"ann@corp" not in flow.response.content
    assert gate.of(flow).receipt is False


async def test_a_detector_that_raises_blocks(monkeypatch):
    runtime, flow = ready(response=answer())
    detector = parts.Detector()
    detector._recognizers = object()
    detector.spans = None
    engine = parts.MaskEngine(parts.FixedKeys(), runtime.clock, detector)
    runtime.masker = engine
    await guard(Apply(runtime)).response(flow)
    assert flow.response.status_code == 502
    assert json.loads(flow.response.content)["reason"] == "crash"
    assert b"ann@corp" not in flow.response.content
    assert gate.of(flow).receipt is False


async def test_a_request_waits_for_the_engine_and_is_then_refused():
    runtime, flow = ready()
    runtime.masker = parts.MaskEngine(parts.FixedKeys(), runtime.clock)
    task = harness.asyncio.ensure_future(guard(Prepare(runtime)).request(flow))
    await runtime.clock.advance(21)
    await task
    assert flow.response.status_code == 503
    assert flow.response.headers["retry-after"] == "5"
    assert json.loads(flow.response.content)["code"] == "masking-warming-up"


async def test_prepare_asks_for_what_can_be_masked():
    headers = [("Accept-Encoding", "gzip, br"), ("Range", "bytes=0-5"), ("If-Range", '"x"'), ("Accept", "application/json, image/png")]
    runtime, flow = ready(headers=headers)
    await guard(Prepare(runtime)).request(flow)
    assert flow.response is None
    assert flow.request.headers["accept-encoding"] == "identity"
    assert flow.request.headers["accept"] == "application/json"
    assert not {"range", "if-range"}.intersection(name.lower() for name in flow.request.headers)


async def test_a_write_that_carries_a_mask_is_refused_and_names_the_field():
    runtime, flow = ready(method="PUT", body=b'{"a": {"ssn": "[MASKED:US_SSN:GTVY]"}}', headers=[("Content-Type", "application/json")])
    await guard(Prepare(runtime)).request(flow)
    assert flow.response.status_code == 422
    document = json.loads(flow.response.content)
    assert (document["code"], document["field"]) == ("write-back", "/a/ssn")


async def test_a_tag_of_ours_reaches_the_upstream_as_its_own():
    first = await masked(answer(etag='"abc"'))
    runtime, flow = ready(headers=[("If-None-Match", first.response.headers["etag"])])
    await guard(Prepare(runtime)).request(flow)
    assert flow.request.headers["if-none-match"] == '"abc"'


async def test_a_foreign_tag_matches_nothing():
    runtime, flow = ready(headers=[("If-None-Match", '"guess"')])
    await guard(Prepare(runtime)).request(flow)
    assert "if-none-match" not in flow.request.headers


async def test_head_shows_no_length_of_the_original():
    flow = await masked(answer(b"", content_length="28", etag='"abc"'), method="HEAD")
    assert "content-length" not in flow.response.headers
    assert "abc" not in flow.response.headers["etag"]


@pytest.mark.parametrize("shell", [Prepare, Apply], ids=["prepare", "apply"])
async def test_loaded_alone_it_refuses_everything(shell):
    flow = harness.live_flow(response=answer())
    addon = guard(shell(Runtime()))
    hook = addon.request if shell is Prepare else addon.response
    await hook(flow)
    assert flow.response.status_code == (503 if shell is Prepare else 502)  # once the upstream has answered: "it may have been done"


async def test_running_fills_the_slots_without_waiting():
    runtime = harness.runtime(parts.snapshot())
    runtime.keys = parts.FixedKeys()
    prepare = Prepare(runtime)
    await prepare.running()
    assert runtime.masker is not None
    assert runtime.redactor is not None
    assert len(runtime.reloaders) == 1
    assert runtime.masker.wait(60)
    await runtime.masker.close()


async def test_row_26_without_apply_nothing_of_the_body_arrives():
    runtime, flow = ready(response=answer())
    gate.of(flow).departed = True
    await guard(Arrival(runtime)).response(flow)
    assert flow.response.status_code == 502
    assert json.loads(flow.response.content)["code"] == "masking-missing"
    assert b"ann@corp" not in flow.response.content


async def test_row_26_an_apply_that_returns_early_gives_no_receipt(monkeypatch):
    async def early(self, flow):
        return None

    monkeypatch.setattr(Apply, "response", early)
    runtime, flow = ready(response=answer())
    gate.of(flow).departed = True
    await guard(Apply(runtime)).response(flow)
    await guard(Arrival(runtime)).response(flow)
    assert flow.response.status_code == 502
    assert b"ann@corp" not in flow.response.content


@pytest.mark.parametrize("slot", ["service", "decision"])
async def test_a_flow_that_skipped_a_step_is_withheld(slot):
    runtime, flow = ready(response=answer())
    record = exchange.read(flow.metadata)
    setattr(record, slot, None)
    exchange.write(flow.metadata, record)
    await guard(Apply(runtime)).response(flow)
    assert flow.response.status_code == 502
    assert b"ann@corp" not in flow.response.content
