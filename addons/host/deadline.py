"""A deadline for a step, set only when it begins to wait.

Most steps end without waiting for anything, and a clock that is wound up and stopped for each of them costs more than the
step. So the step runs until its first wait; what then is left of it gets the deadline. Work that never waits cannot be
interrupted by any clock of the loop, with or without this (the watchdog sees it).
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any


async def within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Finish this step. Raises TimeoutError when it waits for longer than so many seconds."""
    try:
        waited = work.send(None)
    except StopIteration:
        return
    async with asyncio.timeout(seconds):
        await _rest(work, waited)


@types.coroutine
def _rest(work: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that is waiting already: hand on what it waits for, and what comes back."""
    while True:
        thrown: BaseException | None = None
        answer: Any = None
        try:
            answer = yield waited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # a cancellation, or the deadline: the step's own to deal with
            thrown = error
        try:
            waited = work.send(answer) if thrown is None else work.throw(thrown)
        except StopIteration:
            return
