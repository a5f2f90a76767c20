"""What the gateway costs: the whole stack against bare mitmdump, in one run, interleaved.

The figure is requests per CPU second (user and system time of the proxy's process), because wall time on a shared
machine says little. Full stack: a cached token, 50 rules, a durable audit, a small JSON body whose verdicts are
cached, keep-alive, 16 connections (the goal of design/mitmproxy.md section 9). The upstream is static and not counted.

    ./scripts/bench stack [--rounds 7] [--requests 2000]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.parts.gateway import Gateway
from tests.parts.processes import Program, free_ports

CONNECTIONS = 16
BODY = json.dumps(
    {"id": 7, "name": "Erika Mustermann", "email": "erika@corp.example", "city": "Berlin", "notes": ["likes tea"] * 3}
).encode()
TICKS = os.sysconf("SC_CLK_TCK")


async def _upstream(port: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


def upstream(port: int) -> None:
    """A static answer, in a process of its own."""
    asyncio.run(_upstream(port))


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def load(port: int, request: bytes, requests: int) -> dict:
    """One bounded burst; every answer must be a 200."""
    command = [sys.executable, str(Path(__file__).parent / "load.py"), "127.0.0.1", str(port), str(CONNECTIONS), str(requests)]
    done = subprocess.run(command, input=request, capture_output=True, check=True, timeout=300)
    result = json.loads(done.stdout)
    assert set(result["statuses"]) == {"200"}, result["statuses"]
    return result


def fifty_rules(upstream_port: int):
    """The shipped example with its service moved to the static upstream and rules filled up to 50."""

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            more = (
                f"  - {{name: static, kind: http, url: 'http://127.0.0.1:{upstream_port}', hosts: [static.localhost], credential: null}}\n"
            )
            return text.replace("services: [crm]", "services: [crm, static]").replace("\naudit:\n", f"\n{more}\naudit:\n")
        if name == "rules.yaml":
            rules = "".join(
                f"  - name: other-{n}\n    match: {{services: [static], methods: [POST], paths: ['/p{n}/**'], principals: {{kinds: [agent]}}}}\n    effect: allow\n"
                for n in range(43)
            )
            allow = "  - name: static-read\n    match: {services: [static], methods: [GET], principals: {kinds: [agent]}}\n    effect: allow\n    mask: [pii]\n"
            return text.replace("\nrules:\n", "\nrules:\n" + allow + rules, 1)
        return text

    return edit


class Variant:
    """One proxy under test."""

    def __init__(self, name: str, pid: int, port: int, request: bytes) -> None:
        self.name, self.pid, self.port, self.request = name, pid, port, request
        self.rates: list[float] = []
        self.latencies: list[float] = []

    def round(self, requests: int) -> None:
        before = cpu_seconds(self.pid)
        result = load(self.port, self.request, requests)
        self.rates.append(requests / (cpu_seconds(self.pid) - before))
        self.latencies += result["latencies"]

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> int:
    parser = argparse.ArgumentParser(description="The whole stack against bare mitmdump.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as folder:
        variants = run(Path(folder), options.rounds, options.requests)
    report(variants, options.json)
    return 0


def run(folder: Path, rounds: int, requests: int) -> list[Variant]:
    static_port, bare_port = free_ports(2)
    static = multiprocessing.get_context("spawn").Process(target=upstream, args=(static_port,), daemon=True)
    static.start()
    mitmdump = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
    arguments = ["-q", "--set", f"confdir={folder / 'conf'}", "--mode", f"reverse:http://127.0.0.1:{static_port}@127.0.0.1:{bare_port}"]
    bare = Program([*mitmdump, *arguments], folder / "bare.log")
    gateway = Gateway(folder / "gateway", edit=fifty_rules(static_port)).start()
    try:
        bare.wait_for_port(bare_port)
        plain = b"GET /customers HTTP/1.1\r\nHost: static.localhost\r\n\r\n"
        token = gateway.token("planner").encode()
        asked = plain[:-2] + b"Authorization: Bearer " + token + b"\r\nX-Purpose: demo/tour\r\n\r\n"
        assert gateway.program is not None
        variants = [
            Variant("bare mitmdump", bare.process.pid, bare_port, plain),
            Variant("whole stack", gateway.program.process.pid, gateway.ports[8442], asked),
        ]
        for variant in variants:
            load(variant.port, variant.request, 300)  # warm: imports, caches, JIT-free but not free
        for _ in range(rounds):
            for variant in variants:
                variant.round(requests)
        return variants
    finally:
        gateway.stop()
        bare.stop()
        static.terminate()


def report(variants: list[Variant], as_json: bool) -> None:
    """A table for people, or one JSON object."""
    base = median(variants[0].rates)
    rows = [
        {
            "variant": one.name,
            "requests_per_cpu_second": round(median(one.rates)),
            "ratio": round(median(one.rates) / base, 3),
            "range": [round(min(one.rates)), round(max(one.rates))],
            "p50_ms": round(one.percentile(0.5), 2),
            "p99_ms": round(one.percentile(0.99), 2),
        }
        for one in variants
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("variant", "requests / CPU s", "ratio", "range", "p50 ms", "p99 ms", title="Requests per CPU second, 16 connections")
    for row in rows:
        table.add_row(
            row["variant"],
            str(row["requests_per_cpu_second"]),
            f"{row['ratio']:.2f}",
            str(row["range"]),
            str(row["p50_ms"]),
            str(row["p99_ms"]),
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
