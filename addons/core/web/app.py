"""The control plane as one application: REST, webhooks, pages, health.

Built from a `ControlServices` and nothing else, so that a test drives the very application that the shell serves. The
framework's own documentation pages are off, since they load scripts from elsewhere; the description of the REST
interface is served as JSON and as a page of our own.
"""

import asyncio
from functools import lru_cache
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from addons.core.errors import GuardhouseError
from addons.core.web import approvals, description, keys, operating, pages, problems, reading
from addons.core.web.access import Access
from addons.core.web.door import App, Door
from addons.core.web.render import Pages
from addons.core.web.services import ControlServices


def make_app(services: ControlServices) -> App:
    """Return the ASGI application. What it does not foresee it answers 503 and then raises, for the host to log."""
    app = FastAPI(title="Guardhouse control plane", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    access = Access(services)
    drawn = Pages()

    def render(request: Request, error: GuardhouseError) -> Response:
        return pages.problem_page(services, drawn, error)

    problems.install(app, render)
    for router in (
        operating.routes(services, access),
        approvals.routes(services, access),
        reading.routes(services, access),
        keys.routes(services, access),
        pages.routes(services, access, drawn),
    ):
        app.include_router(router)

    @app.get("/v1/openapi.json", summary="This description, as OpenAPI")
    async def openapi() -> Response:
        return JSONResponse(described())

    @app.get("/api", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await asyncio.to_thread(pages.api_page, services, drawn, description.rows(described()))

    @lru_cache(maxsize=1)
    def described() -> dict[str, Any]:
        return description.describe(app)

    return Door(app, lambda: services.snapshot().gateway.control, access.admit)
