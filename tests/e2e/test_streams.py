"""Streams through a real gateway: masked as they pass, recorded, cut visibly when anything fails, over HTTP/1.1 and HTTP/2."""

import hashlib
import json
import re
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from addons.core.audit.reader import Reader
from tests.parts import slow_reader
from tests.parts import stream_upstream as upstream
from tests.parts.gateway import ROOT, Gateway
from tests.parts.processes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
FAULTS = ROOT / "tests" / "parts" / "host_scripts" / "stream_faults.py"
RULE = """
  - name: flow-is-read
    match: {services: [flow], principals: {kinds: [human, agent]}}
    effect: allow
    mask: [pii]
"""
CLEAR = [value.encode() for value in upstream.VALUES] + [b"MIIEow"]
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.fixture(scope="module")
def flow():
    running = upstream.StreamUpstream()
    yield running
    running.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, flow):
    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            service = f"  - {{name: flow, kind: http, url: 'http://127.0.0.1:{flow.port}', hosts: [flow.localhost], credential: null, timeouts: {{response: 2s}}}}\n"
            text = text.replace("keep_alive: 60s", "keep_alive: 2s").replace("body_idle: 30s", "body_idle: 2s")
            text = text.replace("services: [crm, echo]", "services: [crm, echo, flow]").replace("services: [crm]", "services: [crm, flow]")
            return text.replace("extra_scripts: []", f"extra_scripts: [{FAULTS}]").replace("\naudit:\n", f"\n{service}\naudit:\n")
        return text.replace("\nrules:\n", "\nrules:\n" + RULE.lstrip("\n"), 1) if name == "rules.yaml" else text

    running = Gateway(tmp_path_factory.mktemp("streams"), edit=edit, arguments=("-s", str(FAULTS))).start()
    yield running
    assert running.stop() == 0, running.output[-3000:]


@pytest.fixture(scope="module")
def clients(gateway):
    headers = {"Authorization": f"Bearer {gateway.token('planner')}", "X-Purpose": "demo/tour", "Host": "flow.localhost"}
    with (
        httpx.Client(base_url=gateway.cleartext, headers=headers, timeout=60, trust_env=False) as plain,
        httpx.Client(base_url=gateway.tls, headers=headers, http2=True, verify=str(gateway.ca), timeout=60, trust_env=False) as h2,
    ):
        yield {"h1": plain, "h2": h2}


@pytest.fixture(params=["h1", "h2"])
def client(request, clients):
    return clients[request.param]


def events_of(gateway, path):
    """What the log has of the newest flow of this path, once it has ended."""
    found = []

    def ended() -> bool:
        with Reader.open(gateway.store) as reader:
            begun = [event for event in reader.events("path = ?", (path,)) if event.stage == "RequestReceived"]
            found[:] = (
                [event for event in reader.events("seq > 0", ()) if event.core.get("flow") == begun[-1].core["flow"]] if begun else []
            )
        return bool(found) and found[-1].stage not in ("RequestReceived", "ResponseStarted", "Mark")

    wait_until(ended, 10, f"an end of {path}")
    return found


def one_secret(body):
    """A secret has another pseudonym under each address."""
    return re.sub(rb"MASKED:SECRET:[A-Z2-7]{14}", b"MASKED:SECRET", body)


def stored(events):
    return b"".join(event.fields.get("chunk", b"") for event in events)


@pytest.mark.parametrize("way", ["whole", "bytes", "length"])
@pytest.mark.parametrize("body", ["events", "lines", "log"])
def test_row_9_a_stream_is_masked_however_it_is_cut(client, gateway, body, way):
    answer = client.get(f"/{body}/{way}?follow=1&{id(client)}")
    assert answer.status_code == 200
    assert not any(value in answer.content for value in CLEAR)
    assert answer.content.count(b"@masked.invalid") == 1
    assert b"content-length" not in [name.lower() for name, _ in answer.headers.raw] or way == "length"
    assert one_secret(answer.content) == one_secret(client.get(f"/{body}/whole?follow=1").content)


def test_row_11_a_key_over_forty_lines_is_one_mark(client):
    answer = client.get("/log/bytes")
    assert answer.text.count("[MASKED:SECRET:") == 1
    assert "PRIVATE KEY" not in answer.text
    assert answer.text.startswith("hello\n") and answer.text.endswith("bye\n")


def test_an_event_arrives_with_its_last_byte(client):
    delays = []
    with client.stream("GET", "/timed/10") as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                told = json.loads(line[5:])
                assert told["email"].endswith("@masked.invalid")
                delays.append(time.time() - told["sent"])
    delays.sort()
    print(f"delay of an event: median {delays[5] * 1000:.1f} ms, worst {delays[-1] * 1000:.1f} ms")
    assert len(delays) == 10
    assert delays[5] < 1


def test_a_stream_outlives_the_clocks_of_requests_and_connections(client):
    with client.stream("GET", "/endless/5") as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == next(lines)


def test_row_3_json_larger_than_any_whole_body_is_masked_to_its_last_leaf(client):
    body = upstream.BODIES["json"][1]
    answer = client.get("/json/length")
    assert answer.status_code == 200
    assert b"ann@corp" not in answer.content
    assert answer.content[:-40].startswith(body[: len(body) - 100])
    assert answer.json()["last"].endswith("@masked.invalid")


@pytest.mark.parametrize("body", ["charset", "syntax", "truncated", "word"])
def test_what_cannot_be_masked_is_cut_and_never_ends_cleanly(client, gateway, body):
    path = f"/{body}/whole"
    got = b""
    with pytest.raises(BROKEN), client.stream("GET", path) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            got += piece
    assert b"ann@corp" not in got
    events = events_of(gateway, path)
    assert events[-1].stage == "Interrupted"
    assert events[-1].fields["reason"] == b"unmaskable"
    assert events[-1].core["masking_complete"] is False


@pytest.mark.parametrize("fault", ["chunk-1", "chunk-2", "end"])
@pytest.mark.parametrize("way", ["bytes", "length"])
def test_row_10_a_failure_in_any_piece_is_a_broken_transfer(client, gateway, fault, way):
    if way == "length" and fault == "chunk-2":
        pytest.skip("it comes in one piece")
    path = f"/events/{way}"
    with pytest.raises(BROKEN):
        client.get(path, headers={"X-Fault": fault})
    ends = [event for event in events_of(gateway, path) if event.stage not in ("RequestReceived", "ResponseStarted", "Mark")]
    assert [event.stage for event in ends] == ["Interrupted"]
    assert client.get("/events/whole").status_code == 200


@pytest.mark.parametrize("fault", ["replaced", "off"])
def test_row_21_a_stream_without_its_guard_does_not_pass(client, fault):
    answer = client.get("/events/whole", headers={"X-Fault": fault})
    assert (answer.status_code, answer.json()["code"]) == (502, "masking-missing")


def test_a_stream_that_nobody_records_does_not_pass(client, gateway):
    with pytest.raises(BROKEN):
        client.get("/events/whole", headers={"X-Fault": "unrecorded"})
    assert events_of(gateway, "/events/whole")[-1].stage in ("Interrupted", "Panic")


def test_audit_row_9_a_log_that_fails_in_the_middle_breaks_the_transfer(client, gateway):
    begun = time.monotonic()
    with pytest.raises(BROKEN), client.stream("GET", "/endless/0.03", headers={"X-Fault": "store"}) as answer:
        for _ in answer.iter_bytes():
            assert time.monotonic() - begun < 10
    end = events_of(gateway, "/endless/0.03")[-1]
    assert (end.stage, end.fields["reason"]) == ("Interrupted", b"audit-unavailable")
    assert json.loads(end.fields["response.digest"])["unrecorded"] is True


def test_a_stream_ends_with_its_callers_token(gateway):
    token = gateway.token("planner", minutes="0.07")
    headers = {"Authorization": f"Bearer {token}", "X-Purpose": "demo/tour", "Host": "flow.localhost"}
    begun = time.monotonic()
    with (
        pytest.raises(BROKEN),
        httpx.stream("GET", gateway.cleartext + "/endless/0.04", headers=headers, timeout=30, trust_env=False) as answer,
    ):
        assert answer.status_code == 200
        for _ in answer.iter_bytes():
            assert time.monotonic() - begun < 10
    end = events_of(gateway, "/endless/0.04")[-1]
    assert (end.stage, end.fields["reason"]) == ("Interrupted", b"token-expired")


def test_an_upstream_that_breaks_off_breaks_the_answer_off(client, gateway):
    with pytest.raises(BROKEN):
        client.get("/events/close")
    assert events_of(gateway, "/events/close")[-1].stage == "Failed"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_reader_that_leaves_ends_the_stream_upstream(gateway, flow, version):
    path = "/endless/0.01" if version == "--http2" else "/endless/0.02"
    base, more = (gateway.tls, ["--cacert", str(gateway.ca)]) if version == "--http2" else (gateway.cleartext, [])
    headers = ["-H", f"Authorization: Bearer {gateway.token('planner')}", "-H", "X-Purpose: demo/tour", "-H", "Host: flow.localhost"]
    subprocess.run(["curl", "-sN", version, "--max-time", "1", *more, *headers, base + path], capture_output=True, timeout=20, check=False)
    wait_until(lambda: path in flow.gone, 10, "the upstream is told")
    assert events_of(gateway, path)[-1].stage == "Interrupted"


def test_what_passed_is_recorded_masked_and_digested(client, gateway):
    answer = client.get("/lines/bytes?recorded")
    events = events_of(gateway, "/lines/bytes")
    assert [event.stage for event in events][:2] == ["RequestReceived", "ResponseStarted"]
    assert events[-1].stage == "ResponseComplete"
    assert stored(events) == answer.content
    told = json.loads(events[-1].fields["response.digest"])
    assert (told["sha256"], told["length"]) == (hashlib.sha256(answer.content).hexdigest(), len(answer.content))
    assert json.loads(events[-1].fields["response.received"])["bytes"] == len(upstream.LINES)
    assert events[-1].core["masked"] == {"CREDIT_CARD": 1, "EMAIL_ADDRESS": 1, "US_SSN": 1}


def test_what_came_in_can_be_proven(client, gateway, tmp_path):
    client.get("/lines/whole?proof")
    claimed = tmp_path / "claimed"
    claimed.write_bytes(upstream.LINES)
    assert gateway.cli("verify", "--against-bytes", str(claimed)).status == 0
    claimed.write_bytes(upstream.LINES + b"x")
    assert gateway.cli("verify", "--against-bytes", str(claimed)).status == 1


def test_a_stream_is_searched_shown_and_exported(client, gateway, tmp_path):
    answer = client.get("/lines/whole?exported")
    flow_id = events_of(gateway, "/lines/whole")[-1].core["flow"]
    carol = gateway.token("carol")
    assert flow_id in gateway.cli("search", "--json", "path:/lines/whole", token=carol).text
    shown = gateway.cli("show", flow_id, token=carol)
    assert (shown.status, "ResponseStarted" in shown.text) == (0, True)
    target = tmp_path / "case.flows"
    assert gateway.cli("export", "--format", "flows", "path:/lines/whole", "-o", str(target), token=carol).status == 0
    assert answer.content in target.read_bytes()


def test_curl_reads_it_and_sees_a_cut(gateway):
    token = gateway.token("planner")
    headers = ["-H", f"Authorization: Bearer {token}", "-H", "X-Purpose: demo/tour", "-H", "Host: flow.localhost"]
    for base, more in ((gateway.cleartext, ["--http1.1"]), (gateway.tls, ["--http2", "--cacert", str(gateway.ca)])):
        good = subprocess.run(["curl", "-sN", *more, *headers, base + "/events/bytes"], capture_output=True, timeout=60, check=False)
        assert (good.returncode, good.stdout.count(b"data:")) == (0, 3)
        cut = subprocess.run(["curl", "-sN", *more, *headers, base + "/charset/whole"], capture_output=True, timeout=60, check=False)
        assert cut.returncode in (18, 56, 92)
        assert cut.stdout in (b"", b"good line\n")


def test_a_client_that_does_not_read_fills_nothing(gateway):
    """It opens HTTP/2 windows of 64 KiB and never more; the upstream has 30 MiB to say."""
    headers = [("authorization", f"Bearer {gateway.token('planner')}"), ("x-purpose", "demo/tour"), (":authority", "flow.localhost")]
    pid = gateway.program.process.pid
    before = rss(pid)
    with slow_reader.open(gateway.ports[8443], gateway.ca, "/download/30", headers) as got:
        wait_until(lambda: got.size >= 60_000, 20, "the first window")
        time.sleep(3)
        assert got.size <= 65_535
        assert rss(pid) - before < 15 << 20
    assert events_of(gateway, "/download/30")[-1].stage == "Interrupted"


def rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_long_download_leaves_memory_flat(client, gateway):
    pid = gateway.program.process.pid
    client.get("/download/2")
    before, most, size, begun = rss(pid), 0, 0, time.monotonic()
    with client.stream("GET", "/download/100") as answer:
        for piece in answer.iter_bytes():
            assert b"ann@corp" not in piece
            size += len(piece)
            if size % 64 == 0:
                most = max(most, rss(pid))
    most = max(most, rss(pid))
    print(f"{size >> 20} MiB in {time.monotonic() - begun:.0f} s, memory {(most - before) / (1 << 20):.1f} MiB more")
    assert size > 99 << 20
    assert most - before < 40 << 20
