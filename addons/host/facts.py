"""Read from a flow what an approval binds to, and what people will see of it.

The facts are the request as it will go upstream: read when the hold opens, again after the wait, and once more by
departure, then without the header that `credentials` injected. What people see is masked here, before it reaches the
desk: from this point on nothing unmasked of the request exists outside the flow.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from mitmproxy import http

from addons.core import exchange
from addons.core.approval import digest, terms
from addons.core.approval.digest import RequestFacts
from addons.core.approval.hold import View
from addons.core.config.model import Snapshot
from addons.core.errors import GuardhouseError
from addons.core.exchange import Decision, Exchange, Redactor
from addons.core.services import jsonrpc, mcp

SHOWN_MOST = 1 << 20  # bytes of a masked body on a card; the same as the default of max_hold_body


def request_facts(
    flow: http.HTTPFlow, snapshot: Snapshot, *, without: Mapping[str, str] | None = None, decision: Decision | None = None
) -> RequestFacts:
    """The digest's input, from the flow as it stands. `without` are injected headers (name in lower case -> value);
    `decision` is a newer one than the record's."""
    record = exchange.read(flow.metadata)
    decided = decision or record.decision
    if decided is None or record.principal is None or record.service is None:
        raise GuardhouseError(detail="a hold without decision, principal or service")
    request, service = flow.request, snapshot.gateway.services[record.service]
    path, query = digest.split_target(_text(request.data.path))
    fields = [(_text(name), _text(value)) for name, value in request.headers.fields]
    return RequestFacts(
        service=record.service,
        method=_text(request.data.method),
        scheme=request.scheme,
        authority=digest.with_port(request.host_header or "", request.scheme),
        path=path,
        query=query,
        content_digest=digest.content_digest(_asked(request, record)),
        headers=digest.covered_headers(less(fields, without or {}), service.ignore_headers),
        issuer=record.principal.issuer,
        subject=record.principal.subject,
        client_id=record.principal.client_id,
        actors=record.principal.actors,
        purpose=record.purpose or None,
        purpose_detail=digest.detail_digest(_detail(record.purpose_detail)),
        rules=decided.rules,
        policy=terms.policy_digest(snapshot, decided.rules, decided.approvals),
        target=terms.target_digest(snapshot, record.service, decided.masks),
    )


def _asked(request: http.Request, record: Exchange) -> bytes:
    """The body, less what only names the answer: the id of an MCP call is another one when the same is asked again."""
    body = request.raw_content or b""
    return jsonrpc.without_id(body) if body and record.operation is not None and record.operation.protocol == mcp.PROTOCOL else body


def less(fields: list[tuple[str, str]], injected: Mapping[str, str]) -> list[tuple[str, str]]:
    """The fields less exactly one of each injected name and value: a second one of that name stays in the digest."""
    left = {(name.lower(), value) for name, value in injected.items()}
    kept = []
    for name, value in fields:
        if (name.lower(), value) in left:
            left.remove((name.lower(), value))
        else:
            kept.append((name, value))
    return kept


async def masked_view(flow: http.HTTPFlow, record: Exchange, redactor: Redactor) -> View:
    """What people see of the request. The work is done in a thread; what cannot be masked is withheld and said so."""
    return await view_of(flow.request.copy(), record, redactor)


async def view_of(request: http.Request, record: Exchange, redactor: Redactor) -> View:
    """The same of a request that is nobody's: a WebSocket message in the clothes of one."""
    return await asyncio.to_thread(_view, request, record, redactor)


def _view(request: http.Request, record: Exchange, redactor: Redactor) -> View:
    service, operation, decision = record.service, record.operation, record.decision
    if operation is None or decision is None:
        raise GuardhouseError(detail="a hold without operation or decision")
    path, query = digest.split_target(_text(request.data.path))
    body, counts = _body(request, service, redactor)
    headers = _headers(request, service, redactor)
    if headers is None:
        body = _withheld(request.raw_content or b"", "its headers could not be masked and shown in full")
    detail = record.purpose_detail
    return View(
        operation={
            "protocol": operation.protocol,
            "verb": operation.verb,
            "text": redactor.redact_text(operation.text, service),
            "access": sorted(operation.access),
        },
        request={
            "method": _text(request.data.method),
            "scheme": request.scheme,
            "authority": digest.with_port(request.host_header or "", request.scheme),
            "path": redactor.redact_text(path, service),
            "query": redactor.redact_text(query, service) if query else "",
            "headers": headers or [],
        },
        body=body,
        purpose_source=record.purpose_source,
        purpose_detail=None if detail is None else redactor.redact_text(detail, service),
        reasons=decision.reasons,
        masked=counts,
    )


def _body(request: http.Request, service: str | None, redactor: Redactor) -> tuple[dict[str, Any], dict[str, int]]:
    raw = request.raw_content or b""
    if not raw:
        return {"text": "", "size": 0, "complete": True, "note": "no body"}, {}
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return _withheld(raw, "compressed, so it is not shown"), {}
    found = redactor.redact(raw, request.headers.get("content-type"), service)
    try:
        text = found.body.decode("utf-8")
    except UnicodeDecodeError:
        return _withheld(raw, "not text, so it is not shown"), {}
    if not found.complete or len(found.body) > SHOWN_MOST:
        return _withheld(raw, "it could not be masked and shown in full"), dict(found.counts)
    return {"text": text, "size": len(raw), "complete": True, "note": "shown: all"}, dict(found.counts)


def _headers(request: http.Request, service: str | None, redactor: Redactor) -> list[list[str]] | None:
    """Every header that the digest covers: one may say more than the body does. None when they cannot be shown. Of cookies
    only that they are there: nobody decides by them, and nobody should hold them."""
    covered = digest.covered_headers([(_text(name), _text(value)) for name, value in request.headers.fields])
    by_name: dict[str, list[str]] = {}
    for name, value in covered:
        by_name.setdefault(name, []).append("not shown" if name == "cookie" else value)
    found = redactor.redact(json.dumps(by_name).encode(), "application/json", service)
    try:
        shown = json.loads(found.body)
    except ValueError:
        return None
    if not found.complete or not isinstance(shown, dict):
        return None
    return [[str(name), str(value)] for name, values in shown.items() for value in (values if isinstance(values, list) else [values])]


def _withheld(raw: bytes, why: str) -> dict[str, Any]:
    return {"text": "", "size": len(raw), "complete": False, "note": why}


def _text(data: bytes) -> str:
    """Bytes of the wire as text: one byte, one code point."""
    return data.decode("iso-8859-1")


def _detail(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
