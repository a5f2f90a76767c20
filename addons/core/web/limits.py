"""How often one person, or one address without a name yet, may ask: token buckets.

The control plane shares the event loop with the data path: hammered, it pushed the proxy's latency from 1 to 14 ms
(design/mitmproxy.md 7.7). A bucket fills at `rate` a second and holds two seconds' worth, so that a page with its style
sheet, or a script's short burst, is not refused.
"""

import math
from collections import OrderedDict

from addons.core.clock import Clock
from addons.core.errors import GuardhouseError

BURST = 2.0  # seconds' worth
MAX_KEYS = 10_000  # people and addresses remembered; the least recently seen is forgotten


class TooManyRequests(GuardhouseError):
    """This person or address asks too often."""

    default_code = "too-many-requests"
    default_message = "Too many requests. Wait as long as Retry-After says."


class Buckets:
    """One bucket per key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (tokens, monotonic time)

    def take(self, key: str, rate: float) -> None:
        """Take one token. Raises TooManyRequests, with the seconds until there is one again."""
        size = max(1.0, rate * BURST)
        now = self._clock.monotonic()
        tokens, since = self._levels.pop(key, (size, now))
        tokens = min(size, tokens + (now - since) * rate)
        if tokens < 1:
            self._levels[key] = (tokens, now)
            wait = math.ceil((1 - tokens) / rate)
            raise TooManyRequests(headers={"Retry-After": str(wait)})
        self._levels[key] = (tokens - 1, now)
        if len(self._levels) > MAX_KEYS:
            self._levels.popitem(last=False)
