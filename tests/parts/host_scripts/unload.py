"""On SIGUSR2, unload the first script, as an edit of the options at run time would."""

import asyncio
import signal

from mitmproxy import ctx


def running() -> None:
    def unload() -> None:
        loader = ctx.master.addons.get("scriptloader")
        ctx.master.addons.remove(loader.addons[0])

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, unload)
