"""Sessions as the log tells them: one `opened`, one `closed`, and between them what happened.

A session is a run of work of one principal under one id. It is opened by its first flow; the log itself closes it (quiet,
stop), because only the log is still there when everything else has ended; after a crash the next start closes it.
Pure: the log feeds events in and writes the events that come out.
"""

from dataclasses import dataclass, field

from addons.core.audit.events import Event, json_field, make

REASONS = ("quiet", "expiry", "revoked", "stop", "restart")
MAX_OPEN = 50_000  # more at once: the oldest is closed as quiet, so that ids made up by a caller cannot fill memory


@dataclass(slots=True)
class Session:
    """What one open session has seen."""

    id: str
    last: float
    principal: bytes | None
    purpose: bytes | None
    flows: int = 0
    denials: int = 0
    bytes: int = 0
    masked: dict[str, int] = field(default_factory=dict)


class SessionBook:
    """The open sessions. `now` is monotonic seconds."""

    def __init__(self, quiet: float) -> None:
        self.quiet = quiet
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opening(self, event: Event, now: float) -> Event | None:
        """Return the `opened` event that must stand before this one, None when its session is open or it has none."""
        session = event.core.get("session")
        if not isinstance(session, str) or event.stage in (
            "Mark",
            "Interrupted",
        ):  # an interruption opens nothing: it may come after a restart
            return None
        if session in self._open:
            self._open[session].last = now
            return None
        self._open[session] = Session(session, now, event.fields.get("principal"), event.fields.get("purpose"))
        core = {"verb": "opened", "session": session, "ref": event.flow, "trace": event.core.get("trace")}
        return make("Mark", "session", core, {name: event.fields.get(name) for name in ("principal", "purpose")})

    def forget(self, event: Event) -> None:
        """The `opened` event could not be written: the next flow opens the session again."""
        if event.kind == "session" and event.core.get("verb") == "opened":
            self._open.pop(str(event.core.get("session")), None)

    def seen(self, event: Event, now: float) -> None:
        """Count a terminal event that was committed."""
        found = self._open.get(str(event.core.get("session")))
        if found is None or not event.is_terminal:
            return
        found.last = now
        found.flows += 1
        found.denials += event.stage == "Denied"
        size = event.core.get("bytes")
        found.bytes += size if isinstance(size, int) else 0
        masked = event.core.get("masked")
        for name, count in masked.items() if isinstance(masked, dict) else ():
            found.masked[name] = found.masked.get(name, 0) + count

    def quiet_ones(self, now: float) -> list[str]:
        """The sessions that were quiet for too long, and the oldest while there are too many."""
        oldest = sorted(self._open.values(), key=lambda s: s.last)
        surplus = max(0, len(oldest) - MAX_OPEN)
        return [s.id for at, s in enumerate(oldest) if at < surplus or now - s.last >= self.quiet]

    def take(self, session: str) -> Session:
        """Take a session out, to be closed: a flow that comes now opens it again. KeyError for one that is not open."""
        return self._open.pop(session)

    def put_back(self, session: Session) -> None:
        """Its end could not be written, so it is still open."""
        self._open.setdefault(session.id, session)

    def open_ones(self) -> list[str]:
        """The ids of all open sessions."""
        return list(self._open)


def end_of(session: Session, reason: str) -> Event:
    """The event that closes this session, with what happened in it."""
    counts = {"flows": session.flows, "denials": session.denials, "bytes": session.bytes, "masked": session.masked}
    return closed(session.id, reason, session.principal, session.purpose, json_field(counts))


def closed(session: str, reason: str, principal: bytes | None, purpose: bytes | None, counts: bytes | None = None) -> Event:
    """The event that closes a session."""
    fields = {"principal": principal, "purpose": purpose, "reason": reason.encode(), "note": counts}
    return make("Mark", "session", {"verb": "closed", "session": session}, fields)
