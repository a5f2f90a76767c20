"""CPU per request of the hook dispatch: stock, our index, and the index with eight idle addons.

    .venv/bin/python tests/bench/bench_hooks.py [rounds] [requests]

Interleaved rounds, median, user and system time of the mitmdump process only; the upstream is a static asyncio server in
this process. Goals (design/mitmproxy.md 9): index >= 1.8 x stock, each idle addon <= 2 %. Ratios mean something, times do not.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Awaitable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.parts.host_gateway import Gateway, free_port, mitmdump

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 200
REQUEST = b"GET /bench HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CONNECTIONS = 8
CASES = {"stock": None, "index": "bench_index.py", "index + 8 idle": "bench_idle.py"}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(ANSWER)


async def client(port: int, requests: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(requests):
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(200)
    writer.close()


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(gateway: Gateway, requests: int) -> float:
    """CPU milliseconds per request."""
    before = cpu(gateway.process.pid)
    await asyncio.gather(*(client(gateway.port, requests // CONNECTIONS) for _ in range(CONNECTIONS)))
    return (cpu(gateway.process.pid) - before) * 1000 / requests


async def main(rounds: int, requests: int) -> dict[str, float]:
    upstream = await asyncio.start_server(lambda r, w: quietly(serve(r, w)), "127.0.0.1", 0)
    target = upstream.sockets[0].getsockname()[1]
    found: dict[str, list[float]] = {name: [] for name in CASES}
    with ExitStack() as stack:
        running = {}
        for name, script in CASES.items():
            port = free_port()
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            arguments = ["--mode", f"reverse:http://127.0.0.1:{target}@127.0.0.1:{port}", "--set", "flow_detail=0", "-q"]
            running[name] = stack.enter_context(mitmdump(home, *arguments, script=script, port=port)).wait_until_up()
        for one in running.values():
            await measure(one, requests // 4)  # warm
        for _ in range(rounds):
            for name, one in running.items():
                found[name].append(await measure(one, requests))
    upstream.close()
    return {name: statistics.median(values) for name, values in found.items()}


async def quietly(serving: Awaitable[None]) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await serving


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    result = asyncio.run(main(*(numbers + [5, 4000][len(numbers) :])))
    for name, value in result.items():
        print(f"{name:16} {value:.3f} ms CPU per request, {result['stock'] / value:.2f} x stock")
    idle = (result["index + 8 idle"] / result["index"] - 1) / 8
    print(f"an idle addon costs {idle:.1%}")
