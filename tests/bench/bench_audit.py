"""Durable events a second at 64 writers: group commit in a writer thread against a commit per event on the loop.

    python -m tests.bench.bench_audit [--flows 64] [--seconds 3] [--repeats 5] [--json FILE]

Both variants write the same rows through the same store and sign the same checkpoints; only the grouping differs. They
run in processes of their own, interleaved, and the median and range are printed beside the disk's own fdatasync time.
What the loop loses meanwhile (its longest stalls) is measured by a ticking task, since naive looks good otherwise.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from addons.core.audit.prepare import Origin, finish, prepare_fields
from addons.core.audit.start import start
from addons.core.audit.writer import Writer
from addons.core.clock import SystemClock, uuid7
from tests.parts import audit

VARIANTS = ("group", "naive")


async def stalls(found: list[float]) -> None:
    """How late a task wakes up that wants to wake every 2 ms."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.002)
        found.append(time.perf_counter() - before - 0.002)


async def closed_loop(append: Any, flows: int, seconds: float) -> dict[str, float]:
    """So many flows, each of which writes its next event when the last is durable."""
    until, waits, late = time.perf_counter() + seconds, [], []
    clock = SystemClock()

    async def one() -> None:
        while time.perf_counter() < until:
            flow = uuid7(clock)
            for event, values in ((audit.begin(flow), {"reserve": True}), (audit.end(flow), {"release": True})):
                before = time.perf_counter()
                await append(event, **values)
                waits.append(time.perf_counter() - before)

    ticking = asyncio.create_task(stalls(late))
    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(flows)))
    spent = time.perf_counter() - began
    ticking.cancel()
    return {"events_per_second": len(waits) / spent, **quantiles("wait_ms", waits), **quantiles("stall_ms", late)}


def quantiles(name: str, values: list[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    ordered = sorted(values)
    return {f"{name}_p50": ordered[len(ordered) // 2] * 1e3, f"{name}_p99": ordered[int(len(ordered) * 0.99)] * 1e3}


async def group(folder: Path, flows: int, seconds: float) -> dict[str, float]:
    """The log as it is."""
    log = await audit.open_log(folder)
    try:
        return await closed_loop(log.append, flows, seconds)
    finally:
        await log.close()


async def naive(folder: Path, flows: int, seconds: float) -> dict[str, float]:
    """The same rows, one commit each, on the event loop."""
    terms = audit.terms(folder)
    started = start(terms.database, terms.origin, folder / "state", ())
    clock = SystemClock()
    writer = Writer(
        started.store, started.signer, started.recovered.frontier, now_us=clock.now_us, on_group=lambda done: None, on_fatal=lambda: None
    )
    origin = Origin("r1", "boot", "snapshot")

    async def append(event: Any, **_: Any) -> None:
        times = {"ts_us": clock.now_us(), "mono_us": int(clock.monotonic() * 1e6)}
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        pending = finish(event, prepare_fields(event, b"k" * 32), (), origin, times, future)
        writer._commit([pending])
        await asyncio.sleep(0)

    try:
        return await closed_loop(append, flows, seconds)
    finally:
        started.store.close()


def fdatasync(folder: Path) -> dict[str, float]:
    """What the disk itself needs to make 4 KB durable."""
    waits = []
    with (folder / "probe").open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - before)
    return quantiles("fdatasync_ms", waits)


def run_one(variant: str, flows: int, seconds: float) -> dict[str, float]:
    """One variant in this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = fdatasync(folder)
        return asyncio.run({"group": group, "naive": naive}[variant](folder, flows, seconds)) | disk


def main() -> None:
    """Run all variants interleaved, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=VARIANTS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.flows, args.seconds)))
        return
    results: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(args.repeats):
        for variant in VARIANTS:
            command = [
                sys.executable,
                "-m",
                "tests.bench.bench_audit",
                "--one",
                variant,
                "--flows",
                str(args.flows),
                "--seconds",
                str(args.seconds),
            ]
            results[variant].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    report(results, args.flows)
    if args.json:
        args.json.write_text(json.dumps({"load": os.getloadavg(), "sqlite": sqlite3.sqlite_version, "results": results}, indent=1))


def report(results: dict[str, list[dict[str, float]]], flows: int) -> None:
    """Print medians and ranges."""
    print(f"SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {flows} flows, closed loop")
    for variant, runs in results.items():
        for name in runs[0]:
            values = [run[name] for run in runs]
            print(f"{variant:6} {name:18} {statistics.median(values):10.2f}   ({min(values):.2f} to {max(values):.2f})")
    ratio = statistics.median(r["events_per_second"] for r in results["group"]) / statistics.median(
        r["events_per_second"] for r in results["naive"]
    )
    print(f"group commit is {ratio:.1f} times as fast")


if __name__ == "__main__":
    main()
