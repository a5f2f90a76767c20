"""A thousand held requests: memory, other traffic meanwhile, and how soon all are answered when the gateway stops.

Every held request is another path, so there are as many approvals. Goals (design/mitmproxy.md section 9): <= 50 MB more
resident memory, all answered within 3 s of the stop.

    ./scripts/bench held [--holds 1000]
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import parts
from tests.parts.processes import wait_until


async def hold(port: int, token: str, number: int, answered: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(parts.asking(token, f"/customers/{number}", "DELETE"))
    head = await reader.readline()
    answered.append(int(head.split()[1]) if head else 0)
    writer.close()


async def run(folder: Path, holds: int) -> dict[str, Any]:
    with parts.static_upstream() as upstream, parts.gateway(folder / "whole", upstream) as gateway:
        assert gateway.program is not None
        pid, port = gateway.program.process.pid, gateway.ports[8442]
        token = gateway.token("planner")
        usual = parts.asking(token)
        await asyncio.to_thread(parts.load, port, usual, 3000)
        calm = await asyncio.to_thread(parts.load, port, usual, 500, 2)
        before, began = parts.rss(pid), time.perf_counter()
        answered: list[int] = []
        callers = [asyncio.create_task(hold(port, token, number, answered)) for number in range(holds)]
        await asyncio.to_thread(wait_until, lambda: pending(gateway) >= holds or bool(answered), 300, "all of them held")
        assert not answered, answered[:5]
        opened, held = time.perf_counter() - began, parts.rss(pid)
        busy = await asyncio.to_thread(parts.load, port, usual, 500, 2)
        stopped = time.perf_counter()
        gateway.program.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*callers)
        released = time.perf_counter() - stopped
    return {
        "holds": holds,
        "opened_seconds": round(opened, 1),
        "more_memory_mb": round((held - before) / 1024, 1),
        "p50_ms_before": round(parts.percentile(calm["latencies"], 0.5), 2),
        "p50_ms_while_held": round(parts.percentile(busy["latencies"], 0.5), 2),
        "released_seconds": round(released, 2),
        "statuses": {str(status): answered.count(status) for status in sorted(set(answered))},
    }


def pending(gateway: Any) -> int:
    """How many approvals wait, as the metrics say."""
    text = gateway.request("GET", gateway.control + "/metrics").text
    return int(sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("guardhouse_holds_pending")))


def main() -> int:
    parser = argparse.ArgumentParser(description="Held requests: memory, other traffic, release.")
    parser.add_argument("--holds", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as folder:
        row = asyncio.run(run(Path(folder), options.holds))
    print(json.dumps(row) if options.json else "\n".join(f"{name.replace('_', ' '):20} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
