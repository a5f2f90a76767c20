"""What Prometheus is told: counters that follow the log, timings, and gauges that are read when somebody asks.

Counting follows the committed events, so that a number and the log never tell two stories, and no step of the way
through has to count for itself. A label is a name from the policy files, a documented code or a number of ours: never
a person, a path, an address or anything else that a caller chose, however it is spelled.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from addons.core.audit.events import Event
from addons.core.audit.search import json_of
from addons.core.errors import CODES

if TYPE_CHECKING:
    from addons.core.web.services import ControlServices

OTHER = "other"
SLOW = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds of work
WAIT = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)  # seconds that people take
DECIDED = frozenset({"approved", "denied", "expired", "cancelled"})
APPROVAL_EVENTS = DECIDED | {"requested", "voted", "ticketed", "used", "outcome"}
MAX_WAITING = 10_000  # approvals whose beginning is remembered
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")  # services, effects and info types, as the policy files may name them


class Meters:
    """All numbers of one process, in a registry of their own."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        self._asked: dict[str, float] = {}
        ProcessCollector(registry=self.registry)
        self._requests = Counter("guardhouse_requests", "Requests that ended", ["service", "effect", "status"], registry=self.registry)
        self._seconds = Histogram("guardhouse_request_seconds", "From request to end", ["service"], buckets=SLOW, registry=self.registry)
        self._refusals = Counter("guardhouse_refusals", "Refusals by documented code", ["code"], registry=self.registry)
        self._masked = Counter("guardhouse_masked", "Values masked in answers", ["info_type"], registry=self.registry)
        self._approvals = Counter("guardhouse_approvals", "What happened to approvals", ["event"], registry=self.registry)
        self._waited = Histogram(
            "guardhouse_hold_wait_seconds", "From asking to a decision", ["outcome"], buckets=WAIT, registry=self.registry
        )
        self._appended = Histogram(
            "guardhouse_audit_append_seconds", "From queueing an event to its being durable", buckets=SLOW, registry=self.registry
        )
        self._steps = Histogram(
            "guardhouse_step_seconds", "Time in a step of the way through", ["step"], buckets=SLOW, registry=self.registry
        )

    def committed(self, event: Event, seconds: float) -> None:
        """An event is durable, so many seconds after it was queued."""
        self._appended.observe(seconds)
        if event.kind == "approval":
            self._approval(event)
        elif event.kind == "suppressed":
            self._suppressed(event)
        elif event.is_terminal:
            self._ended(event)

    def step(self, name: str, seconds: float) -> None:
        """A step of the way through took so long."""
        self._steps.labels(name).observe(seconds)

    def text(self, services: "ControlServices", accept: str) -> tuple[bytes, str]:
        """The exposition, and its media type."""
        encoder, media_type = choose_encoder(accept)
        body: bytes = encoder(_Both(self.registry, services))
        return body, media_type

    def _ended(self, event: Event) -> None:
        core = event.core
        service = _name(core.get("service"), "none")
        self._requests.labels(service, _name(core.get("effect"), "none"), status_class(core.get("status"))).inc()
        took = core.get("dur_us")
        if isinstance(took, int):
            self._seconds.labels(service).observe(max(0, took) / 1_000_000)
        code = event.fields.get("reason", b"").decode("ascii", "replace")
        if code in CODES:
            self._refusals.labels(code).inc()
        masked = core.get("masked")
        for name, count in masked.items() if isinstance(masked, Mapping) else ():
            if isinstance(count, int) and count > 0:
                self._masked.labels(_name(name, OTHER)).inc(count)

    def _approval(self, event: Event) -> None:
        verb, approval = event.core.get("verb"), event.core.get("approval")
        if not isinstance(verb, str) or verb not in APPROVAL_EVENTS or not isinstance(approval, str):
            return
        self._approvals.labels(verb).inc()
        if verb == "requested" and len(self._asked) < MAX_WAITING:
            self._asked[approval] = self._monotonic()
        elif verb in DECIDED and (since := self._asked.pop(approval, None)) is not None:
            self._waited.labels(verb).observe(max(0.0, self._monotonic() - since))

    def _suppressed(self, event: Event) -> None:
        """Refusals before login beyond a peer's share have one event a minute, with counts."""
        told = json_of(event.fields.get("note"))
        codes = told.get("codes") if isinstance(told, dict) else None
        for code, count in codes.items() if isinstance(codes, dict) else ():
            if isinstance(count, int) and count > 0:
                if code in CODES:
                    self._refusals.labels(code).inc(count)
                self._requests.labels("none", "none", status_class(CODES[code].status if code in CODES else None)).inc(count)


class _Both(Collector):
    """The counters, and the gauges of this moment."""

    def __init__(self, registry: CollectorRegistry, services: "ControlServices") -> None:
        self._registry = registry
        self._services = services

    def collect(self) -> Iterable[Metric]:
        yield from self._registry.collect()
        yield from gauges(self._services)


def gauges(services: "ControlServices") -> Iterator[Metric]:
    """What stands at this moment."""
    readiness, holds, audit = services.readiness(), services.holds.health(), services.store.health()
    values: dict[str, tuple[str, Any]] = {
        "guardhouse_ready": ("1 while requests are served", readiness.is_ready),
        "guardhouse_draining": ("1 while the gateway stops", "draining" in readiness.problems),
        "guardhouse_development": ("1 in development mode: anybody can be anybody", "development" in readiness.notes),
        "guardhouse_event_loop_lag_seconds": ("By how much the event loop was late, last measured", services.loop_lag()),
        "guardhouse_holds_pending": ("Approvals that wait for people", holds.get("pending")),
        "guardhouse_holds_waiting": ("Requests held on their socket", holds.get("waiting")),
        "guardhouse_holds_approved": ("Approvals that were given and not used yet", holds.get("approved")),
        "guardhouse_approval_alerts": ("Approvals that did not agree with the log", holds.get("alerts")),
        "guardhouse_audit_ok": ("1 while the log can be written", audit.get("ok")),
        "guardhouse_audit_events": ("Events in the log", audit.get("size")),
        "guardhouse_audit_queue_events": ("Events that wait to be written", audit.get("queue")),
        "guardhouse_audit_lag_seconds": ("Age of the oldest event that is not durable yet", audit.get("lag_seconds")),
        "guardhouse_audit_open_flows": ("Flows that owe the log their end", audit.get("reserved")),
        "guardhouse_audit_sessions": ("Sessions that are open", audit.get("sessions")),
        "guardhouse_audit_failed_groups": ("Groups of events that could not be written, since the start", audit.get("failures")),
        "guardhouse_audit_disk_free_bytes": ("Room on the log's disk", audit.get("disk_free")),
        "guardhouse_anchor_lag_seconds": (
            "Since the log was last anchored, while it is ahead of the anchor",
            audit.get("anchor_lag_seconds"),
        ),
    }
    for name, (words, value) in values.items():
        if isinstance(value, int | float):
            yield GaugeMetricFamily(name, words, value=float(value))
    observed = GaugeMetricFamily("guardhouse_observe", "1 for a service whose denials and holds are not enforced", labels=["service"])
    for note in readiness.notes:
        if note.startswith("observe:"):
            observed.add_metric([_name(note.removeprefix("observe:"), OTHER)], 1)
    yield observed


def status_class(status: Any) -> str:
    """`2xx` and so on; `none` for a flow without an answer."""
    return f"{status // 100}xx" if isinstance(status, int) and 100 <= status <= 599 else "none"


def _name(value: Any, otherwise: str) -> str:
    """A name of ours as a label; anything that does not look like one is not told."""
    if value is None:
        return otherwise
    return value if isinstance(value, str) and _NAME.match(value) else OTHER
