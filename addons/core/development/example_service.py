"""The example service: a small, true HTTP service with made-up customers, for the tour and for tests.

It believes only the gateway: everything but `/echo` and `/stats` wants the credential that the gateway injects. It
counts what really arrived (`/stats`), so that a test can say "nothing was sent" and mean it.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from addons.core.development import echo, sockets, streams
from addons.core.development.customers import CUSTOMERS
from addons.core.wire import strict_json

OPEN_PATHS = frozenset({"/echo", "/stats"})
COLUMNS = ("id", "name", "email", "phone", "city", "iban", "card", "ssn", "plan", "balance_cents")


class ExampleService:
    """Customers in memory, and a count of the calls that arrived."""

    def __init__(self, expected: Callable[[], str | None] = lambda: None) -> None:
        self.customers: dict[int, dict[str, Any]] = {customer["id"]: deepcopy(customer) for customer in CUSTOMERS}
        self.calls: Counter[str] = Counter()
        self._expected = expected

    def is_admitted(self, authorization: str | None) -> bool:
        """True when the caller holds the service's credential (or the service has none)."""
        expected = self._expected()
        return expected is None or authorization == expected

    def put(self, customer_id: int, told: dict[str, Any], keep: bool) -> dict[str, Any]:
        """Replace a customer, or change some of its fields."""
        known = self.customers.get(customer_id, {}) if keep else {}
        self.customers[customer_id] = {**known, **told, "id": customer_id}
        return self.customers[customer_id]

    def add(self, told: dict[str, Any]) -> dict[str, Any]:
        """Add a customer under the next id."""
        return self.put(max(self.customers, default=0) + 1, told, keep=False)


def make_app(service: ExampleService) -> Starlette:
    """The service over HTTP."""

    async def listed(request: Request) -> Response:
        if request.method == "POST":
            told = await _object(request)
            return JSONResponse({"error": "send an object"}, 400) if told is None else JSONResponse(service.add(told), 201)
        city = request.query_params.get("city")
        found = [customer for customer in service.customers.values() if city is None or customer.get("city") == city]
        return JSONResponse({"customers": found, "count": len(found)})

    async def one(request: Request) -> Response:
        customer_id = request.path_params["id"]
        if request.method == "PUT" or (request.method == "PATCH" and customer_id in service.customers):
            told = await _object(request)
            if told is None:
                return JSONResponse({"error": "send an object"}, 400)
            return JSONResponse(service.put(customer_id, told, keep=request.method == "PATCH"))
        if customer_id not in service.customers:
            return JSONResponse({"error": "no such customer"}, 404)
        if request.method == "DELETE":
            del service.customers[customer_id]
            return Response(status_code=204)
        return JSONResponse(service.customers[customer_id])

    async def export(request: Request) -> Response:
        if request.path_params["form"] == "json":
            return JSONResponse(list(service.customers.values()))
        return Response(_csv(service.customers.values()), media_type="text/csv; charset=utf-8")

    async def stats(_: Request) -> Response:
        return JSONResponse({"calls": dict(service.calls), "customers": sorted(service.customers)})

    app = Starlette(
        routes=[
            Route("/customers", listed, methods=["GET", "POST"]),
            Route("/customers/{id:int}", one, methods=["GET", "PUT", "PATCH", "DELETE"]),
            Route("/export/customers.{form}", export),
            Route("/echo", echo.answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
            Route("/stats", stats),
            *streams.ROUTES,
            sockets.route(service.is_admitted),
        ]
    )

    async def admit(request: Request, answer: RequestResponseEndpoint) -> Response:
        path = request.url.path
        if path != "/stats":
            service.calls[f"{request.method} {path}"] += 1
        if path not in OPEN_PATHS and not service.is_admitted(request.headers.get("authorization")):
            return JSONResponse({"error": "this service knows only its gateway"}, 401)
        return await answer(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=admit)
    return app


async def _object(request: Request) -> dict[str, Any] | None:
    try:
        return strict_json.load_object(await request.body())
    except strict_json.StrictJsonError:
        return None


def _csv(customers: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow((*COLUMNS, "notes"))
    for customer in customers:
        writer.writerow([*(customer.get(column) for column in COLUMNS), json.dumps(customer.get("notes", []), ensure_ascii=False)])
    return out.getvalue()
