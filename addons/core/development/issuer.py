"""The development issuer: a small OpenID provider for the people of the `unsafe_development` block, and nobody else.

Whoever reaches it gets any of these people's tokens without a password. So it exists only with that block, listens only
on a loopback literal, answers only to its own address as Host (a web page that rebinds a name does not reach it), and
signs with a key made at start and kept in memory: a token of an earlier start is refused.
"""

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from addons.core.config.model import Development, DevelopmentPerson
from addons.core.wire import strict_json

MAX_MINUTES = 60
DEFAULT_MINUTES = 60
MAX_BODY = 4096
CLIENT = "guardhouse-dev"


class TokenRequestError(ValueError):
    """The request for a token cannot be met. The text says why."""


class DevelopmentIssuer:
    """Signs access tokens (RFC 9068) for the block's people."""

    def __init__(self, development: Development, issuer: str, audiences: tuple[str, ...], now: Callable[[], float] = time.time) -> None:
        self.issuer = issuer
        self.people = development.people
        self._audiences = audiences
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = "dev-" + secrets.token_hex(8)

    def key_set(self) -> dict[str, Any]:
        """The public key of this start."""
        public = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self._kid, "use": "sig", "alg": "ES256"}]}

    def discovery(self) -> dict[str, Any]:
        """The discovery document, as far as somebody who checks tokens needs it."""
        return {
            "issuer": self.issuer,
            "jwks_uri": self.issuer.rstrip("/") + "/jwks",
            "token_endpoint": self.issuer.rstrip("/") + "/token",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def token(self, name: str, minutes: float = DEFAULT_MINUTES, audience: str | None = None, purpose: str | None = None) -> str:
        """Mint a token for one of the block's people, for every audience of ours unless one is named. Raises TokenRequestError for anybody else."""
        person = self.people.get(name)
        if person is None:
            raise TokenRequestError(f"people of the unsafe_development block: {', '.join(sorted(self.people))}")
        if not 0 < minutes <= MAX_MINUTES:
            raise TokenRequestError(f"minutes: more than 0, at most {MAX_MINUTES}")
        if audience is not None and audience not in self._audiences:
            raise TokenRequestError(f"audiences: {', '.join(self._audiences)}")
        issued = int(self._now())
        told = {
            "iss": self.issuer,
            "aud": audience or list(self._audiences),
            "iat": issued,
            "exp": issued + int(minutes * 60),
            "jti": secrets.token_hex(16),
            **claims_of(person),
        }
        if person.kind == "human":
            told |= {"auth_time": issued, "amr": ["dev"]}
        if purpose is not None:
            told["purpose"] = purpose
        return jwt.encode(told, self._key, algorithm="ES256", headers={"typ": "at+jwt", "kid": self._kid})


def claims_of(person: DevelopmentPerson) -> dict[str, Any]:
    """Who a person's token says it is: somebody who acts for another has the other as `sub` and itself as `act`."""
    told: dict[str, Any] = {
        "sub": person.on_behalf_of or person.name,
        "client_id": person.client or CLIENT,
        "kind": person.kind,
        "groups": list(person.groups),
    }
    if person.on_behalf_of is not None:
        told["act"] = {"sub": person.name}
    return told


def make_app(issuer: DevelopmentIssuer, host: str) -> Starlette:
    """The issuer over HTTP. `host` is the only Host it answers to."""

    def guarded(answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return answer(request) if request.headers.get("host") == host else JSONResponse({"error": "wrong host"}, 421)

        return endpoint

    async def token(request: Request) -> Response:
        if request.headers.get("host") != host:
            return JSONResponse({"error": "wrong host"}, 421)
        if request.headers.get("content-type", "").split(";")[0] != "application/json":  # a web page cannot send this without asking first
            return _refused("send application/json")
        try:
            return JSONResponse(_granted(issuer, await _small_body(request)), headers={"Cache-Control": "no-store"})
        except (TokenRequestError, strict_json.StrictJsonError) as error:
            return _refused(str(error))

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", guarded(lambda _: JSONResponse(issuer.discovery()))),
            Route("/jwks", guarded(lambda _: JSONResponse(issuer.key_set()))),
            Route("/token", token, methods=["POST"]),
        ]
    )


def _granted(issuer: DevelopmentIssuer, body: bytes) -> dict[str, Any]:
    asked = strict_json.load_object(body)
    if set(asked) - {"name", "minutes", "audience", "purpose"}:
        raise TokenRequestError("members: name, minutes, audience, purpose")
    name, minutes = asked.get("name"), asked.get("minutes", DEFAULT_MINUTES)
    texts = [asked.get(member) for member in ("audience", "purpose")]
    if not isinstance(name, str) or isinstance(minutes, bool) or not isinstance(minutes, int | float):
        raise TokenRequestError("name is a string, minutes a number")
    if any(text is not None and not isinstance(text, str) for text in texts):
        raise TokenRequestError("audience and purpose are strings")
    token = issuer.token(name, minutes, *texts)
    return {"access_token": token, "token_type": "Bearer", "expires_in": int(minutes * 60)}


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TokenRequestError(f"at most {MAX_BODY} bytes")
    return body


def _refused(why: str) -> Response:
    return Response(json.dumps({"error": "invalid_request", "error_description": why}), 400, media_type="application/json")
