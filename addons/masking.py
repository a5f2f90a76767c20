"""Mask what may not leave, and keep masks from coming back: two steps of the chain.

`Prepare` stands after `policy` and before `audit.Intent`, so that a write that carries a mask is never held and the
approval's digest covers what is sent. It asks the upstream for what can be masked, and waits for the engine.

`Apply` stands first on the way back. It rewrites the whole answer or refuses it, or lets it pass as a stream through a StreamGuard;
`gate.receipt` says that it saw the whole of it, and `host.arrival` refuses an answer that owed a mask and has no receipt.

What is masked and how is decided in `addons.core.masking`; this module moves values between the flow and one call.
"""

from typing import TYPE_CHECKING

from mitmproxy import http

from addons.core import exchange
from addons.core.errors import Unmaskable
from addons.core.exchange import Exchange
from addons.core.masking import answer, http_rules, rules, stream_plan
from addons.core.masking.engine import MaskEngine, session_place
from addons.core.masking.redact import MaskRedactor
from addons.host import gate, socket_steps, streaming
from addons.host.arrival import asks_for_stream, note_received
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime

if TYPE_CHECKING:
    from addons.core.masking.rules import MaskView

NO_VIEW = "-" * 8  # stands in no tag: a tag of ours, made for a masked view, does not match an unmasked one
WAIT = 20.0  # seconds that a request waits for the engine to warm up, below the guard's own deadline


class Prepare:
    """Fills `runtime.masker` and `runtime.redactor`; readies each request for masking."""

    name = "guardhouse-prepare"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def running(self) -> None:
        runtime = self.runtime
        assert runtime.keys is not None and runtime.clock is not None and runtime.snapshot is not None
        engine = MaskEngine(runtime.keys, runtime.clock)
        engine.start(runtime.snapshot.masking)
        runtime.masker = engine
        runtime.redactor = MaskRedactor(engine, lambda: runtime.snapshot, runtime.keys)
        runtime.reloaders.append(lambda snapshot: engine.start(snapshot.masking))
        runtime.on_close("masking", engine.close)

    async def request(self, flow: http.HTTPFlow) -> None:
        engine, snapshot = engine_of(self.runtime), self.runtime.snapshot_of(flow)
        await engine.ready(min(WAIT, snapshot.gateway.limits.hook_deadline / 2))
        record = exchange.read(flow.metadata)
        service = service_of(record)
        terms = snapshot.masking.service(service)
        guarded = rules.view_of(snapshot, service, {*rules.record_profiles(snapshot, service), *masks_of(record)})
        body = flow.request.raw_content
        if body is None:
            raise Unmaskable("size", code="request-unmaskable")
        if terms.writes == "deny":
            await engine.refuse_marks(flow.request.data.path, tuple(flow.request.headers.fields), body, guarded)
        view = view_of(self.runtime, flow, record)
        changed = http_rules.request_fields(
            tuple(flow.request.headers.fields), engine.transformer, terms.pass_media, view.digest if view else NO_VIEW
        )
        flow.request.headers = http.Headers(changed)

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        await socket_steps.guard_write(self.runtime, flow, engine_of(self.runtime))


class Apply:
    """Masks each answer."""

    name = "guardhouse-apply"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Decide whether the answer passes as a stream, and mask its head when it does."""
        assert flow.response is not None
        record = exchange.read(flow.metadata)
        told, terms = answer_of(flow, flow.response), self.terms_of(flow, record)
        answer.refuse_partial(told)
        chosen = stream_plan.plan(told, terms, asks_for_stream(flow))
        if chosen is not None:
            await streaming.begin(self.runtime, flow, engine_of(self.runtime), chosen, told, terms)

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        await socket_steps.mask(self.runtime, flow, engine_of(self.runtime))

    async def response(self, flow: http.HTTPFlow) -> None:
        assert flow.response is not None
        if streaming.ended(flow):
            return
        note_received(self.runtime, flow)
        if flow.response.raw_content is None:
            raise Unmaskable("media", detail="the answer was streamed past the mask")
        record = exchange.read(flow.metadata)
        made = await engine_of(self.runtime).mask_answer(answer_of(flow, flow.response), self.terms_of(flow, record))
        put_back(flow.response, made)
        keep(flow, record, made)

    def terms_of(self, flow: http.HTTPFlow, record: Exchange) -> answer.Terms:
        """What this answer is masked by."""
        snapshot, view = self.runtime.snapshot_of(flow), view_of(self.runtime, flow, record)
        place = session_place(snapshot, service_of(record), record.session_id, path_of(record, flow))
        joined = snapshot.masking.service(service_of(record)).joined_paths
        return answer.Terms(view, snapshot.masking.limits, place, gate.of(flow).scrub, joined)


def engine_of(runtime: Runtime) -> MaskEngine:
    """The engine; an empty slot is an error, which the guard answers."""
    if runtime.masker is None:
        raise Unmaskable("crash", detail="no engine")
    return runtime.masker


def service_of(record: Exchange) -> str:
    """The service's name; a flow without one cannot be here."""
    if record.service is None:
        raise Unmaskable("crash", detail="no service")
    return record.service


def masks_of(record: Exchange) -> tuple[str, ...]:
    """The profiles that policy obliges us to apply; a flow without a decision cannot be here."""
    if record.decision is None:
        raise Unmaskable("crash", detail="no decision")
    return record.decision.masks


def view_of(runtime: Runtime, flow: http.HTTPFlow, record: Exchange) -> "MaskView | None":
    """The view of the answer, None when no profile applies."""
    names = masks_of(record)
    return rules.view_of(runtime.snapshot_of(flow), service_of(record), names) if names else None


def path_of(record: Exchange, flow: http.HTTPFlow) -> str:
    """What names the object an answer is about: the path, without the query."""
    return flow.request.data.path.partition(b"?")[0].decode("latin-1")


def answer_of(flow: http.HTTPFlow, response: http.Response) -> answer.Answer:
    """The answer as plain data."""
    trailers = tuple(response.trailers.fields) if response.trailers else ()
    return answer.Answer(
        flow.request.data.method.decode("latin-1").upper(), response.status_code, response.reason, tuple(response.headers.fields),
        response.raw_content or b"", trailers,
    )  # fmt: skip


def put_back(response: http.Response, made: answer.MaskedAnswer) -> None:
    """Write the masked answer into the flow; Content-Length is what there is now, unless there is no body to measure."""
    response.headers = http.Headers(made.fields)
    response.reason = made.reason
    response.trailers = http.Headers(made.trailers) if made.trailers else None
    if made.body or response.raw_content:
        response.raw_content = made.body
        if "transfer-encoding" not in response.headers:
            response.headers["content-length"] = str(len(made.body))


def keep(flow: http.HTTPFlow, record: Exchange, made: answer.MaskedAnswer) -> None:
    """Write the books, and the receipt that arrival asks for."""
    record.masked, record.masking_complete = dict(made.counts), made.complete
    record.receipt, record.fields_seen = made.receipt, dict(made.fields_seen)
    if made.withheld:
        record.notes.append(f"withheld:{made.withheld}")
    exchange.write(flow.metadata, record)
    gate.of(flow).receipt = True


addons = [guard(Prepare(Runtime())), guard(Apply(Runtime()))]
