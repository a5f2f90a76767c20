"""What the REST interface takes and answers: OpenAPI for programs, and rows for a page of our own.

The framework derives paths, parameters and bodies from the code itself. What it guesses wrong is put right here: every
refusal is a problem document (RFC 9457) and never the framework's own, and who may call what. Nothing in it is of this
site, so it needs no sign-in: it is the same for every gateway of this version.
"""

from typing import Any

from fastapi import FastAPI

VERSION = "1"  # of the interface (the /v1 in the paths), not of the program
ANYBODY = "anybody"
WHO: dict[str, tuple[str, ...]] = {  # the first entry that a path begins with
    ANYBODY: ("/healthz", "/readyz", "/.well-known/", "/v1/openapi.json"),
    "a signed integration": ("/v1/webhooks/",),
    "investigator": ("/v1/search", "/v1/flows/", "/v1/tree", "/v1/sessions", "/v1/export"),
    "admin": ("/v1/keys", "/v1/reload"),
    "investigator or admin": ("/metrics",),
    "reviewer or requester": ("/v1/approvals",),
}
TAGS: dict[str, tuple[str, ...]] = {
    "Approvals": ("/v1/approvals", "/v1/webhooks/"),
    "Evidence": ("/v1/search", "/v1/flows/", "/v1/tree", "/v1/sessions", "/v1/export"),
    "API keys": ("/v1/keys",),
    "Operation": ("/healthz", "/readyz", "/metrics", "/v1/reload"),
    "Finding your way": ("/.well-known/", "/v1/openapi.json"),
}
MEDIA = {"/v1/export": "application/x-ndjson", "/metrics": "text/plain"}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "urn:guardhouse:problem:CODE"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "A documented slug (addons/README.md, Refusals)"},
        "detail": {"type": "string", "description": "What is wrong, and what to send instead"},
    },
}
INTRODUCTION = (
    "The control plane of Guardhouse. Send an access token for this control plane as `Authorization: Bearer TOKEN`; a cookie is no credential. "
    "Every refusal is a problem document (RFC 9457) with a `code`. Looking at evidence is itself recorded before the answer is made."
)


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of the application."""
    made: dict[str, Any] = app.openapi()
    made["info"] = {"title": "Guardhouse control plane", "version": VERSION, "description": INTRODUCTION}
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    made["tags"] = [{"name": name} for name in TAGS]
    for path, calls in made["paths"].items():
        for call in calls.values():
            _correct(path, call)
            schemas |= _schema(call).pop("$defs", {})
    return made


def rows(description: dict[str, Any]) -> list[dict[str, Any]]:
    """The same for people: each area with its calls."""
    areas: dict[str, list[dict[str, Any]]] = {name: [] for name in TAGS}
    for path, calls in description["paths"].items():
        for method, call in calls.items():
            areas[call["tags"][0]].append(
                {
                    "method": method.upper(), "path": path, "summary": call["summary"], "who": call["x-guardhouse-who"],
                    "parameters": [_parameter(one) for one in call.get("parameters", ())], "body": _body(call),
                }
            )  # fmt: skip
    return [{"name": name, "calls": calls} for name, calls in areas.items()]


def who_may(path: str) -> str:
    """Whose token a call takes."""
    return _first(WHO, path)


def _correct(path: str, call: dict[str, Any]) -> None:
    who = who_may(path)
    call["x-guardhouse-who"] = who
    call["tags"] = [_first(TAGS, path)]
    call["security"] = [] if who in (ANYBODY, "a signed integration") else [{"token": []}]
    responses = call["responses"]
    responses.pop("422", None)
    for status, response in responses.items():
        response["description"] = "Done" if status == "204" else "The answer"
        if path in MEDIA:
            response["content"] = {MEDIA[path]: {"schema": {"type": "string"}}}
    responses["default"] = {
        "description": "A refusal: what is wrong, and what to send instead",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _first(table: dict[str, tuple[str, ...]], path: str) -> str:
    return next(name for name, starts in table.items() if path.startswith(starts))


def _parameter(told: dict[str, Any]) -> dict[str, Any]:
    return {"name": told["name"], "place": told["in"], "is_required": told.get("required", False), "type": _type(told.get("schema", {}))}


def _body(call: dict[str, Any]) -> list[dict[str, Any]]:
    schema = _schema(call)
    required = schema.get("required", ())
    return [{"name": name, "is_required": name in required, "type": _type(told)} for name, told in schema.get("properties", {}).items()]


def _schema(call: dict[str, Any]) -> dict[str, Any]:
    """What a call takes as its body."""
    found: dict[str, Any] = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return " | ".join(str(one) for one in schema.get("enum", (schema.get("const"),)))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [f"{word} {schema[name]}" for name, word in BOUNDS if name in schema]
    return ", ".join([schema.get("type", "object"), *bounds])


BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "more than"), ("maximum", "at most"), ("maxLength", "at most"))
