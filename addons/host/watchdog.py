"""The watchdog: a thread that sees when the event loop stands still.

Everything runs in one loop, so one slow call stalls every connection, and no deadline inside the loop can interrupt it.
A stall is logged with the stack of the loop's thread after `WARN` seconds; after `STOP` seconds the process ends with
code 70, because nothing inside it can be trusted to go on.
"""

import asyncio
import logging
import os
import sys
import threading
import time
import traceback

from addons.core.audit.events import make
from addons.host.refusals import EXIT_CODE
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

WARN = 5.0
STOP = 30.0
TICK = 0.5


class Watchdog:
    """Watches one loop from a thread of its own."""

    def __init__(self, runtime: Runtime, warn: float = WARN, stop: float = STOP, tick: float = TICK) -> None:
        self.runtime, self.warn, self.stop, self.tick = runtime, warn, stop, tick
        self.loop = asyncio.get_running_loop()
        self.loop_thread = threading.get_ident()
        self.beat = time.monotonic()
        self.ended = threading.Event()
        self.stalls: list[str] = []  # stacks, for the event that is written when the loop runs again
        self.thread = threading.Thread(target=self._watch, name="guardhouse-watchdog", daemon=True)
        self.task = self.loop.create_task(self._breathe())
        self.thread.start()

    async def close(self) -> None:
        """Stop watching."""
        self.task.cancel()
        self.ended.set()

    async def _breathe(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(self.tick)
            self.beat = time.monotonic()
            self.runtime.loop_lag = max(0.0, self.beat - before - self.tick)
            while self.stalls and self.runtime.store is not None:
                self.runtime.store.tell(make("Mark", "log", {"verb": "stall"}, {"note": self.stalls.pop(0).encode()}))

    def _watch(self) -> None:
        warned = False
        while not self.ended.wait(self.tick):
            stalled = time.monotonic() - self.beat
            if stalled >= self.stop:
                self._end(stalled)
            if stalled >= self.warn and not warned:
                warned = True
                stack = self._stack()
                self.stalls.append(stack)
                logger.warning("the event loop has stood still for %.0f s in:\n%s", stalled, stack)
            elif stalled < self.warn:
                warned = False

    def _stack(self) -> str:
        frame = sys._current_frames().get(self.loop_thread)
        return "".join(traceback.format_stack(frame)) if frame is not None else "(no frame)"

    def _end(self, stalled: float) -> None:
        sys.stderr.write(f"Guardhouse: the event loop has stood still for {stalled:.0f} s, stopping with code {EXIT_CODE}\n{self._stack()}")
        sys.stderr.flush()
        os._exit(EXIT_CODE)


def start(runtime: Runtime) -> Watchdog:
    """Watch the running loop until the gateway closes."""
    watchdog = Watchdog(runtime)
    runtime.on_close("watchdog", watchdog.close)
    return watchdog
