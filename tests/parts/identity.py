"""A small true OpenID provider for tests: real keys, real signatures, a key set that can rotate, and an off switch."""

import base64
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.api_jws import PyJWS
from mitmproxy import http

from addons.core.config import model
from addons.core.exchange import Principal
from addons.core.identity.fetch import FetchError
from addons.core.identity.jwks import KeySets
from addons.core.identity.presented import Presented
from addons.core.identity.verify import Verifier
from addons.core.services.credentials.keyring import KeyRing
from addons.host.fail_closed import guard
from addons.identity import Identity
from addons.session import Session
from tests import harness

ISSUER = "https://idp.example/"
AUDIENCE = "https://guardhouse.example/"
CONTROL = "https://control.guardhouse.example/"


@lru_cache(maxsize=32)
def private_key(kind: str, name: str = "") -> Any:
    """A private key of this kind, made once per test run and name."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:] or 2048))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[kind])


def public_jwk(key: Any) -> dict[str, Any]:
    """The public half as a JWK."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        return dict(RSAAlgorithm.to_jwk(public, as_dict=True))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return dict(OKPAlgorithm.to_jwk(public, as_dict=True))
    return dict(ECAlgorithm.to_jwk(public, as_dict=True))


class Provider:
    """Signs whatever it is told to, and serves its public keys. `down` makes every fetch fail."""

    def __init__(self, clock: harness.FakeClock, issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self.clock = clock
        self.keys: dict[str, tuple[Any, dict[str, Any]]] = {}
        self.fetched: list[str] = []
        self.down = False
        self.delay = 0.0
        self.raw_set: bytes | None = None
        self.raw_discovery: bytes | None = None
        self.add("k1", "P-256")

    def add(self, kid: str, kind: str, **members: Any) -> None:
        """Publish a further key."""
        key = private_key(kind, kid)
        self.keys[kid] = (key, {**public_jwk(key), "kid": kid, "use": "sig", **members})

    def remove(self, kid: str) -> None:
        """Take a key back."""
        del self.keys[kid]

    def fetch(self, url: str, timeout: float, max_size: int) -> bytes:
        """What the key engine calls, in a thread."""
        self.fetched.append(url)
        if self.delay:
            time.sleep(self.delay)
        if self.down:
            raise FetchError("down")
        if url.endswith("/.well-known/openid-configuration"):
            return self.raw_discovery or json.dumps({"issuer": self.issuer, "jwks_uri": self.issuer.rstrip("/") + "/jwks"}).encode()
        return self.raw_set or json.dumps({"keys": [jwk for _, jwk in self.keys.values()]}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Right claims, with these changed; a change to `...` leaves the claim out."""
        now = int(self.clock.now())
        told = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "alice",
            "client_id": "cli",
            "iat": now,
            "exp": now + 600,
            "jti": "t-1",
            "groups": ["sre"],
        }
        return {name: value for name, value in {**told, **changes}.items() if value is not ...}

    def token(
        self, header: Mapping[str, Any] | None = None, payload: bytes | None = None, kid: str = "k1", alg: str = "ES256", **changes: Any
    ) -> str:
        """A token with a right header and right claims, but for what is changed."""
        told = {"alg": alg, "kid": kid, "typ": "at+jwt", **(header or {})}
        told = {name: value for name, value in told.items() if value is not ...}
        body = json.dumps(self.claims(**changes)).encode() if payload is None else payload
        return sign(json.dumps(told).encode(), body, self.keys[kid][0] if kid in self.keys else private_key("P-256", "stranger"), alg)


def b64(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def sign(header: bytes, payload: bytes, key: Any, alg: str) -> str:
    """A JWT over exactly these bytes."""
    signed = b64(header) + b"." + b64(payload)
    algorithm = PyJWS().get_algorithm_by_name(alg)
    return (signed + b"." + b64(algorithm.sign(signed, key))).decode()


def issuer(**changes: Any) -> model.Issuer:
    """The issuer's terms as a file would have them."""
    terms = model.Issuer(
        name="corp", preset="oidc", issuer=ISSUER, audiences=(AUDIENCE,),
        kinds=(model.KindRule("agent", clients=("agent-cli",)), model.KindRule("human", claim="user_type", value="employee")),
    )  # fmt: skip
    return replace(terms, **changes)


def snapshot(*issuers: model.Issuer, digest: str = "", **identity: Any) -> model.Snapshot:
    """A Snapshot with these issuers."""
    made = harness.snapshot(identity=model.Identity(public_url=AUDIENCE.rstrip("/"), issuers=issuers or (issuer(),), **identity))
    return replace(made, digest=digest) if digest else made


class Desk:
    """A verifier with its provider and clock, for the test of one token at a time."""

    def __init__(self, *issuers: model.Issuer, **identity: Any) -> None:
        self.clock = harness.FakeClock()
        self.provider = Provider(self.clock)
        self.snapshot = snapshot(*issuers, **identity)
        self.keysets = KeySets(self.clock, self.provider.fetch, jitter=lambda: 0.0)
        self.verifier = Verifier(self.clock, self.keysets)

    async def verify(
        self, token: str, listener: str = "local", peer: str = "192.0.2.1", configuration: model.Snapshot | None = None
    ) -> Principal:
        """Verify a bearer token on the data path."""
        return await self.verifier.verify(Presented("bearer", token), configuration or self.snapshot, listener, peer)


class Front:
    """The steps that say who asks and why, guarded as in the stack: what an attacker meets first."""

    def __init__(self, *issuers: model.Issuer, **identity: Any) -> None:
        self.desk = Desk(*(issuers or (issuer(),)), **identity)
        self.runtime = harness.runtime(self.desk.snapshot, self.desk.clock)
        self.runtime.keys = KeyRing(b"k" * 32, {})
        self.runtime.identity = self.desk.verifier
        self.steps = [guard(Identity(self.runtime)), guard(Session(self.runtime))]

    async def send(
        self, headers: Iterable[tuple[str, str]], path: str = "/customers", purpose: str = "support/1", body: bytes = b""
    ) -> http.HTTPFlow:
        """Pass the headers of one request; the flow is answered when it was refused."""
        flow = harness.live_flow("POST" if body else "GET", path, [*headers, ("X-Purpose", purpose)], body)
        for step in self.steps:
            await step.requestheaders(flow)
        return flow

    async def finish(self, flow: http.HTTPFlow) -> http.HTTPFlow:
        """The body is there."""
        await self.steps[0].request(flow)
        return flow


def bearer(token: str) -> tuple[str, str]:
    """The header that carries a token."""
    return ("Authorization", f"Bearer {token}")
