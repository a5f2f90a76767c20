"""Time and ids: the seam that tests replace.

Everything that asks what time it is, waits, or makes an id takes a `Clock`, so that a test can hold an hour of
waiting in its hand. Wall-clock time (`now`, `now_us`) is for what is stored or compared with somebody else's
clock; `monotonic` is for ages and deadlines inside this process, which a clock jump must not move.
"""

import asyncio
import secrets
import threading
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """What the rest of the code may know about time."""

    def now(self) -> float:
        """Seconds since the Unix epoch, as the wall clock has it."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of this clock."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Uuid7State:
    """The last millisecond and its counter, so that ids made in one millisecond still sort in order."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last_ms = 0
        self.counter = 0


_STATE = _Uuid7State()


def uuid7(clock: Clock) -> str:
    """Return a time-ordered id (RFC 9562 section 5.7, monotonic counter of section 6.2 method 1).

    Python 3.13 has no `uuid.uuid7`. The 42 counter bits stand in `rand_a` and the top of `rand_b`.
    """
    with _STATE.lock:
        ms = max(clock.now_us() // 1000, _STATE.last_ms)
        if ms > _STATE.last_ms:
            _STATE.last_ms = ms
            _STATE.counter = secrets.randbits(41)
        else:
            _STATE.counter += 1
        counter = _STATE.counter & ((1 << 42) - 1)
    rand_a = counter >> 30
    rand_b = ((counter & ((1 << 30) - 1)) << 32) | secrets.randbits(32)
    value = (ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    return str(uuid.UUID(int=value))
