"""How the whole gateway begins, changes and ends: exactly its listeners, errors that say where, a stop that answers everybody.

One gateway runs from a copy of the tree in a folder of its own, through the tests of this file in their order; each start
that must fail has a process of its own. The full list of refused options is in tests/host/test_life.py.
"""

import concurrent.futures
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.parts.gateway import EXAMPLE_PORTS, ROOT, Gateway
from tests.parts.processes import Program, wait_until

pytestmark = pytest.mark.e2e
MITMDUMP = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
PURPOSE = {"X-Purpose": "demo/tour"}


# ------------------------------------------------------------------ one gateway, from its start to its end


class Watched(Gateway):
    """A gateway that runs from a copy of the tree, and what it listened on at every moment of its start."""

    listened: frozenset[int] = frozenset()

    def start_watched(self) -> "Watched":
        self.tree = self.home / "tree"
        if not self.tree.exists():
            shutil.copytree(ROOT / "addons", self.tree / "addons", ignore=shutil.ignore_patterns("__pycache__"))
        elsewhere = self.home / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        environment = {**self.env, "PYTHONPATH": str(self.tree), "PYTEST_CURRENT_TEST": "a name that mitmproxy puts into its tasks' names"}
        command = [*MITMDUMP, "-s", str(self.tree / "addons" / "stack.py")]
        self.program = Program(command, self.home / "gateway.log", environment, cwd=elsewhere)
        wanted, end = self.ports[8442], time.monotonic() + 60
        while wanted not in self.listened and self.program.runs and time.monotonic() < end:
            self.listened |= listening(self.program.process.pid)
        self.listened |= listening(self.program.process.pid)
        assert self.program.runs, self.output
        wait_until(lambda: self.request("GET", self.control + "/readyz").status == 200, 60, "ready")
        return self


def listening(pid: int) -> frozenset[int]:
    """Ports on which this process listens, on any address."""
    try:
        held = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    except PermissionError:
        pytest.skip("only root can see the sockets of a process that is not dumpable")
    except OSError:
        return frozenset()
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(found)


@pytest.fixture(scope="module", params=[pytest.param(True, id="8080-occupied")])
def occupied(request):
    """Somebody sits on mitmproxy's default port, which we neither need nor want."""
    sockets = []
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        one = socket.socket(family)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind((host, 8080))
            one.listen()
        except OSError:
            pass  # then somebody else does
        sockets.append(one)
    yield
    for one in sockets:
        one.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, occupied):
    running = Watched(tmp_path_factory.mktemp("start"))
    running.start_watched()
    running.people = {name: running.token(name) for name in ("planner", "alice", "bob", "carol")}
    yield running
    if running.program is not None and running.program.runs:
        running.stop()


def read(site, **headers: str):
    return site.request("GET", site.cleartext + "/customers", site.people["planner"], headers={**PURPOSE, **headers})


def test_exactly_the_configured_ports_are_ever_bound_though_8080_is_taken(site):
    assert site.listened == listening(site.program.process.pid) == {site.ports[port] for port in EXAMPLE_PORTS}
    assert read(site).status == 200


def test_it_prints_three_lines_and_the_curl_works(site):
    lines = [line for line in site.output.splitlines() if not re.match(r"\[\d\d:\d\d:\d\d", line)]
    assert len(lines) == 3, lines
    assert lines[0].startswith("Guardhouse example listens at ") and str(site.ports[8443]) in lines[0]
    assert lines[2] == f"Approvals: {site.control}/approvals"
    command = lines[1].removeprefix("Try it:    ")
    tool = f"{sys.executable} -m addons.cli.main"
    done = subprocess.run(
        ["sh", "-c", command.replace("guardhouse dev", f"{tool} dev")],
        env={**site.env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
    )
    assert b"customers" in done.stdout, done.stderr


def test_a_second_gateway_on_the_same_store_does_not_start(site):
    other = Gateway(
        site.home / "second",
        edit=lambda name, text: text.replace("recordings/audit.db", str(site.store)),
        environment={"GUARDHOUSE_STATE": str(site.home / "state")},
    )
    code, output = ends(other)
    assert code in (1, 70)
    assert "another process writes this audit store" in output
    assert read(site).status == 200


def test_a_good_change_takes_effect_and_a_broken_one_keeps_the_old_rules(site):
    rules = site.policies / "rules.yaml"
    good = rules.read_text()
    assert read(site).status == 200
    denied = re.sub(r"    accept_claimed_by_header.*\n    effect: allow\n    mask: \[pii\]\n", "    effect: deny\n", good, count=1)
    assert denied != good
    rules.write_text(denied)
    assert read(site).status == 200  # nobody has said so yet
    done = site.cli("reload", "--json", token=site.people["carol"])
    assert done.status == 0, done.headers["stderr"]
    assert read(site).status == 403

    rules.write_text(denied.replace("effect: deny", "effect: perhaps", 1))
    done = site.cli("reload", token=site.people["carol"])
    assert done.status in (1, 3)  # 3: the command line reads the files to find the gateway, and cannot
    line = next(number for number, text in enumerate(rules.read_text().splitlines(), 1) if "effect: perhaps" in text)
    assert f"rules.yaml:{line}" in done.headers["stderr"] + done.text and "perhaps" in done.headers["stderr"] + done.text
    assert read(site).status == 403

    before = site.output.count("the old rules stay")
    site.program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: site.output.count("the old rules stay") > before, 10, "the refusal in the log")
    assert f"rules.yaml:{line}" in site.output and read(site).status == 403

    rules.write_text(good)
    site.program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: read(site).status == 200, 10, "the old rules again")


def test_only_an_admin_reloads(site):
    assert site.cli("reload", token=site.people["alice"]).status == 1
    assert site.cli("reload").status in (1, 2, 3)


def test_editing_or_deleting_the_code_changes_nothing(site):
    stack = site.tree / "addons" / "stack.py"
    kept = stack.read_text()
    stack.write_text("this is no python (\n")
    time.sleep(1.5)  # mitmproxy looks each second
    assert read(site).status == 200
    shutil.move(site.tree / "addons", site.home / "moved")
    time.sleep(1.5)
    try:
        assert (read(site).status, site.program.runs) == (200, True)
        assert site.request("GET", site.cleartext + "/customers", headers=PURPOSE).status == 401
        assert read(site, Host="127.0.0.1").status == 200
    finally:
        shutil.move(site.home / "moved", site.tree / "addons")
        stack.write_text(kept)


def test_a_stop_answers_what_is_held_and_its_tickets_are_found_again(site):
    token, bob = site.people["planner"], site.people["bob"]
    paths = [f"/customers/held-{number}" for number in range(4)]

    def delete(path: str):
        return site.request("DELETE", site.cleartext + path, token, headers=PURPOSE)

    def cards():
        return [card for card in site.request("GET", site.control + "/v1/approvals", bob).json["approvals"] if card["state"] == "pending"]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(delete, path) for path in paths]
        wait_until(lambda: len(cards()) == 4, 20, "four pending approvals")
        assert site.stop() == 0, site.output[-3000:]
        answers = [call.result(20) for call in calls]
    for answer in answers:
        assert (answer.status, answer.json["code"]) == (503, "shutting-down")
        assert "not sent" in answer.json["detail"]
        assert answer.json["approval_id"].startswith("ap_") and answer.json["status_url"].startswith(site.control)
    assert "Traceback" not in site.output
    report = site.cli("verify", "--json")
    assert report.status == 0, report.text

    site.start_watched()
    token, bob = site.token("planner"), site.token("bob")
    assert {card["id"] for card in cards()} == {answer.json["approval_id"] for answer in answers}
    status = site.request("GET", answers[0].json["status_url"], token)
    assert (status.status, status.json["state"]) == (200, "pending")
    again = site.request("DELETE", site.cleartext + paths[0], token, headers={**PURPOSE, "Prefer": "wait=0"})
    assert (again.status, again.json["approval_id"]) == (429, answers[0].json["approval_id"])  # the same ticket, not a second one
    assert site.stop() == 0
    assert site.cli("verify").status == 0


# ------------------------------------------------------------------ starts that must fail


def ends(gateway: Gateway, *arguments: str, **environment: str) -> tuple[int, str]:
    """Start it and wait for its end: exit code and output. Running on is a failure."""
    done = subprocess.run(
        [*MITMDUMP, "-s", str(ROOT / "addons" / "stack.py"), *arguments],
        env={**gateway.env, **environment}, cwd=gateway.home, capture_output=True, timeout=60,
    )  # fmt: skip
    assert not gateway.store.exists() or "second" not in str(gateway.home), "a start that failed wrote to a store"
    return done.returncode, (done.stdout + done.stderr).decode()


def replaced(*changes: tuple[str, str, str]):
    """Policies with these (file, old, new) changes."""

    def edit(name: str, text: str) -> str:
        for file, old, new in changes:
            assert file != name or old in text, old
            text = text.replace(old, new, 1) if file == name else text
        return text

    return edit


def line_of(gateway: Gateway, file: str, text: str) -> int:
    return next(number for number, line in enumerate((gateway.policies / file).read_text().splitlines(), 1) if text in line)


def test_every_config_error_is_told_with_its_place_and_what_is_near(tmp_path):
    edit = replaced(
        ("gateway.yaml", "  drain: 20s", "  drian: 20s"),
        ("gateway.yaml", "  header_count: 128", "  header_count: many"),
        ("rules.yaml", "approval: one-sre", "approval: one-ser"),
        ("masking.yaml", "transform: redact", "transform: redcat"),
    )
    gateway = Gateway(tmp_path, edit=edit)
    code, output = ends(gateway)
    assert code == 1 and "listens at" not in output and "Traceback" not in output, output
    for file, wrong, near in (
        ("gateway.yaml", "drian", "drain"),
        ("gateway.yaml", "many", "expected"),
        ("rules.yaml", "one-ser", "one-sre"),
        ("masking.yaml", "redcat", "redact"),
    ):
        place = f"{file}:{line_of(gateway, file, wrong)}"
        told = [line for line in output.splitlines() if place in line and wrong in line and near in line]
        assert told, f"{place} {wrong}\n{output}"
    assert not gateway.store.exists()


def test_broken_yaml_is_told_with_its_place(tmp_path):
    code, output = ends(Gateway(tmp_path, edit=replaced(("rules.yaml", "default: deny", "default: [deny"))))
    assert code == 1 and re.search(r"rules\.yaml:\d+", output) and "listens at" not in output and "Traceback" not in output, output


@pytest.mark.parametrize(
    ("arguments", "environment", "names"),
    [
        pytest.param(
            ["--set", "map_remote=/a/b/c", "--set", "modify_headers=/a/b", "--set", "stream_large_bodies=1m", "--set", "ssl_insecure=true",
             "--set", "nosuch=1", "-w", "flows", "--set", "intercept=~q"],
            {}, ["map_remote", "modify_headers", "stream_large_bodies", "ssl_insecure", "nosuch", "save_stream_file", "intercept"],
            id="options",
        ),
        pytest.param(["--mode", "regular"], {}, ["mode"], id="mode-regular"),
        pytest.param([], {"SSLKEYLOGFILE": "keys"}, ["SSLKEYLOGFILE"], id="key-log", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_what_acts_behind_policy_refuses_the_start(tmp_path, arguments, environment, names):
    gateway = Gateway(tmp_path)
    code, output = ends(gateway, *arguments, **environment)
    assert code == 1 and "listens at" not in output, output
    assert [name for name in names if not re.search(rf"\b{name}\b", output)] == []
    assert not (tmp_path / "keys").exists()
    assert not (tmp_path / "flows").exists() or (tmp_path / "flows").stat().st_size == 0  # mitmproxy has opened it before we are there
