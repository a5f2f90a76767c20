"""Junk must not fill the log: refusals and connections before identity are summarised.

The first `FULL` per peer and minute are recorded whole; the rest of that minute is one `suppressed` event with the count,
the peers and a histogram of codes. Authenticated flows are never summarised. Pure; `now` is monotonic seconds.
"""

from addons.core.audit.events import Event, json_field, make

FULL = 20
MINUTE = 60.0
MAX_PEERS = 10_000  # beyond it peers share one entry: the count stays right, the name is lost
NAMED_PEERS = 100  # how many peers one event names


class Suppressor:
    """Counts per peer for the current minute."""

    def __init__(self, now: float) -> None:
        self._until = now + MINUTE
        self._seen: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._peers: dict[str, int] = {}

    def admit(self, peer: str, code: str) -> bool:
        """True when this one is recorded in full. A False is counted for the minute's summary."""
        if peer not in self._seen and len(self._seen) >= MAX_PEERS:
            peer = "others"
        count = self._seen[peer] = self._seen.get(peer, 0) + 1
        if count <= FULL:
            return True
        self._codes[code] = self._codes.get(code, 0) + 1
        self._peers[peer] = self._peers.get(peer, 0) + 1
        return False

    def due(self, now: float) -> bool:
        """True when the minute is over."""
        return now >= self._until

    def flush(self, now: float) -> Event | None:
        """Begin a new minute; return the summary of the last one, None when nothing was left out."""
        total, codes, peers = sum(self._codes.values()), self._codes, self._peers
        self._until, self._seen, self._codes, self._peers = now + MINUTE, {}, {}, {}
        if not total:
            return None
        worst = sorted(peers.items(), key=lambda item: (-item[1], item[0]))[:NAMED_PEERS]
        note = {"count": total, "codes": codes, "peer_count": len(peers), "peers": [[peer, count] for peer, count in worst]}
        return make("Mark", "suppressed", {}, {"note": json_field(note)})
