"""What the benchmarks share: the upstream, the gateway they load, and what a process has used."""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.parts.gateway import Gateway
from tests.parts.processes import Program, free_ports, wait_until

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 16
BODY = json.dumps(
    {"id": 7, "name": "Erika Mustermann", "email": "erika@corp.example", "city": "Berlin", "notes": ["likes tea"] * 3}
).encode()
TICKS = os.sysconf("SC_CLK_TCK")
HELD = "  - name: static-deletes-are-held\n    match: {services: [static], methods: [DELETE], principals: {kinds: [agent]}}\n    effect: hold\n    approval: one-sre\n"


def body_of(size: int, seed: str) -> bytes:
    """A JSON body of about this size; another seed gives other values, so that no verdict is remembered."""
    rows = []
    while size > 0:
        number = f"{seed}{len(rows)}"
        row = {"id": len(rows), "name": f"Erika {number}", "email": f"erika.{number}@corp.example", "note": f"called about order {number}"}
        rows.append(row)
        size -= len(json.dumps(row)) + 2
    return json.dumps(rows).encode()


async def _upstream(port: int) -> None:
    """`/size/N/SEED` has a body of N bytes, any other path the small one."""
    made: dict[bytes, bytes] = {}

    def answer(head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if not path.startswith(b"/size/"):
            return BODY
        if path not in made:
            _, _, size, seed = path.decode().split("/")
            made.clear()  # the same path comes in a row
            made[path] = body_of(int(size), seed)
        return made[path]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = answer(head)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


def _serve(port: int) -> None:
    asyncio.run(_upstream(port))


@contextmanager
def static_upstream() -> Iterator[int]:
    """A static upstream in a process of its own, which nobody counts."""
    (port,) = free_ports(1)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(port,), daemon=True)
    process.start()
    try:
        yield port
    finally:
        process.terminate()


@contextmanager
def bare_mitmdump(folder: Path, upstream: int, script: Path | None = None) -> Iterator[tuple[int, int]]:
    """mitmdump as it comes, or with one script: (pid, port)."""
    (port,) = free_ports(1)
    command = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", "-q", "--set", f"confdir={folder}"]
    command += ["--mode", f"reverse:http://127.0.0.1:{upstream}@127.0.0.1:{port}", *(["-s", str(script)] if script else [])]
    folder.mkdir(parents=True)
    program = Program(command, folder / "log")
    try:
        program.wait_for_port(port)
        yield program.process.pid, port
    finally:
        program.stop()


@contextmanager
def gateway(folder: Path, upstream: int, **given: Any) -> Iterator[Gateway]:
    """The whole stack with 50 rules before the static upstream."""
    running = (
        TimedGateway(folder, edit=fifty_rules(upstream), **given)
        if given.pop("timed", False)
        else Gateway(folder, edit=fifty_rules(upstream))
    )
    running.start()
    try:
        yield running
    finally:
        running.stop()


class TimedGateway(Gateway):
    """The same with a clock around each hook (`tests.bench.timed`), which it writes down when it ends."""

    def start(self, wait: bool = True) -> Gateway:
        ports = self.ports[8442]
        command = [sys.executable, "-c", "import tests.bench.timed; from mitmproxy.tools.main import mitmdump; mitmdump()"]
        environment = {**self.env, "PYTHONPATH": str(ROOT), "BENCH_TIMES": str(self.home / "times.json")}
        self.program = Program([*command, "-s", str(ROOT / "addons" / "stack.py")], self.home / "gateway.log", environment, cwd=self.home)
        self.program.wait_for_port(ports, 60)
        wait_until(lambda: self.request("GET", self.control + "/readyz").status == 200, 60, f"ready\n{self.output}")
        return self


def fifty_rules(upstream: int) -> Callable[[str, str], str]:
    """The shipped example with a static service, rules filled up to 50, and limits that a thousand holds of one caller need."""

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            more = f"  - {{name: static, kind: http, url: 'http://127.0.0.1:{upstream}', hosts: [static.localhost], credential: null}}\n"
            text = text.replace("per_peer: 128", "per_peer: 4000")
            return text.replace("services: [crm]", "services: [crm, static]").replace("\naudit:\n", f"\n{more}\naudit:\n")
        if name == "approvals.yaml":
            for old, new in (
                ("hold_timeout: 50s", "hold_timeout: 10m"),
                ("max_pending_per_principal: 5", "max_pending_per_principal: 2000"),
                ("max_pending: 1000", "max_pending: 2000"),
                ("max_openings_per_hour: 20", "max_openings_per_hour: 5000"),
            ):
                assert old in text, old
                text = text.replace(old, new)
            return text
        if name == "rules.yaml":
            rules = "".join(
                f"  - name: other-{n}\n    match: {{services: [static], methods: [POST], paths: ['/p{n}/**'], principals: {{kinds: [agent]}}}}\n    effect: allow\n"
                for n in range(42)
            )
            allow = "  - name: static-read\n    match: {services: [static], methods: [GET], principals: {kinds: [agent]}}\n    effect: allow\n    mask: [pii]\n"
            return text.replace("\nrules:\n", "\nrules:\n" + allow + HELD + rules, 1)
        return text

    return edit


def asking(token: str, path: str = "/customers", method: str = "GET") -> bytes:
    """A raw request of the example's agent."""
    head = f"{method} {path} HTTP/1.1\r\nHost: static.localhost\r\nAuthorization: Bearer {token}\r\nX-Purpose: demo/tour\r\n\r\n"
    return head.encode()


def plain(path: str = "/customers") -> bytes:
    """The same without anything that only the gateway reads."""
    return f"GET {path} HTTP/1.1\r\nHost: static.localhost\r\n\r\n".encode()


def cpu_seconds(pid: int, task: int | None = None) -> float:
    """User and system time that a process, or one of its threads, has used so far."""
    place = f"/proc/{pid}/stat" if task is None else f"/proc/{pid}/task/{task}/stat"
    fields = Path(place).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def load(port: int, request: bytes, requests: int, connections: int = CONNECTIONS) -> dict[str, Any]:
    """One bounded burst; every answer must be a 200."""
    command = [sys.executable, str(Path(__file__).parent / "load.py"), "127.0.0.1", str(port), str(connections), str(requests)]
    done = subprocess.run(command, input=request, capture_output=True, check=True, timeout=580)
    result: dict[str, Any] = json.loads(done.stdout)
    assert set(result["statuses"]) == {"200"}, result["statuses"]
    return result


def percentile(ordered: list[float], share: float) -> float:
    """Of sorted values."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
