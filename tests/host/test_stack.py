"""The real stack in a real mitmdump, with the example of `policies/` on ports of its own (acceptance 1, 11, 13, 18)."""

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from addons.core.audit.reader import Reader
from addons.host.fail_closed import hooks_of
from tests.parts.host_gateway import ROOT, Gateway, free_port, mitmdump, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PORTS = ("8442", "8443", "8444", "8445", "8446")
KINDS = ("Exception", "OptionsError", "CancelledError")
GUARDHOUSE = Path(sys.executable).parent / "guardhouse"


def steps() -> list[tuple[str, str]]:
    """Each flow hook of each shell of the real stack."""
    import addons.stack

    found = []
    for addon in addons.stack.addons:
        if addon.name not in ("guardhouse-hardening", "guardhouse-drain"):
            found += [
                (addon.name, hook) for hook in hooks_of(addon.addon) if hook in ("requestheaders", "request", "responseheaders", "response")
            ]
    return found


def site(home: Path) -> dict[str, str]:
    """Copy the example's policies with fresh ports; returns the environment and under "port" the cleartext listener's."""
    ports = {port: str(free_port()) for port in PORTS}
    shutil.copytree(ROOT / "policies", home / "policies")
    for file in (home / "policies").rglob("*.yaml"):
        file.write_text(re.sub("|".join(PORTS), lambda found: ports[found[0]], file.read_text()))
    return {"GUARDHOUSE_POLICIES": str(home / "policies"), "GUARDHOUSE_STATE": str(home / "state"), "port": ports["8442"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("site")
    env = site(home)
    with mitmdump(home, script="faulty_stack.py", env=env, port=int(env["port"])) as running:
        running.wait_until_up(60)
        yield running


@pytest.fixture(scope="module")
def token(gateway: Gateway) -> str:
    ran = subprocess.run([str(GUARDHOUSE), "dev", "token", "planner"], env={**gateway.env}, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def get(gateway: Gateway, token: str, path: str, *headers: str, method: str = "GET") -> tuple[int, bytes]:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{gateway.port}",
        f"Authorization: Bearer {token}",
        "X-Purpose: support/1",
        "Connection: close",
    ]
    return gateway.raw("\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n", seconds=20)


def settle_masking(gateway: Gateway, token: str) -> None:
    wait_for(lambda: get(gateway, token, "/customers/1")[0] == 200, 60)


def test_the_example_works(gateway: Gateway, token: str):
    settle_masking(gateway, token)
    status, answer = get(gateway, token, "/customers/1")
    assert status == 200
    assert b"@masked.invalid" in answer


@pytest.mark.parametrize(("step", "hook"), steps(), ids=lambda value: value)
def test_each_hook_of_each_shell_fails_closed(gateway: Gateway, token: str, step: str, hook: str):
    settle_masking(gateway, token)
    for kind in KINDS:
        status, answer = get(gateway, token, "/customers/1", f"X-Fault: {step}.{hook}={kind}")
        assert status in ((503,) if hook in ("requestheaders", "request") else (502, 503)), kind
        assert b"masked" not in answer
        assert b"SECRET" not in answer
    assert "SECRET" not in gateway.output


def rows(gateway: Gateway) -> list[tuple[int, int]]:
    """Stage and kind of every event but heartbeats, anchors and sessions."""
    with closing(sqlite3.connect(f"file:{gateway.home}/recordings/audit.db?mode=ro", uri=True)) as database, database:
        return [row for row in database.execute("select stage, kind from event order by seq") if row[1] not in (5, 20, 21)]


def flow_rows(gateway: Gateway) -> list[tuple[int, int]]:
    """The events of flows. No store at all has none."""
    if not (gateway.home / "recordings" / "audit.db").exists():
        return []
    return [row for row in rows(gateway) if row[1] == 1]


def settled_rows(gateway: Gateway) -> int:
    """How many there are once nothing more comes of the tests before: an end that could not be written is written later."""
    count, since = -1, time.monotonic()
    while time.monotonic() - since < 1.0:
        if (now := len(rows(gateway))) != count:
            count, since = now, time.monotonic()
        time.sleep(0.05)
    return count


TERMINAL, CONNECTION = "terminal", "connection"
ODD = {
    "connect-and-close": (b"", CONNECTION, 0),
    "binary": (b"\x00\x01\x02\x03\r\n\r\n", CONNECTION, 400),
    "request-line": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", CONNECTION, 400),
    "http-0.9": (b"GET /\r\n\r\n", CONNECTION, 400),
    "ftp": (b"GET ftp://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", CONNECTION, 400),
    "leaves-in-headers": (b"GET / HTTP/1.1\r\nHost: a\r\nX-", CONNECTION, 0),
    "connect": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", TERMINAL, 400),
    "two-lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", TERMINAL, 400),
    "header-name": (b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", TERMINAL, 400),
    "too-large": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", TERMINAL, 413),
    "refused": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", TERMINAL, 401),
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_comes_leaves_exactly_one_trace(gateway: Gateway, name: str):
    data, kind, status = ODD[name]
    before = settled_rows(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as peer:
        peer.sendall(data)
        if status:
            assert peer.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())
    wait_for(lambda: len(rows(gateway)) > before)
    time.sleep(0.2)
    new = rows(gateway)[before:]
    assert len(new) == 1
    stage, kind_number = new[0]
    assert (TERMINAL if stage in (3, 4, 5, 6) and kind_number == 1 else CONNECTION if kind_number == 10 else "other") == kind


def test_a_reload_by_signal_swaps_all_files_or_none(gateway: Gateway, token: str):
    rules = gateway.home / "policies" / "rules.yaml"
    before = rules.read_text()
    rules.write_text(before + "\nnonsense: [\n")
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the old rules stay" in gateway.output)
    assert get(gateway, token, "/customers/1")[0] == 200
    rules.write_text(before.replace("effect: allow", "effect: deny", 1).replace("mask: [pii]", "", 1))
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded: sha-256:" in gateway.output or gateway.output.count("the old rules stay") > 1)
    rules.write_text(before)
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: get(gateway, token, "/customers/1")[0] == 200)


def config_verbs(gateway: Gateway) -> list[tuple[str, str | None]]:
    """What the log says of its configuration: verb, and by whom."""
    with Reader.open(gateway.home / "recordings" / "audit.db") as reader:
        events = [event for event in reader.events("seq > ?", (0,)) if event.kind == "config"]
    return [(event.core["verb"], json.loads(event.fields.get("note", b"{}")).get("by")) for event in events]


def test_a_reload_by_signal_leaves_the_events_of_a_reload_by_the_control_plane(gateway: Gateway, token: str):
    settled_rows(gateway)
    before = len(config_verbs(gateway))
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: {("reload", None), ("reloaded", "signal")} <= set(config_verbs(gateway)[before:]))
    assert sorted(config_verbs(gateway)[before:], key=str) == [("reload", None), ("reload-asked", "signal"), ("reloaded", "signal")]
    rules = gateway.home / "policies" / "rules.yaml"
    good = rules.read_text()
    rules.write_text(good + "\nnonsense: [\n")
    before = len(config_verbs(gateway))
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: config_verbs(gateway)[before:] == [("reload-asked", "signal")])
    rules.write_text(good)


def test_a_stop_ends_with_0_and_a_second_start_reads_the_same_store(tmp_path: Path):
    env = site(tmp_path)
    for _ in range(2):
        with mitmdump(tmp_path, script=ROOT / "addons" / "stack.py", env=env, port=int(env["port"])) as running:
            running.wait_until_up(60)
            assert running.get("/")[0] in (400, 401)
            started = time.monotonic()
            assert running.stop() == 0, running.output
            assert time.monotonic() - started < 15
            assert "did not close" not in running.output


def test_what_people_were_to_decide_is_answered_at_a_stop(tmp_path: Path):
    env, held = site(tmp_path), 5
    answers: list[tuple[int, bytes]] = []
    with mitmdump(tmp_path, script=ROOT / "addons" / "stack.py", env=env, port=int(env["port"])) as running:
        running.wait_until_up(60)
        token = subprocess.run(
            [str(GUARDHOUSE), "dev", "token", "planner"], env=running.env, capture_output=True, text=True, check=True
        ).stdout.strip()
        threads = [
            threading.Thread(target=lambda n=n: answers.append(get(running, token, f"/customers/{n + 1}", method="DELETE")))
            for n in range(held)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len([row for row in rows(running) if row == (1, 1)]) == held)
        time.sleep(1)
        assert running.stop() == 0, running.output
        for thread in threads:
            thread.join(10)
    assert [status for status, _ in answers] == [503] * held, answers
    assert all(b"approval_id" in answer for _, answer in answers)
    assert sum(1 for stage, kind in rows(running) if kind == 1 and stage in (3, 4, 5, 6)) == held


def test_a_flow_that_is_sent_again_from_a_file_is_judged_anew(tmp_path: Path):
    """`-C` sends to the recorded host: nothing that the file says of its identity or decision counts."""
    reached = socket.create_server(("127.0.0.1", 0))
    reached.settimeout(0.2)
    env, flows = site(tmp_path), tmp_path / "flows"
    code = (
        "import sys; from mitmproxy.io import FlowWriter; from mitmproxy.test import tflow, tutils\n"
        "f = tflow.tflow(req=tutils.treq(host='127.0.0.1', port=int(sys.argv[2])), resp=True)\n"
        "f.metadata['guardhouse'] = {'id': 'forged', 'decision': {'effect': 'allow'}}\n"
        "FlowWriter(open(sys.argv[1], 'wb')).add(f)"
    )
    subprocess.run([sys.executable, "-c", code, str(flows), str(reached.getsockname()[1])], check=True)
    with mitmdump(tmp_path, "-n", "-C", str(flows), script=ROOT / "addons" / "stack.py", env=env) as running:
        assert running.wait_until_gone(60) in (0, 1), running.output
    with pytest.raises(TimeoutError):
        reached.accept()
    assert flow_rows(running) == []
    reached.close()


def test_a_recorded_flow_fires_no_shell_and_writes_nothing(tmp_path: Path, gateway: Gateway):
    """`-nr` reads a file through the stack: no listener, no second event, no hook of ours."""
    env = site(tmp_path)
    flows = tmp_path / "flows"
    made = subprocess.run(
        [sys.executable, "-c", "import sys; from mitmproxy.io import FlowWriter; from mitmproxy.test import tflow; f=tflow.tflow(resp=True); f.metadata['guardhouse']={'id': 'forged'}; FlowWriter(open(sys.argv[1],'wb')).add(f)", str(flows)],
        check=True,
    )  # fmt: skip
    assert made.returncode == 0
    with mitmdump(tmp_path, "-nr", str(flows), script=ROOT / "addons" / "stack.py", env=env) as running:
        assert running.wait_until_gone(60) == 0, running.output
        assert "listens at" not in running.output
    assert flow_rows(running) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "addons").glob("*.py") if path.stem not in ("__init__", "stack")))
def test_a_shell_alone_answers_503(tmp_path: Path, name: str):
    port = free_port()
    mode = f"reverse:http://127.0.0.1:1@127.0.0.1:{port}"
    with mitmdump(tmp_path, "--mode", mode, script=ROOT / "addons" / f"{name}.py", env=site(tmp_path), port=port) as running:
        try:
            running.wait_until_up(30)
        except AssertionError:
            assert running.process.poll() == 1  # it would not even start: closed, too
            return
        assert running.get("/")[0] in (0, 503)
