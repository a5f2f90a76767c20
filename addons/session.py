"""Say which piece of work a request belongs to, why it is made, and where it stands in a trace.

Stands after `identity` (a signed claim outranks a header, a session is bound to its principal, and a refusal has a name
on it) and before `policy` (whose rules may match on the purpose). The headers are ours: they are read, recorded and
removed; the upstream sees only our own `traceparent`.

What a label may look like, which source wins and whose child a span is are decided in `addons.core.sessions`. Loaded
alone it has an empty Runtime, so it refuses everything.
"""

import secrets
from collections.abc import Mapping, Sequence

from mitmproxy import http

from addons.core import exchange
from addons.core.config.model import Gateway
from addons.core.errors import GuardhouseError
from addons.core.exchange import Exchange, Principal
from addons.core.sessions import baggage, purpose, session, trace
from addons.core.sessions.session import Quiet
from addons.core.sessions.trace import Spans
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime


class Session:
    name = "guardhouse-session"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.quiet = Quiet()
        self.spans: Spans | None = None

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        gateway = self.runtime.snapshot_of(flow).gateway
        record, headers = exchange.read(flow.metadata), flow.request.headers
        if record.principal is None:
            raise GuardhouseError(detail="no principal")
        members = baggage.parse(headers.get_all("baggage") if gateway.forward_baggage else take(headers, "baggage"))
        told = take(headers, gateway.session.header)
        try:
            self._say_which(record, record.principal, gateway, told, members)
            self._place(flow, record, record.principal, gateway)
            self._say_why(flow, record, record.principal, gateway, members)
        finally:
            exchange.write(flow.metadata, record)

    def _say_which(
        self, record: Exchange, principal: Principal, gateway: Gateway, told: Sequence[str], members: Mapping[str, Sequence[str]]
    ) -> None:
        assert self.runtime.clock is not None
        named = session.named(told, members.get("session.id", ()))
        if named.is_malformed:
            record.notes.append("session-malformed")
        if named.name is None:
            record.session_id = self.quiet.of(principal, gateway.session.quiet, self.runtime.clock.now())
        else:
            record.session_id = session.bound(principal, named.name)

    def _place(self, flow: http.HTTPFlow, record: Exchange, principal: Principal, gateway: Gateway) -> None:
        headers = flow.request.headers
        parents, states = take(headers, "traceparent"), take(headers, "tracestate")
        started = trace.start(parents, states, principal, gateway.identity, self._spans(), lambda: secrets.token_hex(16))
        record.trace = started.trace
        record.notes.extend(note for note in (started.note,) if note is not None)
        headers["traceparent"] = started.traceparent
        if started.tracestate is not None:
            headers["tracestate"] = started.tracestate

    def _say_why(
        self, flow: http.HTTPFlow, record: Exchange, principal: Principal, gateway: Gateway, members: Mapping[str, Sequence[str]]
    ) -> None:
        terms, headers = gateway.purpose, flow.request.headers
        sent, details = take(headers, terms.header), take(headers, f"{terms.header}-Detail")
        claim = principal.attributes.get("purpose")
        told = [("claim", [] if claim is None else [claim]), ("header", sent), ("baggage", members.get("purpose", ()))]
        record.purpose_detail = purpose.detail_of(details, terms)
        found = purpose.decide(told, terms)
        record.purpose, record.purpose_source, record.purpose_conflict = found.label, found.source, found.conflict

    def _spans(self) -> Spans:
        if self.spans is None:
            if self.runtime.keys is None:
                raise GuardhouseError(detail="no keys")
            self.spans = Spans(self.runtime.keys.derive("span-id"), secrets.randbits(trace.COUNTER_BITS))
        return self.spans


def take(headers: http.Headers, name: str) -> list[str]:
    """Read every field of this name and remove them all, whatever becomes of the request."""
    values = headers.get_all(name)
    headers.pop(name, None)
    return values


addons = [guard(Session(Runtime()))]
