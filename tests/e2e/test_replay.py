"""Recorded flows are served with no upstream at all, by mitmproxy's own server replay."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mitmproxy import http

from addons.core.recording import skeleton
from addons.host import flowfile
from tests import harness
from tests.parts.gateway import Gateway
from tests.parts.processes import Program, free_ports

pytestmark = pytest.mark.e2e


def recorded(path: str, body: bytes, method: str = "GET") -> flowfile.RecordedFlow:
    flow = harness.live_flow(method, path, response=http.Response.make(200, body, {"Content-Type": "application/json"}))
    packed = skeleton.strip(flow.get_state(), lambda text: text)
    return flowfile.RecordedFlow(flow.id, packed, b"", body, {"guardhouse-service": "crm", "guardhouse-purpose": "demo/tour"})


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sandbox")
    file = folder / "case.flows"
    flowfile.write_flows(file, [recorded("/customers/7", b'{"id":7}'), recorded("/customers?page=2", b"[]")])
    (port,) = free_ports(1)
    program = Program([sys.executable, "-m", "addons.cli.main", "replay", "serve", str(file), "--port", str(port)], folder / "log")
    program.wait_for_port(port)
    yield port
    program.stop()


def get(port: int, path: str, **headers: str):
    return Gateway.request(object.__new__(Gateway), "GET", f"http://127.0.0.1:{port}{path}", headers=headers)


@pytest.fixture(autouse=True)
def no_ca(monkeypatch):
    monkeypatch.setattr(Gateway, "ca", Path("/nonexistent"))


def test_a_recorded_answer_is_given_again_and_again(sandbox):
    for _ in range(3):
        answer = get(sandbox, "/customers/7")
        assert (answer.status, answer.json) == (200, {"id": 7})
        assert answer.headers["Guardhouse-Replay"] == "recorded"


@pytest.mark.parametrize("path", ["/customers/8", "/customers?page=3", "/"], ids=["other-path", "other-query", "root"])
def test_what_was_not_recorded_gets_404_and_goes_nowhere(sandbox, path):
    answer = get(sandbox, path)
    assert answer.status == 404
    assert answer.json["code"] == "not-recorded"


def test_an_upgrade_is_refused(sandbox):
    assert get(sandbox, "/customers/7", Connection="Upgrade", Upgrade="websocket").status == 501


def test_an_empty_file_is_refused(tmp_path: Path):
    empty = tmp_path / "empty.flows"
    empty.write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "addons.cli.main", "replay", "serve", str(empty)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "no flow that can be read" in done.stderr


def test_send_says_what_it_would_send_and_sends_nothing(tmp_path: Path):
    gateway = Gateway(tmp_path)
    file = tmp_path / "case.flows"
    flowfile.write_flows(file, [recorded("/customers/7", b"{}"), recorded("/customers/7", b"{}", "DELETE")])
    done = gateway.cli("replay", "send", str(file), "--json")
    assert done.status == 0, done.headers["stderr"]
    rows = [json.loads(line) for line in done.text.splitlines()]
    assert [(row["method"], row["sends"]) for row in rows] == [("GET", True), ("DELETE", False)]
