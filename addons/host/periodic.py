"""Do something again and again for as long as the gateway runs. A failure is told and the next turn comes all the same.

Deadlines of holds hang on such a turn: a turn that dies with one failure would leave callers waiting for ever.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from addons.core.clock import Clock

logger = logging.getLogger(__name__)


class Periodic:
    """One task that is started and stopped."""

    def __init__(self, name: str, clock: Clock, seconds: Callable[[], float], turn: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self.clock = clock
        self.seconds = seconds
        self.turn = turn
        self._task: asyncio.Task[None] | None = None
        self._told = ""

    def start(self) -> None:
        """Begin; the first turn comes at once."""
        self._task = asyncio.get_running_loop().create_task(self._for_ever(), name=self.name)

    async def stop(self) -> None:
        """End after the turn that is being done."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _for_ever(self) -> None:
        while True:
            try:
                await self.turn()
                self._told = ""
            except Exception as error:
                self._tell(type(error).__name__)
            await self.clock.sleep(self.seconds())

    def _tell(self, what: str) -> None:
        """Once for each kind of failure in a row: a store that is gone fails four times a second."""
        if what != self._told:
            logger.warning("%s failed: %s", self.name, what)
        self._told = what
