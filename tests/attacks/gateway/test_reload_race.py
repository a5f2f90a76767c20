"""Two reloads that overlap: the older reading of the files never replaces the newer one."""

import asyncio
import threading
from dataclasses import replace

from addons.host import reload
from tests import harness


async def test_the_last_reading_wins(monkeypatch):
    runtime = harness.runtime()
    old = runtime.snapshot
    slow, readings = threading.Event(), []

    def load(folder, **_):
        readings.append(len(readings))
        mine = readings[-1]
        if mine == 0:
            slow.wait(5)
        return replace(old, digest=f"reading {mine}")

    monkeypatch.setattr(reload, "load", load)
    first = asyncio.create_task(reload.reload(runtime))
    while not readings:
        await asyncio.sleep(0)
    second = asyncio.create_task(reload.reload(runtime))
    for _ in range(50):
        await asyncio.sleep(0)
    slow.set()
    await asyncio.gather(first, second)
    assert runtime.snapshot.digest == "reading 1"
