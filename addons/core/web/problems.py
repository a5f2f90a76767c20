"""Every error of the control plane as one shape: RFC 9457 problem+json, or a page for a browser that asked for one.

What nobody foresaw is answered 503 like everything Guardhouse could not decide; its text stays inside.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from addons.core.errors import GuardhouseError, problem_of

Render = Callable[[Request, GuardhouseError], Response]


class MethodNotAllowed(GuardhouseError):
    """The path is there; the method is not."""

    default_code = "method-not-allowed"
    default_message = "This address does not take that method."


class NotFound(GuardhouseError):
    """No such address, or nothing there for this caller."""

    default_code = "not-found"
    default_message = "There is no such thing, or it is not yours to see."


class Invalid(GuardhouseError):
    """The request body or a parameter is not what this address takes."""

    default_code = "invalid"
    default_message = "The request is not valid."


def install(app: FastAPI, render: Render) -> None:
    """Answer every error with a problem; `render` makes the page of a browser."""

    def answer(request: Request, error: GuardhouseError) -> Response:
        return render(request, error) if wants_page(request) else problem_response(error)

    async def on_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, GuardhouseError)
        return answer(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(request, of_http(error))

    async def on_parameter(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        places = ["/".join(str(part) for part in fault["loc"]) for fault in error.errors()]
        return answer(request, Invalid("A parameter is not valid.", extra={"errors": sorted(places)}))

    async def on_anything(request: Request, error: Exception) -> Response:
        return answer(request, GuardhouseError(detail=type(error).__name__))

    handlers: tuple[tuple[type[Exception], Callable[[Request, Exception], Awaitable[Response]]], ...] = (
        (GuardhouseError, on_ours),
        (HTTPException, on_http),
        (RequestValidationError, on_parameter),
        (Exception, on_anything),
    )
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)


def problem_response(error: GuardhouseError) -> JSONResponse:
    """The problem document as an answer."""
    problem = problem_of(error)
    return JSONResponse(problem.body, problem.status, problem.headers, media_type="application/problem+json")


def of_http(error: HTTPException) -> GuardhouseError:
    """A refusal of the framework as one of ours."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(headers=headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(headers=headers)
    return Invalid(status=error.status_code, headers=headers)


def wants_page(request: Request) -> bool:
    """True for a browser on one of our pages; REST and tools get JSON."""
    return not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("accept", "")
