"""A real OpenID provider (npm `oidc-provider`, certified): one client's tokens pass, another client's do not."""

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from addons.core.clock import SystemClock
from addons.core.errors import AuthenticationError, GuardhouseError
from addons.core.identity.jwks import KeySets
from addons.core.identity.presented import pick
from addons.core.identity.verify import Verifier
from tests.parts.identity import AUDIENCE, issuer, snapshot

pytestmark = pytest.mark.oidc

PARTS = Path(__file__).parents[3] / "parts" / "oidc"
INSTALLED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guardhouse-tests" / "oidc"


@pytest.fixture(scope="module")
def provider():
    """The provider's address; it runs as long as the module's tests do."""
    node = shutil.which("node")
    if node is None or not (INSTALLED / "node_modules" / "oidc-provider").is_dir():
        pytest.skip("the real OpenID provider is not here; install it with: bash tests/parts/oidc/install.sh")
    process = subprocess.Popen(
        [node, str(PARTS / "provider.mjs")], cwd=INSTALLED, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = process.stdout.readline().strip()
    if not address:
        process.kill()
        pytest.fail(process.communicate()[1][-2000:])
    yield address
    process.terminate()
    process.communicate(timeout=10)


def token(provider: str, client: str, resource: str = AUDIENCE) -> str:
    """An access token by client credentials, as any client library asks for it."""
    body = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": resource, "scope": "api"}).encode()
    basic = b64encode(f"{client}:{client}-secret".encode()).decode()
    request = urllib.request.Request(provider + "/token", body, {"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["access_token"]


def desk(provider: str, **terms):
    """A verifier that trusts this provider."""
    clock = SystemClock()
    trusted = issuer(issuer=provider, authorized_parties=("client-a",), max_token_lifetime=3600.0, **terms)
    return Verifier(clock, KeySets(clock)), snapshot(trusted)


async def verify(provider: str, text: str, **terms):
    verifier, configuration = desk(provider, **terms)
    try:
        return await verifier.verify(pick([("Authorization", f"Bearer {text}")]), configuration, "local", "127.0.0.1")
    finally:
        await verifier.close()


async def test_client_a_is_let_in(provider):
    principal = await verify(provider, token(provider, "client-a"))
    assert (principal.issuer_alias, principal.client_id, principal.subject, principal.kind) == ("corp", "client-a", "client-a", "service")


async def test_client_b_of_the_same_provider_is_not(provider):
    with pytest.raises(AuthenticationError) as caught:
        await verify(provider, token(provider, "client-b"))
    assert (caught.value.detail, caught.value.status) == ("authorized-party", 401)


async def test_a_token_for_another_audience_is_not(provider):
    with pytest.raises(AuthenticationError) as caught:
        await verify(provider, token(provider, "client-a", "https://other.example/"))
    assert caught.value.detail == "audience"


async def test_another_algorithm_of_the_provider_counts_only_where_it_is_listed(provider):
    rsa = token(provider, "client-a", "https://rsa.guardhouse.example/")
    with pytest.raises(GuardhouseError) as caught:
        await verify(provider, rsa, audiences=("https://rsa.guardhouse.example/",), signing_algorithms=("ES256",))
    assert caught.value.detail == "algorithm"
    principal = await verify(provider, rsa, audiences=("https://rsa.guardhouse.example/",))
    assert principal.client_id == "client-a"
