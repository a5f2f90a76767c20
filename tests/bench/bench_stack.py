"""What the gateway costs: the whole stack against bare mitmdump, addon by addon, in one run, interleaved.

The figure is requests per CPU second (user and system time of the proxy's process), because wall time on a shared
machine says little. Full stack: a cached token, 50 rules, a durable audit, a small JSON body whose verdicts are
cached, keep-alive, 16 connections (the goal of design/mitmproxy.md section 9). The upstream is static and not counted.
"addon by addon" comes from a second gateway in the same run that has a clock around every hook; the clock makes it a
little slower, so its sum is not compared with anything.

    ./scripts/bench stack [--rounds 7] [--requests 2000] [--json]
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import parts

SCRIPTS = parts.ROOT / "tests" / "parts" / "host_scripts"
WARM = 400


@dataclass
class Variant:
    """One proxy under test."""

    name: str
    pid: int
    port: int
    request: bytes
    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    loop_share: list[float] = field(default_factory=list)

    def round(self, requests: int) -> None:
        before, loop = parts.cpu_seconds(self.pid), parts.cpu_seconds(self.pid, self.pid)
        result = parts.load(self.port, self.request, requests)
        spent = parts.cpu_seconds(self.pid) - before
        self.rates.append(requests / spent)
        self.loop_share.append((parts.cpu_seconds(self.pid, self.pid) - loop) / spent)
        self.latencies += result["latencies"]


def main() -> int:
    parser = argparse.ArgumentParser(description="The whole stack against bare mitmdump, addon by addon.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as folder:
        variants, times = run(Path(folder), options.rounds, options.requests)
    rows, steps = rows_of(variants), steps_of(times, variants[-1])
    if options.json:
        print(json.dumps({"variants": rows, "steps": steps}))
    else:
        report(rows, steps)
    return 0


def run(folder: Path, rounds: int, requests: int) -> tuple[list[Variant], dict[str, list[float]]]:
    """Start all of them, warm them, and load them in turn."""
    with ExitStack() as stack:
        upstream = stack.enter_context(parts.static_upstream())
        bare = stack.enter_context(parts.bare_mitmdump(folder / "bare", upstream))
        index = stack.enter_context(parts.bare_mitmdump(folder / "index", upstream, SCRIPTS / "bench_index.py"))
        whole = stack.enter_context(parts.gateway(folder / "whole", upstream))
        timed = stack.enter_context(parts.gateway(folder / "timed", upstream, timed=True))
        assert whole.program is not None and timed.program is not None
        variants = [
            Variant("bare mitmdump", *bare, parts.plain()),
            Variant("hook index alone", *index, parts.plain()),
            Variant("whole stack", whole.program.process.pid, whole.ports[8442], parts.asking(whole.token("planner"))),
            Variant("whole stack, timed", timed.program.process.pid, timed.ports[8442], parts.asking(timed.token("planner"))),
        ]
        for variant in variants:
            parts.load(variant.port, variant.request, WARM)
        for _ in range(rounds):
            for variant in variants:
                variant.round(requests)
        timed.stop()
        times: dict[str, list[float]] = json.loads((folder / "timed" / "times.json").read_text())
    return variants, times


def rows_of(variants: list[Variant]) -> list[dict[str, Any]]:
    """One row for each proxy."""
    base = median(variants[0].rates)
    return [
        {
            "variant": one.name,
            "requests_per_cpu_second": round(median(one.rates)),
            "ratio": round(median(one.rates) / base, 3),
            "range": [round(min(one.rates)), round(max(one.rates))],
            "ms_cpu": round(1000 / median(one.rates), 2),
            "in_the_loop": round(median(one.loop_share), 2),
            "p50_ms": round(parts.percentile(sorted(one.latencies), 0.5), 1),
            "p99_ms": round(parts.percentile(sorted(one.latencies), 0.99), 1),
        }
        for one in variants
    ]


def steps_of(times: dict[str, list[float]], timed: Variant) -> list[dict[str, Any]]:
    """CPU of the loop's thread for each hook of each addon, per request; and what no hook took: mitmproxy itself, and the other threads."""
    requests = max(calls for calls, _ in times.values())
    whole = 1_000_000 / median(timed.rates)
    found = [{"step": name, "us": round(spent / requests * 1e6, 1)} for name, (calls, spent) in times.items() if calls >= requests / 2]
    found.sort(key=lambda row: -float(row["us"]))  # type: ignore[arg-type]
    hooks = sum(float(row["us"]) for row in found)  # type: ignore[arg-type]
    loop = median(timed.loop_share) * whole
    found.append({"step": "mitmproxy, dispatch and event loop", "us": round(loop - hooks, 1)})
    found.append({"step": "other threads (the audit's writer)", "us": round(whole - loop, 1)})
    return [{**row, "share": round(float(row["us"]) / whole, 3)} for row in found]  # type: ignore[arg-type]


def report(rows: list[dict[str, Any]], steps: list[dict[str, Any]]) -> None:
    """Two tables for people."""
    table = Table(
        "variant",
        "requests / CPU s",
        "ratio",
        "range",
        "CPU ms",
        "in the loop",
        "p50 ms",
        "p99 ms",
        title="Requests per CPU second, 16 connections",
    )
    for row in rows:
        table.add_row(
            row["variant"], str(row["requests_per_cpu_second"]), f"{row['ratio']:.2f}", f"{row['range'][0]}-{row['range'][1]}", f"{row['ms_cpu']:.2f}",
            f"{row['in_the_loop']:.0%}", str(row["p50_ms"]), str(row["p99_ms"]),
        )  # fmt: skip
    console = Console(width=110)
    console.print(table)
    table = Table("step", "CPU us / request", "share", title="Addon by addon (timed stack)")
    for row in steps:
        if row["us"] >= 5:
            table.add_row(row["step"], f"{row['us']:.0f}", f"{row['share']:.1%}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
