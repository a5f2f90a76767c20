"""Start, stop and what may go wrong between (acceptance 2, 3, 4, 11, 17, 18): each test runs a gateway of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from addons.host import certificates
from tests.parts.host_gateway import MITMDUMP, SCRIPTS, Upstream, free_port, mitmdump, ok, wait_for
from tests.parts.host_shells import SHELLS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def upstream():
    def play(request: bytes) -> bytes:
        if b" /slow" in request:
            time.sleep(1.0)
        return ok()

    server = Upstream(play)
    yield server
    server.close()


def env_of(upstream: Upstream, **more: str) -> dict[str, str]:
    return {"GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{upstream.port}", **more}


def listening_ports(pid: int) -> set[int]:
    """Ports on which a process listens, from /proc."""
    inodes = (
        {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
        if Path(f"/proc/{pid}/fd").exists()
        else set()
    )
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


@pytest.mark.parametrize("occupied", [False, True], ids=["8080-free", "8080-occupied"])
def test_only_the_configured_listeners_are_ever_bound(tmp_path: Path, upstream: Upstream, occupied: bool):
    blocker = socket.socket()
    try:
        if occupied:
            blocker.bind(("127.0.0.1", 8080))
            blocker.listen()
        with mitmdump(tmp_path, env=env_of(upstream)) as gateway:
            seen: set[int] = set()
            end = time.monotonic() + 30
            while gateway.port not in seen and time.monotonic() < end and gateway.process.poll() is None:
                seen |= listening_ports(gateway.process.pid)
            assert seen == {gateway.port}, gateway.output
            assert gateway.get("/")[0] == 200
    finally:
        blocker.close()


def test_a_start_that_is_hammered_answers_nothing_before_it_is_ready(tmp_path: Path, upstream: Upstream):
    answers: list[int] = []
    with mitmdump(tmp_path, env=env_of(upstream)) as gateway:
        while not answers or answers[-1] != 200:
            try:
                answers.append(gateway.get("/", port=gateway.port)[0])
            except OSError:
                assert gateway.process.poll() is None, gateway.output
            assert len(answers) < 50
        assert answers == [200]  # refused by the kernel until the chain was complete, then served


def test_the_start_prints_three_lines(tmp_path: Path, upstream: Upstream):
    with mitmdump(tmp_path, env=env_of(upstream)) as gateway:
        gateway.wait_until_up()
        wait_for(lambda: "Approvals:" in gateway.output)
        lines = [line for line in gateway.output.splitlines() if not line.startswith("[")]
    assert len(lines) == 3
    assert f"http://127.0.0.1:{gateway.port}" in lines[0]
    assert lines[1].startswith("Try it:    curl ")
    assert lines[2].startswith("Approvals: https://")


REFUSED = {
    "map_remote": ["--set", "map_remote=/a/b/c"],
    "map_local": ["--set", "map_local=|a|{flows}"],
    "modify_body": ["--set", "modify_body=/a/b"],
    "modify_headers": ["--set", "modify_headers=/a/b"],
    "stickyauth": ["--set", "stickyauth=~q"],
    "stickycookie": ["--set", "stickycookie=~q"],
    "upstream_auth": ["--set", "upstream_auth=a:b"],
    "stream_large_bodies": ["--set", "stream_large_bodies=1m"],
    "ignore_hosts": ["--set", "ignore_hosts=example"],
    "allow_hosts": ["--set", "allow_hosts=example"],
    "tcp_hosts": ["--set", "tcp_hosts=example"],
    "udp_hosts": ["--set", "udp_hosts=example"],
    "validate_inbound_headers": ["--set", "validate_inbound_headers=false"],
    "ssl_insecure": ["--set", "ssl_insecure=true"],
    "keep_alt_svc_header": ["--set", "keep_alt_svc_header=true"],
    "save_stream_file": ["-w", "flows"],
    "hardump": ["--set", "hardump=flows.har"],
    "flow_detail": ["--set", "flow_detail=2"],
    "store_streamed_bodies": ["--set", "store_streamed_bodies=true"],
    "server_replay": ["-S", "{flows}"],
    "client_replay": ["-C", "{flows}"],
    "rfile": ["-r", "{flows}"],
    "proxyauth": ["--set", "proxyauth=a:b"],
    "certs": ["--set", "certs={pem}"],
    "mode": ["--mode", "regular"],
    "nosuch": ["--set", "nosuch=1"],
    "scripts": ["-s", "{script}"],
    "body_size_limit": ["--set", "body_size_limit=1m"],
    "listen_port": ["-p", "9999"],
    "tls_version_client_min": ["--set", "tls_version_client_min=SSL9"],
}


ALONE = (
    "allow_hosts",
    "tls_version_client_min",
    "mode",
    "certs",
    "server_replay",
    "client_replay",
    "rfile",
)  # mitmproxy itself looks at these first


def arguments_of(tmp_path: Path, names: list[str]) -> list[str]:
    script, flows = tmp_path / "more.py", tmp_path / "flows.in"
    script.write_text("def request(flow): pass\n")
    flows.write_bytes(b"")
    pem = certificates.ensure(tmp_path / "own", "x", []).pem_path
    return [part.format(flows=flows, script=script, pem=pem) for name in names for part in REFUSED[name]]


def test_all_options_that_act_behind_us_are_refused_by_name_at_once(tmp_path: Path, upstream: Upstream):
    names = [name for name in REFUSED if name not in ALONE]
    with mitmdump(tmp_path, *arguments_of(tmp_path, names), env=env_of(upstream)) as gateway:
        assert gateway.wait_until_gone() == 1, gateway.output
        assert [name for name in names if f"error   {name}: " not in gateway.output] == []
        assert "listens at" not in gateway.output


@pytest.mark.parametrize("name", [name if name in ALONE else pytest.param(name, marks=pytest.mark.slow) for name in REFUSED])
def test_an_option_that_acts_behind_us_refuses_the_start(tmp_path: Path, upstream: Upstream, name: str):
    with mitmdump(tmp_path, *arguments_of(tmp_path, [name]), env=env_of(upstream)) as gateway:
        assert gateway.wait_until_gone() == 1, gateway.output
        assert name in gateway.output
        assert "listens at" not in gateway.output


@pytest.mark.parametrize("variable", ["SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"])
def test_a_key_log_refuses_the_start(tmp_path: Path, upstream: Upstream, variable: str):
    with mitmdump(tmp_path, env=env_of(upstream, **{variable: str(tmp_path / "keys")})) as gateway:
        assert gateway.wait_until_gone() == 1
        assert variable in gateway.output
    assert not (tmp_path / "keys").exists()


def test_a_hostile_default_confdir_refuses_the_start_and_nothing_is_written_there(tmp_path: Path, upstream: Upstream):
    (tmp_path / ".mitmproxy").mkdir()
    (tmp_path / ".mitmproxy" / "config.yaml").write_text("map_remote: ['/a/b/c']\n")
    with mitmdump(tmp_path, env=env_of(upstream)) as gateway:
        assert gateway.wait_until_gone() == 1
        assert "map_remote" in gateway.output
    assert [path.name for path in (tmp_path / ".mitmproxy").iterdir()] == ["config.yaml"]


def test_the_default_confdir_stays_empty_and_core_dumps_are_off(tmp_path: Path, upstream: Upstream):
    with mitmdump(tmp_path, env=env_of(upstream)) as gateway:
        gateway.wait_until_up()
        limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert not (tmp_path / ".mitmproxy").exists()


def test_a_broken_and_a_deleted_stack_leave_the_old_policy_in_force(tmp_path: Path, upstream: Upstream):
    script = tmp_path / "stack.py"
    shutil.copy(SCRIPTS / "mini_stack.py", script)
    script.write_text(script.read_text().replace("parents[3]", f"parents[0] / {str(SCRIPTS.parents[2])!r}"))
    with mitmdump(tmp_path, script=script, env=env_of(upstream)) as gateway:
        gateway.wait_until_up()
        script.write_text("this is no python\n")
        for _ in range(12):
            assert gateway.get("/denied")[0] == 403
            time.sleep(0.1)
        script.unlink()
        for _ in range(12):
            assert gateway.get("/denied")[0] == 403
            time.sleep(0.1)
        assert gateway.process.poll() is None


def test_an_unload_by_force_ends_the_process_with_70(tmp_path: Path, upstream: Upstream):
    unload = SCRIPTS / "unload.py"
    with mitmdump(tmp_path, "-s", str(unload), env=env_of(upstream, GUARDHOUSE_TEST_SCRIPTS=str(unload))) as gateway:
        gateway.wait_until_up()
        gateway.process.send_signal(signal.SIGUSR2)
        assert gateway.wait_until_gone(10) == 70


def test_a_stop_answers_what_is_held_finishes_what_runs_and_closes_the_audit_last(tmp_path: Path, upstream: Upstream):
    held, slow = 100, 3
    answers: list[int] = []
    with mitmdump(tmp_path, env=env_of(upstream)) as gateway:
        gateway.wait_until_up()
        threads = [threading.Thread(target=lambda n=n: answers.append(gateway.get(f"/held/{n}")[0])) for n in range(held)]
        threads += [threading.Thread(target=lambda n=n: answers.append(gateway.get(f"/slow/{n}")[0])) for n in range(slow)]
        for thread in threads:
            thread.start()
        wait_for(lambda: sum(1 for event in gateway.events if event["kind"] == "intent") == held + slow)
        assert gateway.stop() == 0
        for thread in threads:
            thread.join(10)
        assert sorted(answers) == [200] * slow + [503] * held
        events = gateway.events
        assert events[-1]["kind"] == "closed"
        assert sum(1 for event in events if event["kind"] == "complete") == held + slow


@pytest.mark.parametrize("target", ["listener", "control", "link-local", "name"])
def test_a_service_never_reaches_ourselves_or_the_machines_link(tmp_path: Path, target: str):
    listen, control = free_port(), free_port()
    address = {
        "listener": f"127.0.0.2:{listen}",
        "control": f"127.0.0.1:{control}",
        "link-local": "169.254.169.254:80",
        "name": f"localhost:{control}",
    }
    reached = socket.create_server(("127.0.0.1", control))
    reached.settimeout(0.2)
    env = {"GUARDHOUSE_TEST_UPSTREAM": address[target], "GUARDHOUSE_TEST_CONTROL": f"127.0.0.1:{control}"}
    with mitmdump(tmp_path, env=env, port=listen) as gateway:
        gateway.wait_until_up()
        status, answer = gateway.get("/")
        assert status == 502
        assert b"upstream-failed" in answer
        try:
            peer, _ = reached.accept()
            assert peer.recv(100) == b""  # a name was dialled, but not a byte was sent
        except TimeoutError:
            pass
    reached.close()


FIRST_AND_LAST = (
    "guardhouse-hardening",
    "guardhouse-listeners",
    "guardhouse-departure",
)  # the others in test_house, and here when there is time


@pytest.mark.parametrize(
    "name", [name if name in FIRST_AND_LAST else pytest.param(name, marks=pytest.mark.slow) for name in (shell.name for shell in SHELLS)]
)
def test_a_step_left_out_opens_nothing(tmp_path: Path, upstream: Upstream, name: str):
    with mitmdump(tmp_path, env=env_of(upstream, GUARDHOUSE_TEST_WITHOUT=name)) as gateway:
        if name == "guardhouse-listeners":
            time.sleep(3)
            assert listening_ports(gateway.process.pid) == set()
        else:
            assert gateway.wait_until_gone() == 1, gateway.output
            assert "No listener is opened" in gateway.output or "no listener is opened" in gateway.output


@pytest.mark.slow
@pytest.mark.parametrize("name", [shell.name for shell in SHELLS[1:]])
def test_a_step_moved_by_one_place_opens_nothing(tmp_path: Path, upstream: Upstream, name: str):
    with mitmdump(tmp_path, env=env_of(upstream, GUARDHOUSE_TEST_SWAP=name)) as gateway:
        assert gateway.wait_until_gone() == 1, gateway.output


def test_many_connects_at_once_are_not_reset(tmp_path: Path, upstream: Upstream):
    limits = '{"per_peer": 4096, "connections": 5000}'
    with mitmdump(tmp_path, env=env_of(upstream, GUARDHOUSE_TEST_LIMITS=limits)) as gateway:
        gateway.wait_until_up()
        peers = []
        for _ in range(2000):
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", gateway.port))
            peers.append(peer)
        time.sleep(3)
        failed = sum(1 for peer in peers if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        for peer in peers:
            peer.close()
        assert failed == 0


def test_a_connection_that_brings_no_request_is_closed_by_its_own_clock(tmp_path: Path, upstream: Upstream):
    limits = '{"handshake": 0.3, "headers_time": 0.5}'
    with mitmdump(tmp_path, env=env_of(upstream, GUARDHOUSE_TEST_LIMITS=limits)) as gateway:
        gateway.wait_until_up()
        for data in (b"", b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"):
            started = time.monotonic()
            assert gateway.raw(data, seconds=5) == (0, b"")
            assert time.monotonic() - started < 3
        with socket.create_connection(("127.0.0.1", gateway.port)) as peer:
            peer.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n")
            assert peer.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_dial_that_nobody_accepts_is_given_up(tmp_path: Path):
    deaf = socket.create_server(("127.0.0.1", 0), backlog=0)
    filling = [socket.socket() for _ in range(3)]
    for peer in filling:
        peer.setblocking(False)
        peer.connect_ex(deaf.getsockname())
    env = {"GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{deaf.getsockname()[1]}", "GUARDHOUSE_TEST_TIMES": '{"connect_timeout": 0.7}'}
    with mitmdump(tmp_path, env=env) as gateway:
        gateway.wait_until_up()
        started = time.monotonic()
        assert gateway.get("/")[0] == 502
        assert 0.5 < time.monotonic() - started < 3
    for peer in [deaf, *filling]:
        peer.close()


def test_mitmdump_is_there():
    assert subprocess.run([str(MITMDUMP), "--version"], capture_output=True, check=True).stdout.startswith(b"Mitmproxy: 12.2.3")
