"""REST for investigators: search, look at one flow, list sessions, export.

Looking at evidence is itself an event: who looked, at what, and why is durable *before* the answer is made, and when it
cannot be written there is no answer. What was asked is masked before it is written, for a search often holds the very
value it looks for. Reading runs in threads on read-only connections beside the writer, a few at a time.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from addons.core.audit import events
from addons.core.audit.query import QueryError
from addons.core.errors import AuditError
from addons.core.exchange import Principal
from addons.core.web import records
from addons.core.web.access import Access
from addons.core.web.problems import Invalid, NotFound
from addons.core.web.services import ControlServices

ROLE = "investigator"
MAX_HITS = 500
MAX_QUERY = 2000
MAX_ID = 256  # a session id is at most 128 characters; trace and flow ids are shorter
AT_ONCE = 4  # readings in parallel: each is a thread and a read transaction
Text = Annotated[str, Query(max_length=MAX_QUERY)]
Reason = Annotated[str, Query(max_length=1000)]


class Reading:
    """Reads the store for somebody, after writing down that they asked."""

    def __init__(self, services: ControlServices, access: Access) -> None:
        self._services = services
        self._access = access
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def recorded(self, request: Request, kind: str, verb: str, query: str, reason: str) -> Principal:
        """Check the role, and make the event durable. Raises before anything is read."""
        principal = await self._access.with_role(request, ROLE)
        if self._services.snapshot().gateway.control.require_reason and not reason.strip():
            raise Invalid("Say why: control.require_reason is on. Add ?reason=... (--reason on the command line).")
        await self._services.store.append(await self._event(principal, kind, verb, query, reason))
        return principal

    async def answer[T](self, read: Callable[[], T]) -> T:
        """Run one reading in a thread. A query that cannot be understood is 422, a flow that is not there 404."""
        async with self._slots:
            try:
                return await asyncio.to_thread(read)
            except QueryError as error:
                raise Invalid(str(error)) from error
            except records.NothingThere as error:
                raise NotFound() from error
            except records.Unreadable as error:
                raise AuditError(f"The store cannot be read: {error}. Run guardhouse verify.") from error

    async def lines(self, rows: Iterator[dict[str, Any]], first: dict[str, Any] | None) -> Any:
        """Yield rows as JSON lines, each piece read in a thread."""
        row = first
        while row is not None:
            yield encoded(row) + b"\n"
            row = await self.answer(lambda: next(rows, None))

    async def _event(self, principal: Principal, kind: str, verb: str, query: str, reason: str) -> events.Event:
        masked = await asyncio.to_thread(lambda: (self._services.redact(query), self._services.redact(reason)))
        fields: dict[str, bytes | None] = {
            "principal": principal_field(principal),
            "query": masked[0].encode("utf-8", "backslashreplace") or None,
            "reason": masked[1].encode("utf-8", "backslashreplace") or None,
        }
        return events.make("Mark", kind, {"verb": verb}, fields)


class Recorded(JSONResponse):
    """What was recorded, whatever that is: no caller makes their own traces unreadable."""

    def render(self, content: Any) -> bytes:
        return encoded(content)


def encoded(content: Any) -> bytes:
    """JSON in UTF-8. A lone surrogate, which UTF-8 cannot hold, becomes the escape that JSON has for it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def principal_field(principal: Principal) -> bytes:
    """Who did it, as events have it."""
    names = {"issuer": principal.issuer, "issuer_alias": principal.issuer_alias, "subject": principal.subject, "kind": principal.kind}
    return events.json_field(
        {**names, "groups": list(principal.groups), "actors": [{"issuer": a.issuer, "subject": a.subject} for a in principal.actors]}
    )


def routes(services: ControlServices, access: Access) -> APIRouter:
    """The investigators' part of /v1."""
    router = APIRouter(prefix="/v1")
    reading = Reading(services, access)
    store = services.database

    @router.get("/search", summary="Events by facets, newest first")
    async def search(
        request: Request, q: Text = "", limit: Annotated[int, Query(ge=1, le=MAX_HITS)] = 50, before: Annotated[int | None, Query(ge=1)] = None, reason: Reason = ""
    ) -> Response:  # fmt: skip
        await reading.recorded(request, "read", "search", q, reason)
        return Recorded(await reading.answer(lambda: records.page(store, q, limit, before)))

    @router.get("/flows/{flow_id}", summary="One flow, or the flow of one event number, whole")
    async def flow(request: Request, flow_id: str, reason: Reason = "") -> Response:
        if len(flow_id) > 64:
            raise NotFound()
        await reading.recorded(request, "read", "show", flow_id, reason)
        return Recorded(await reading.answer(lambda: records.flow(store, flow_id)))

    @router.get("/tree", summary="The task tree of a trace, a session or a flow, with what does not fit")
    async def tree(request: Request, id: Annotated[str, Query(min_length=1, max_length=MAX_ID)], reason: Reason = "") -> Response:
        await reading.recorded(request, "read", "tree", id, reason)
        return Recorded(await reading.answer(lambda: records.tree(store, id)))

    @router.get("/sessions", summary="Sessions: who, why, from when to when, how much")
    async def sessions(request: Request, q: Text = "", reason: Reason = "") -> Response:
        await reading.recorded(request, "read", "sessions", q, reason)
        return Recorded({"sessions": await reading.answer(lambda: records.sessions(store, q))})

    @router.get("/export", summary="Everything a query finds, as JSON lines")
    async def export(request: Request, q: Text = "", format: Literal["jsonl", "flows"] = "jsonl", reason: Reason = "") -> Response:
        await reading.recorded(request, "export", "export", q, reason)
        rows = records.exported(store, q, format)
        first = await reading.answer(lambda: next(rows, None))  # a query that cannot be understood is refused before the 200
        return StreamingResponse(reading.lines(rows, first), media_type="application/x-ndjson")

    return router
