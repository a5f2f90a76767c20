"""REST for approvals: list, look, decide, withdraw; and the signed webhooks.

Only POST decides. The desk says whether a vote counts; this file moves values between a request and one call of it.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from addons.core.approval.decide import Vote, voter_of
from addons.core.web.access import Access
from addons.core.web.body import Strict, read_json
from addons.core.web.services import ControlServices

MAX_WAIT = 30.0  # seconds of a long poll: below the 60 s at which common proxies give up
MAX_PAGE = 50  # as many as the desk hands out at once
SCHEMAS = "#/components/schemas/{model}"  # where the description keeps the parts of a body
State = Literal["pending", "approved", "denied", "expired", "cancelled", "consumed"]


class OneTime(Strict):
    """The only grant there is so far: once, for these exact bytes."""

    kind: Literal["one_time"]


class Decision(Strict):
    """What a person says about an approval."""

    effect: Literal["approve", "deny"]
    digest: Annotated[str, Field(max_length=100)]  # the whole digest of the card; another one is a 409
    reason: Annotated[str, Field(max_length=1000)] = ""
    grant: OneTime | None = None


class Nothing(Strict):
    """An empty object."""


def routes(services: ControlServices, access: Access) -> APIRouter:
    """The approvals' part of /v1."""
    router = APIRouter(prefix="/v1")
    desk = services.holds

    @router.get("/approvals", summary="What you may decide, and what you asked for")
    async def list_approvals(
        request: Request,
        state: State | None = None,
        service: Annotated[str | None, Query(max_length=100)] = None,
        mine: bool = False,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        viewer = voter_of(await access.bearer(request))
        cards = await desk.cards(viewer, state=state, service=service, mine=mine, limit=limit, before=before)
        more = cards[-1].id if len(cards) == limit else None
        return JSONResponse({"approvals": [card.plain() for card in cards], "next": more})

    @router.get("/approvals/{approval_id}", summary="One approval; waits until it changes")
    async def show_approval(
        request: Request,
        approval_id: str,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT, allow_inf_nan=False)] = 0.0,
        version: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        viewer = voter_of(await access.bearer(request))
        card = await desk.card(approval_id, viewer, wait=wait, version=version)
        return JSONResponse(card.plain())

    @router.get("/approvals/{approval_id}/status", summary="How your own held request stands (a token of the data path counts)")
    async def approval_status(request: Request, approval_id: str) -> Response:
        principal = await access.requester(request)
        status = dict(await desk.status(approval_id, principal.asker_key))
        after = status.get("retry_after")
        return JSONResponse(status, headers={} if after is None else {"Retry-After": str(after)})

    @router.post("/approvals/{approval_id}/decision", summary="Approve or deny", openapi_extra=takes(Decision))
    async def decide(request: Request, approval_id: str) -> Response:
        principal = await access.bearer(request)
        said = await read_json(request, Decision)
        vote = Vote(approval_id, said.digest, said.effect, said.reason, voter_of(principal), channel="rest")
        return JSONResponse((await desk.decide(vote)).plain())

    @router.post("/approvals/{approval_id}/cancel", summary="Withdraw your own request", openapi_extra=takes(Nothing))
    async def cancel(request: Request, approval_id: str) -> Response:
        principal = await access.bearer(request)
        await read_json(request, Nothing)
        return JSONResponse((await desk.cancel(approval_id, voter_of(principal))).plain())

    @router.post("/webhooks/{integration}", status_code=204, summary="A signed decision of an integration (Standard Webhooks)")
    async def webhook(request: Request, integration: str) -> Response:
        await desk.webhook(integration, single_headers(request), await request.body())
        return Response(status_code=204)

    return router


def single_headers(request: Request) -> dict[str, str]:
    """The headers by name; a name that came twice is joined, so that neither of two values passes for the one."""
    names = {name.lower() for name in request.headers}
    return {name: ", ".join(request.headers.getlist(name)) for name in names}


def takes(model: type[Strict]) -> dict[str, object]:
    """The OpenAPI description of a body that `read_json` reads."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema(ref_template=SCHEMAS)}}}}
