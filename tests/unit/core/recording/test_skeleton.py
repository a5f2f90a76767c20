"""A skeleton keeps a flow's shape and nothing that must not be kept."""

import contextlib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.io import FlowReader

from addons.core.recording import skeleton
from addons.host import flowfile
from tests import harness


def flow_with_secrets() -> http.HTTPFlow:
    response = http.Response.make(
        200, b'{"a":1}', {"Content-Type": "application/json", "Set-Cookie": "s=canary-cookie", "Content-Encoding": "gzip"}
    )
    return harness.live_flow(
        path="/customers/ann@corp.example",
        headers=[("Authorization", "Bearer canary-token"), ("X-Api-Key", "canary-key"), ("X-Note", "for ann@corp.example")],
        body=b"canary-body",
        response=response,
        metadata={"guardhouse": {"principal": "forged"}},
    )


def masked(text: str) -> str:
    return text.replace("ann@corp.example", "[MASKED]")


def test_bodies_credentials_and_metadata_are_left_out():
    kept = skeleton.unpack(skeleton.strip(flow_with_secrets().get_state(), masked))
    text = repr(kept)
    for canary in ("canary-token", "canary-key", "canary-body", "canary-cookie", "forged", "ann@corp.example"):
        assert canary not in text
    assert kept["request"]["path"] == b"/customers/[MASKED]"


def test_an_inflated_flow_is_read_by_stock_mitmproxy(tmp_path: Path):
    packed = skeleton.strip(flow_with_secrets().get_state(), masked)
    target = tmp_path / "case.flows"
    written, skipped = flowfile.write_flows(
        target, [flowfile.RecordedFlow("0193", packed, b"masked request", b'{"a":2}', {"principal": "dev:alice", "effect": "allow"})]
    )
    assert (written, skipped) == (1, [])
    (flow,) = FlowReader(BytesIO(target.read_bytes())).stream()
    assert isinstance(flow, http.HTTPFlow) and flow.response is not None
    assert flow.request.method == "GET" and flow.request.path == "/customers/[MASKED]"
    assert flow.request.content == b"masked request"
    assert flow.response.content == b'{"a":2}' and "content-encoding" not in flow.response.headers
    assert flow.comment == '{"effect": "allow", "principal": "dev:alice"}'


def test_a_flow_without_an_answer_stays_without_one(tmp_path: Path):
    packed = skeleton.strip(harness.live_flow().get_state(), masked)
    assert skeleton.inflate(packed, b"", None)["response"] is None


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x28\xb5\x2f\xfd" + b"\0" * 9], ids=["empty", "text", "torn-frame"])
def test_what_is_no_skeleton_is_named_and_skipped(tmp_path: Path, junk: bytes):
    written, skipped = flowfile.write_flows(tmp_path / "x.flows", [flowfile.RecordedFlow("0193", junk)])
    assert written == 0
    assert skipped == [flowfile.Skipped("0193", "not a skeleton")]


def test_forged_metadata_of_a_file_is_wiped(tmp_path: Path):
    from mitmproxy.io import FlowWriter

    flow = flow_with_secrets()
    with (tmp_path / "forged.flows").open("wb") as file:
        FlowWriter(file).add(flow)
    (read,) = flowfile.read_flows(tmp_path / "forged.flows", [])
    assert read.metadata == {}


def test_a_damaged_file_names_what_is_lost(tmp_path: Path):
    target = tmp_path / "damaged.flows"
    flowfile.write_flows(target, [flowfile.RecordedFlow("a", skeleton.strip(harness.live_flow().get_state(), masked))] * 2)
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) // 2 + 40])
    skipped: list[flowfile.Skipped] = []
    assert len(list(flowfile.read_flows(target, skipped))) == 1
    assert [one.what for one in skipped] == ["flow 2 and what follows"]


@given(st.binary(max_size=200))
def test_junk_never_raises_anything_else(data: bytes):
    with contextlib.suppress(skeleton.SkeletonError):
        skeleton.inflate(data, b"", None)
