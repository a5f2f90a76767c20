"""What a held flow is to the desk: what it asks, whether anybody still waits for it, and what the newest rules say of it."""

import json

from mitmproxy import http

from addons.core.approval import policy, terms
from addons.core.approval.desk import Desk
from addons.core.approval.hold import Asked, Pending, ask_again
from addons.core.approval.prefer import Preference
from addons.core.errors import GuardhouseError, PolicyDeniedError, problem_of
from addons.core.exchange import Effect, Exchange
from addons.core.policy.evaluate import decide
from addons.host import gate
from addons.host.facts import masked_view, request_facts
from addons.host.fail_closed import settled
from addons.host.runtime import Runtime


def asked_of(runtime: Runtime, flow: http.HTTPFlow, record: Exchange, preference: Preference) -> Asked:
    """Everything the desk needs to know of a flow that a rule holds."""
    snapshot, principal, decision, redactor = runtime.snapshot_of(flow), record.principal, record.decision, runtime.redactor
    if principal is None or decision is None or redactor is None:
        raise GuardhouseError(detail="a hold without principal, decision or redactor")
    return Asked(
        flow_id=record.id,
        client_id=flow.client_conn.id,
        facts=request_facts(flow, snapshot),
        principal=principal,
        excluded=policy.four_eyes(principal, snapshot.gateway.identity),
        terms=terms.merged(snapshot, decision.approvals),
        masks=decision.masks,
        body_size=len(flow.request.raw_content or b""),
        session_id=record.session_id,
        trace_id=None if record.trace is None else record.trace.trace_id,
        view=lambda: masked_view(flow, record, redactor),
        wait=preference.wait,
        at_once=preference.respond_async,
    )


def judged_again(runtime: Runtime, desk: Desk, flow: http.HTTPFlow, record: Exchange) -> str:
    """The digest of the request as it stands, which the newest rules still hold for the same reasons."""
    newest, clock = runtime.snapshot, runtime.clock
    if newest is None or clock is None:
        raise GuardhouseError(detail="no Snapshot or no clock")
    decision = decide(newest, record, clock.now())
    if decision.effect is Effect.DENY:
        raise PolicyDeniedError(detail="denied by the newest rules: " + " ".join(decision.rules), extra={"rules": list(decision.rules)})
    pinned = desk.digest_of(request_facts(flow, runtime.snapshot_of(flow)))
    now = desk.digest_of(request_facts(flow, newest, decision=decision))
    if decision.effect is not Effect.HOLD or now != pinned:
        raise ask_again("the newest rules, terms or target are others")
    return now


def alive(flow: http.HTTPFlow) -> bool:
    """Somebody still waits for the answer of this flow, and nothing has answered it."""
    return flow.client_conn.connected and not gate.of(flow).gone and not settled(flow) and flow.error is None


def accepted(ticket: Pending, request_id: str) -> http.Response:
    """202 for a caller who asked not to wait (RFC 7240 section 4.1)."""
    problem = problem_of(ticket, request_id)
    headers = {**problem.headers, "Location": str(ticket.ticket["status_url"]), "Preference-Applied": "respond-async"}
    return http.Response.make(202, json.dumps({**problem.body, "status": 202}, ensure_ascii=False) + "\n", headers)
