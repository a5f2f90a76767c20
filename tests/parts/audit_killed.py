"""A process that writes a log under load and is killed, again and again: `python -m tests.parts.audit_killed FOLDER TIMES SEED`.

What was acknowledged goes to standard output at once, line by line, so that the process which reads it remembers it after
the kill. The parent forks for each round, so that a round costs no start of an interpreter.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from addons.core.audit.log import AuditLog
from addons.core.clock import SystemClock, uuid7
from tests.parts import audit

WRITERS = 32


def say(line: str) -> None:
    """One line, in one write, so that lines of a killed process are whole."""
    os.write(1, (line + "\n").encode())


async def write_for_ever(log: AuditLog) -> None:
    """One flow after the other; every number that came back is told."""
    clock = SystemClock()
    while True:
        flow = uuid7(clock)
        say(f"begin {await log.append(audit.begin(flow, session='s1'), reserve=True)} {flow}")
        say(f"end {await log.append(audit.end(flow, session='s1'), release=True)} {flow}")


async def run(folder: Path) -> None:
    """Open the log and write until somebody kills us."""
    log = await audit.open_log(folder)
    say(f"open {log.health()['size']} -")
    await asyncio.gather(*(write_for_ever(log) for _ in range(WRITERS)))


def main(folder: Path, times: int, seed: int) -> None:
    """Fork, let it write for a moment, kill it; so many times."""
    chance = random.Random(seed)
    for _ in range(times):
        child = os.fork()
        if child == 0:
            asyncio.run(run(folder))
            os._exit(1)
        time.sleep(0.2 + chance.random() * 0.6)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        say("killed 0 -")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
