"""Drain: how a stop goes. Everybody gets an answer, and the audit is closed last.

mitmproxy keeps the listener open while `done` runs, and drops held flows without a word. So: new requests get 503
(the guard looks at `runtime.draining`), held ones are told that they were not sent, streams without an end are cut,
those upstream may finish until `limits.drain`, and then everything that shells registered with the Runtime is closed, last opened first.
"""

import asyncio
import logging
from weakref import WeakSet

from mitmproxy import flow as mitmflow

from addons.host import streams
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

CLOSE_DEADLINE = 15.0  # seconds for each thing that is closed
POLL = 0.05


class Drain:
    """Answers what is held and closes what was opened. No other shell has a `done`, but hardening's deadbolt."""

    name = "guardhouse-drain"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def done(self) -> None:
        if self.runtime.draining:
            return
        self.runtime.draining = True
        await self._settle_holds()
        streams.cut_endless(self.runtime.open_flows)
        await self._wait_for(self.runtime.open_flows)
        await self._close_all()

    async def _settle_holds(self) -> None:
        if self.runtime.holds is None:
            return
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await self.runtime.holds.drain()
        except Exception as error:
            logger.warning("the holds could not be settled: %s", type(error).__name__)

    async def _wait_for(self, flows: WeakSet[mitmflow.Flow]) -> None:
        snapshot = self.runtime.snapshot
        seconds = snapshot.gateway.limits.drain if snapshot else 0.0
        try:
            async with asyncio.timeout(seconds):
                while any(flow.live for flow in flows):  # noqa: ASYNC110  # mitmproxy tells nobody when a flow ends
                    await asyncio.sleep(POLL)
        except TimeoutError:
            logger.warning("stopping with %d requests unfinished", sum(1 for flow in flows if flow.live))

    async def _close_all(self) -> None:
        while self.runtime.closers:
            name, close = self.runtime.closers.pop()
            try:
                async with asyncio.timeout(CLOSE_DEADLINE):
                    await close()
            except Exception as error:
                logger.warning("%s did not close: %s", name, type(error).__name__)
