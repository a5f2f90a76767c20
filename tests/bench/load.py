"""Load from a process of its own: keep-alive connections, a fixed number of requests, latencies by request.

    python tests/bench/load.py HOST PORT CONNECTIONS REQUESTS   (the raw request comes on standard input)

Prints one JSON object: seconds, statuses, latencies in milliseconds (sorted). Loopback only, bounded, ends by itself.
"""

import asyncio
import json
import sys
import time
from collections import Counter


async def one(host: str, port: int, request: bytes, todo: list[int], statuses: Counter[int], latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while todo:
            todo.pop()
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            latencies.append((time.perf_counter() - started) * 1000)
            statuses[int(lines[0].split()[1])] += 1
    finally:
        writer.close()


async def main(host: str, port: int, connections: int, requests: int) -> None:
    request = sys.stdin.buffer.read()
    todo, statuses, latencies = list(range(requests)), Counter(), []
    started = time.perf_counter()
    await asyncio.gather(*(one(host, port, request, todo, statuses, latencies) for _ in range(connections)))
    print(json.dumps({"seconds": time.perf_counter() - started, "statuses": statuses, "latencies": sorted(latencies)}))


if __name__ == "__main__":
    assert sys.argv[1].startswith("127."), "loopback only"
    asyncio.run(asyncio.wait_for(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])), 300))
