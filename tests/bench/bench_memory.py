"""Is memory flat? Resident memory after so many requests with 10 KB bodies, and the loop's lag meanwhile.

Goal (design/mitmproxy.md section 9): after 100,000 requests within 5 MB of what it was after 5,000. That takes several
minutes of CPU; fewer requests say so in the report.

    ./scripts/bench memory [--requests 20000]
"""

import argparse
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.bench import parts

BURST = 2500
FIRST = 5000


def run(folder: Path, requests: int) -> dict[str, Any]:
    lags: list[float] = []
    ended = threading.Event()
    with parts.static_upstream() as upstream, parts.gateway(folder / "whole", upstream) as gateway:
        assert gateway.program is not None
        pid, port, token = gateway.program.process.pid, gateway.ports[8442], gateway.token("planner")

        def watch() -> None:
            while not ended.wait(0.5):
                text = gateway.request("GET", gateway.control + "/metrics").text
                lags.extend(float(line.split()[-1]) for line in text.splitlines() if line.startswith("guardhouse_event_loop_lag_seconds "))

        watcher = threading.Thread(target=watch)
        watcher.start()
        points = [(0, parts.rss(pid))]
        try:
            for sent in range(BURST, requests + 1, BURST):
                parts.load(port, parts.asking(token, f"/size/10000/{sent}"), BURST)
                points.append((sent, parts.rss(pid)))
        finally:
            ended.set()
            watcher.join()
    lags.sort()
    early = next(size for sent, size in points if sent >= min(FIRST, requests))
    return {
        "requests": requests,
        "mb_by_requests": {str(sent): round(size / 1024, 1) for sent, size in points},
        "grown_mb_since_5000": round((points[-1][1] - early) / 1024, 1),
        "loop_lag_ms_p50": round(parts.percentile(lags, 0.5) * 1000, 1),
        "loop_lag_ms_p99": round(parts.percentile(lags, 0.99) * 1000, 1),
        "samples": len(lags),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Resident memory and loop lag under load.")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as folder:
        row = run(Path(folder), options.requests)
    print(json.dumps(row) if options.json else "\n".join(f"{name.replace('_', ' '):22} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
