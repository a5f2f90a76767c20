"""Health, readiness, metrics, metadata, and loading the policy files again.

Readiness says no while a request would be refused for a reason of ours, and says what an operator should not forget
(development mode, a service in observe mode) as long as it is so.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from addons.core.audit import events
from addons.core.errors import ConfigError
from addons.core.exchange import Principal
from addons.core.identity import metadata
from addons.core.web.access import Access
from addons.core.web.approvals import Nothing, takes
from addons.core.web.body import read_json
from addons.core.web.problems import Invalid, NotFound, problem_response
from addons.core.web.reading import principal_field
from addons.core.web.services import ControlServices


def routes(services: ControlServices, access: Access) -> APIRouter:
    """Health, readiness, metrics, reload."""
    router = APIRouter()

    @router.get("/healthz", summary="The process answers")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", summary="Requests would be served now; if not, why")
    async def readyz() -> Response:
        readiness = services.readiness()
        body = {"ready": readiness.is_ready, "problems": list(readiness.problems), "notes": list(readiness.notes)}
        return JSONResponse(body, 200 if readiness.is_ready else 503)

    @router.get(metadata.PATH, summary="Which issuers' tokens count for this control plane (RFC 9728)")
    async def own_metadata() -> Response:
        return JSONResponse(metadata.document(services.snapshot()))

    @router.get(metadata.PATH + "/{service}", summary="Which issuers' tokens count for a service behind the gateway (RFC 9728)")
    async def service_metadata(service: str) -> Response:
        told = metadata.document(services.snapshot(), service)
        if told is None:
            raise NotFound()
        return JSONResponse(told)

    @router.get("/metrics", summary="Counters for Prometheus")
    async def metrics(request: Request) -> Response:
        if not services.snapshot().gateway.control.unsafe_metrics_open:
            await access.with_role(request, "investigator", "admin")
        body, media_type = services.meters.text(services, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media_type})

    @router.post("/v1/reload", summary="Load the policy files again, all or none", openapi_extra=takes(Nothing))
    async def reload(request: Request) -> Response:
        who = await access.with_role(request, "admin")
        await read_json(request, Nothing)
        await services.store.append(told_of(who, "reload-asked"))
        try:
            snapshot = await services.reload()
        except ConfigError as error:
            return problem_response(
                Invalid("The policy files cannot be used; the old ones stay in force.", extra={"problems": told(error)})
            )
        await services.store.append(told_of(who, "reloaded", snapshot.digest))
        return JSONResponse({"digest": snapshot.digest, "warnings": list(snapshot.warnings)})

    return router


def told_of(who: Principal, verb: str, digest: str | None = None) -> events.Event:
    """Who had the files loaded again, and what they say now."""
    return events.make("Mark", "config", {"verb": verb, "policy_digest": digest}, {"principal": principal_field(who)})


def told(error: ConfigError) -> list[dict[str, str]]:
    """Every problem of the files, for the admin who asked."""
    return [{"where": problem.where, "problem": problem.problem, "hint": problem.hint} for problem in error.problems]
