"""kill -9 at store level, 50 times under load: nothing that was acknowledged is lost, and no flow stays open (acceptance row 2)."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from addons.core.audit.reader import Reader
from tests.parts import audit

HOME = Path(__file__).parents[2]
TIMES = 50


@pytest.mark.kill
@pytest.mark.timeout(300)
def test_no_acknowledged_event_is_lost(tmp_path):
    told = subprocess.run(
        [sys.executable, "-m", "tests.parts.audit_killed", str(tmp_path), str(TIMES), "7"],
        cwd=HOME,
        capture_output=True,
        timeout=280,
        check=True,
    )
    lines = [line.split() for line in told.stdout.decode().splitlines()]
    assert [word for word, _, _ in lines].count("killed") == TIMES
    assert [word for word, _, _ in lines].count("open") >= TIMES / 2  # a round may be killed while it still recovers

    async def last_start():
        log = await audit.open_log(tmp_path)
        await log.close()

    asyncio.run(last_start())
    report = audit.verdict(tmp_path)
    assert (report.exit_code, [f for f in report.findings if f.level != "note"]) == (0, [])

    acknowledged = {int(seq): (word, flow) for word, seq, flow in lines if word in ("begin", "end")}
    stages: dict[str, list[str]] = {}
    with Reader.open(tmp_path / "audit.db") as reader:
        for event in reader.events("seq > ?", (0,)):
            if event.core.get("flow"):
                stages.setdefault(event.core["flow"], []).append(event.stage)
            if event.seq in acknowledged:
                word, flow = acknowledged.pop(event.seq)
                assert (event.core["flow"], event.stage) == (flow, "RequestReceived" if word == "begin" else "ResponseComplete")
    assert acknowledged == {}
    assert {tuple(stages) for stages in stages.values()} <= {("RequestReceived", "ResponseComplete"), ("RequestReceived", "Interrupted")}
    cut = sum(found[-1] == "Interrupted" for found in stages.values())
    print(f"{len(lines)} acknowledgements, {len(stages)} flows, {cut} of them cut off, {report.events} events")
    assert cut > 0
