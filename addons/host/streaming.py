"""Between masking and the flow, for an answer that passes as a stream: head masked, StreamGuard set, trailers masked at its end."""

from mitmproxy import http

from addons.core.errors import MaskingError, Unmaskable
from addons.core.exchange import Exchange
from addons.core.masking import rules
from addons.core.masking.answer import Answer, Terms
from addons.core.masking.engine import MaskEngine
from addons.core.masking.stream import Budget
from addons.core.masking.stream_plan import Plan, StreamMaking, declared_length
from addons.core.masking.stream_record import StoredStream, stored_stream
from addons.host import gate
from addons.host.runtime import Runtime
from addons.host.streams import StreamGuard, of_stream

_OF_ONE_CONNECTION = ("connection", "keep-alive", "transfer-encoding")


class MaskedStream(StreamGuard):
    """A StreamGuard that also masks the trailers, which come behind the last piece."""

    making: StreamMaking


async def begin(runtime: Runtime, flow: http.HTTPFlow, engine: MaskEngine, chosen: Plan, told: Answer, terms: Terms) -> None:
    """Mask the head, and let the body pass through a StreamGuard. Raises Unmaskable."""
    assert runtime.keys is not None and flow.response is not None
    making = StreamMaking(told, terms, engine.detector, engine.transformer, Budget(terms.limits.time, engine.budget))
    pipe = making.pipe(chosen)
    reason, fields = await engine.run(lambda: making.head(chosen), 0)

    def stored() -> StoredStream | None:
        snapshot = runtime.snapshot_of(flow)
        view = rules.record_view(snapshot, terms.place.service)
        content_type = flow.response.headers.get("content-type") if flow.response is not None else None
        return stored_stream(content_type, view, terms.place, engine.detector, engine.transformer, engine.budget)

    def books(record: Exchange) -> None:
        tally = making.tally
        record.masked, record.receipt, record.fields_seen = dict(tally.counts), tally.receipt(), dict(tally.seen)
        record.masking_complete = record.masking_complete and not isinstance(guard.error, MaskingError)

    is_endless = declared_length(told) is None
    guard = MaskedStream(flow, pipe, runtime.keys.derive("evidence"), books=books, stored=stored, endless=is_endless)
    guard.making = making
    put_head(flow, reason, http.Headers(fields))
    flow.response.stream = guard
    gate.of(flow).stream = guard


def put_head(flow: http.HTTPFlow, reason: str, headers: http.Headers) -> None:
    """Write the masked head, framed for this client: a length that is known stays, else chunks on HTTP/1, frames on HTTP/2."""
    response = flow.response
    assert response is not None
    response.headers, response.reason = headers, reason
    for name in _OF_ONE_CONNECTION:
        headers.pop(name, None)
    if flow.client_conn.alpn == b"h2":
        return
    if gate.of(flow).closes:
        headers["Connection"] = "close"
    if not response.is_http2:
        response.http_version = "HTTP/1.1"
    if "content-length" not in headers:
        headers["Transfer-Encoding"] = "chunked"


def ended(flow: http.HTTPFlow) -> bool:
    """Mask the trailers of a stream that is whole, and give the receipt. False when this answer did not pass as one."""
    door = gate.of(flow)
    guard, response = door.stream, flow.response
    if guard is None or response is None or not of_stream(flow, guard):
        return False
    if response.raw_content is not None:  # it had no body at all, so it is masked like any whole answer
        response.stream = False
        return False
    if not guard.is_whole or not isinstance(guard, MaskedStream):
        raise Unmaskable("truncated", detail="a stream without its end")
    if response.trailers:
        _, fields = guard.making.fields("", tuple(response.trailers.fields))
        response.trailers = http.Headers(fields)
    door.receipt = True
    return True
