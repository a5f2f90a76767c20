"""How a streamed answer is recorded: its beginning before the first byte, its pieces as they pass, its end before the last.

The audit shell calls `begin` in `responseheaders` and `finish` when it writes the terminal event.
"""

import asyncio
from dataclasses import replace

from mitmproxy import http

from addons.core import exchange
from addons.core.audit import streamed, traffic
from addons.core.audit.chunks import ChunkRecorder, ContentMask
from addons.core.audit.events import Event
from addons.core.audit.log import AuditLog
from addons.core.audit.traffic import Ending, Seen, level_of
from addons.core.errors import AuditError
from addons.core.exchange import Exchange, Redactor
from addons.host import evidence, gate
from addons.host.runtime import Runtime
from addons.host.streams import StreamGuard

type Told = tuple[
    Seen, Ending, Redactor, int, bool
]  # what was seen, how it ended, the storage mask, the body cap, whether there is an intent


async def begin(runtime: Runtime, flow: http.HTTPFlow, stream: StreamGuard, log: AuditLog, redactor: Redactor) -> None:
    """Make the beginning durable, then let the stream pass."""
    assert flow.response is not None and runtime.clock is not None
    snapshot, record = runtime.snapshot_of(flow), exchange.read(flow.metadata)
    status = flow.response.status_code
    seen = evidence.seen(flow, record, snapshot, ending=Ending("ResponseStarted", status), key=log.evidence_key)
    await log.append(await asyncio.to_thread(streamed.started, record, seen, status, redactor))
    keeps = level_of(record) == "RequestResponse"
    content: ContentMask | None = stream.stored() if keeps else None
    recorder = ChunkRecorder(log.append, streamed.chunk_core(record), content, snapshot.gateway.audit.body_cap, stream.cut)
    service = snapshot.gateway.services[record.service or ""]
    expires = record.principal.expires_at if record.principal is not None else 0.0
    stream.begin(recorder, until=expires + service.outlive_token if expires else None, idle=service.idle_timeout, now=runtime.clock.now())


async def finish(flow: http.HTTPFlow, stream: StreamGuard, record: Exchange, told: Told) -> Event:
    """Write what is left of the pieces; return the terminal event with what is said of the whole in place of a body."""
    seen, ending, redactor, cap, has_intent = told
    stream.stop_clocks()
    facts = {**await closed(stream), "hmac": stream.sent.proof()["hmac"]}
    trailers = flow.response.trailers if flow.response is not None else None
    fields = [(n.decode("latin-1"), v.decode("utf-8", "backslashreplace")) for n, v in trailers.fields] if trailers else []
    seen = replace(streamed.without_body(seen), received=stream.received.proof())
    ending = replace(ending, size=stream.sent.size)

    def build() -> Event:
        event = traffic.terminal(record, seen, ending, redactor, cap, has_intent=has_intent)
        return streamed.ended(event, facts, fields, redactor, record.service)

    return await asyncio.to_thread(build)


async def close_books(flow: http.HTTPFlow, record: Exchange) -> None:
    """Write what the stream masked into the record. One that was refused before its head left is only stopped."""
    stream = gate.of(flow).stream
    if stream is None:
        return
    if stream.has_begun:
        stream.books(record)
        return
    stream.stop_clocks()
    if stream.recorder is not None:
        await closed(stream)


async def closed(stream: StreamGuard) -> dict[str, object]:
    """End the recording. A stream that was cut ends also when its last pieces could not be written: it says so."""
    if stream.recorder is None:
        return {"length": 0}
    try:
        return await stream.recorder.close()
    except AuditError:
        if stream.error is None:
            raise
        return {**stream.recorder.facts(), "unrecorded": True}


def stream_of(flow: http.HTTPFlow) -> StreamGuard | None:
    """The stream that this flow's answer passed through; None when it did not begin to pass."""
    stream = gate.of(flow).stream
    return stream if stream is not None and stream.has_begun else None
