"""SIGKILL under load: what was acknowledged is in the log, the log verifies, and what was open is marked."""

import concurrent.futures
import json
import threading
import time
from collections import defaultdict

import pytest

from tests.parts.gateway import Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.kill, pytest.mark.timeout(300)]
CALLERS = 8
SECONDS_OF_LOAD = 2.0
TERMINAL = {"ResponseComplete", "Denied", "Interrupted", "Failed", "Panic"}


def load_until_killed(gateway: Gateway, run: int) -> set[str]:
    """Read with several callers, kill the gateway in the middle, and return the marks of the answers that came whole."""
    token = gateway.token("planner")
    acknowledged: set[str] = set()
    ended = threading.Event()

    def caller(number: int) -> None:
        count = 0
        while not ended.is_set():
            mark = f"{run}-{number}-{count}"
            answer = gateway.request(
                "GET", f"{gateway.cleartext}/customers?mark={mark}", token, headers={"X-Purpose": "demo/tour"}, timeout=10
            )
            if answer.status == 200:
                acknowledged.add(mark)
            count += 1

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(caller, number) for number in range(CALLERS)]
        time.sleep(SECONDS_OF_LOAD)
        assert gateway.program is not None
        gateway.program.kill()
        ended.set()
        for call in calls:
            call.result(30)
    return acknowledged


def test_three_crashes_under_load_lose_nothing(tmp_path):
    gateway = Gateway(tmp_path)
    acknowledged: set[str] = set()
    for run in range(3):
        gateway.start()
        acknowledged |= load_until_killed(gateway, run)
    gateway.start()
    assert gateway.stop() == 0
    assert len(acknowledged) > 30  # a busy machine answers few in the seconds of load; what matters is that none of them is lost

    report = gateway.cli("verify", "--json")
    assert report.status == 0, report.text
    exported = gateway.cli("export", "--db", str(gateway.store), "kind:http", "-o", "-", timeout=120)
    assert exported.status == 0, exported.headers["stderr"]
    stages, marks = defaultdict(list), {}
    for line in exported.text.splitlines():
        event = json.loads(line)
        flow = event["core"]["flow"]
        stages[flow].append(event["core"]["stage"])
        query = str(event["fields"].get("query", ""))
        if "mark=" in query:
            marks[flow] = query.partition("mark=")[2]
    complete = {marks[flow] for flow, seen in stages.items() if "ResponseComplete" in seen and flow in marks}
    assert acknowledged <= complete
    for flow, seen in stages.items():
        assert len(TERMINAL & set(seen)) == 1 and sum(stage in TERMINAL for stage in seen) == 1, (flow, seen)
    interrupted = [flow for flow, seen in stages.items() if "Interrupted" in seen]
    assert interrupted, "no flow was open when it was killed: the load was too small to show anything"
