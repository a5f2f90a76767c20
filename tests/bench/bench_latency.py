"""Added latency, p50 and p99, by the size of the body: new to the gateway (cold) and seen before (warm).

One connection, one request after the other, against bare mitmdump in the same run, sizes and proxies in turn. A cold body
has values that no request had before, so every verdict is made anew; a warm one is the same each time.

    ./scripts/bench latency [--requests 200]
"""

import argparse
import json
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import parts

SIZES = (200, 2_000, 10_000, 88_000)


class Line:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")

    def ask(self, request: bytes) -> float:
        """Milliseconds until the whole answer is there."""
        began = time.perf_counter()
        self.socket.sendall(request)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.file.readline()
        assert head.startswith(b"HTTP/1.1 200"), head[:200]
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        self.file.read(length)
        return (time.perf_counter() - began) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description="Added latency by size of the body.")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as folder:
        rows = run(Path(folder), options.requests)
    print(json.dumps(rows)) if options.json else report(rows)
    return 0


def run(folder: Path, requests: int) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(parts.static_upstream())
        _, bare_port = stack.enter_context(parts.bare_mitmdump(folder / "bare", upstream))
        gateway = stack.enter_context(parts.gateway(folder / "whole", upstream))
        token = gateway.token("planner")
        bare, whole = Line(bare_port), Line(gateway.ports[8442])
        for _ in range(50):
            bare.ask(parts.plain())
            whole.ask(parts.asking(token))
        return [measured(bare, whole, token, size, kind, requests) for size in SIZES for kind in ("cold", "warm")]


def measured(bare: Line, whole: Line, token: str, size: int, kind: str, requests: int) -> dict[str, Any]:
    """One size, cold or warm; the two proxies take turns."""
    count = requests if kind == "warm" or size <= 10_000 else max(20, requests // 5)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(count + 2):
        path = f"/size/{size}/{number if kind == 'cold' else 'same'}x"
        pair = (bare.ask(parts.plain(path)), whole.ask(parts.asking(token, path)))
        if number >= 2:  # the first two make the connections and the first verdicts
            for kept, spent in zip(times, pair, strict=True):
                kept.append(spent)
    low, high = sorted(times[0]), sorted(times[1])
    return {
        "size": size,
        "kind": kind,
        "requests": count,
        "bare_p50": round(parts.percentile(low, 0.5), 2),
        "whole_p50": round(parts.percentile(high, 0.5), 2),
        "added_p50": round(parts.percentile(high, 0.5) - parts.percentile(low, 0.5), 2),
        "added_p99": round(parts.percentile(high, 0.99) - parts.percentile(low, 0.99), 2),
    }


def report(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "body", "", "requests", "bare p50 ms", "stack p50 ms", "added p50 ms", "added p99 ms", title="Added latency, one connection"
    )
    for row in rows:
        table.add_row(
            f"{row['size'] / 1000:g} KB",
            row["kind"],
            *(str(row[name]) for name in ("requests", "bare_p50", "whole_p50", "added_p50", "added_p99")),
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
