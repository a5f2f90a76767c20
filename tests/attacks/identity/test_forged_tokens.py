"""A token that nobody at the provider signed for us: forged, confused, somebody else's, or made for another job."""

import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import serialization

from addons.core import exchange
from addons.host import gate
from tests.parts.identity import AUDIENCE, ISSUER, Front, b64, bearer, issuer, private_key, public_jwk, sign

HEADER = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}


def signed(front: Front, header: dict, key, alg: str = "ES256", **changes) -> str:
    return sign(json.dumps({**HEADER, **header}).encode(), json.dumps(front.desk.provider.claims(**changes)).encode(), key, alg)


def unsigned(front: Front, alg: str) -> str:
    return (
        f"{b64(json.dumps({**HEADER, 'alg': alg}).encode()).decode()}.{b64(json.dumps(front.desk.provider.claims()).encode()).decode()}.AA"
    )


def public_key_as_secret(front: Front) -> str:
    public = private_key("P-256", "k1").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = b64(json.dumps({**HEADER, "alg": "HS256"}).encode()) + b"." + b64(json.dumps(front.desk.provider.claims()).encode())
    return (body + b"." + b64(hmac.digest(pem, body, hashlib.sha256))).decode()


OWN = private_key("P-256", "attacker")
ATTACKS = [
    pytest.param(lambda f: unsigned(f, "none"), id="alg-none"),
    pytest.param(lambda f: unsigned(f, "NoNe"), id="alg-none-in-another-case"),
    pytest.param(public_key_as_secret, id="public-key-as-hmac-secret"),
    pytest.param(lambda f: signed(f, {}, OWN), id="signed-by-somebody-else"),
    pytest.param(lambda f: signed(f, {"jwk": public_jwk(OWN)}, OWN), id="brings-its-own-key"),
    pytest.param(lambda f: signed(f, {"jku": "https://evil.example/jwks"}, OWN), id="brings-the-address-of-its-key"),
    pytest.param(lambda f: signed(f, {"kid": "../../dev/null"}, OWN), id="key-name-as-a-path"),
    pytest.param(lambda f: signed(f, {"kid": "k1' UNION SELECT 'x"}, OWN), id="key-name-as-sql"),
    pytest.param(lambda f: f.desk.provider.token(aud="https://payroll.example/"), id="for-another-application"),
    pytest.param(lambda f: f.desk.provider.token(aud=[AUDIENCE + "x", AUDIENCE.rstrip("/")]), id="for-almost-us"),
    pytest.param(lambda f: f.desk.provider.token(iss=ISSUER + "evil"), id="of-almost-the-issuer"),
    pytest.param(lambda f: f.desk.provider.token({"typ": "JWT"}, nonce="n", at_hash="h"), id="an-id-token"),
    pytest.param(
        lambda f: f.desk.provider.token({"typ": "logout+jwt"}, events={"http://schemas.openid.net/event/backchannel-logout": {}}),
        id="a-logout-token",
    ),
    pytest.param(lambda f: f.desk.provider.token({"typ": "dpop+jwt"}), id="a-proof"),
    pytest.param(lambda f: f.desk.provider.token({"crit": ["b64"], "b64": False}), id="a-detached-payload"),
    pytest.param(lambda f: f.desk.provider.token({"zip": "DEF"}), id="a-compressed-payload"),
    pytest.param(
        lambda f: f.desk.provider.token(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}), id="stolen-but-bound-to-a-key"
    ),
    pytest.param(lambda f: f.desk.provider.token(sub="alice\r\nX-Remote-User: root"), id="crlf-in-the-name"),
    pytest.param(
        lambda f: f.desk.provider.token(payload=json.dumps(f.desk.provider.claims()).encode()[:-1] + b',"sub":"root"}'), id="two-subjects"
    ),
    pytest.param(lambda f: f.desk.provider.token(exp=True), id="expires-never"),
]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_it_is_refused_and_makes_nobody(attack):
    front = Front()
    flow = await front.send([bearer(attack(front))])
    assert flow.response.status_code == 401
    assert flow.response.headers["www-authenticate"].startswith('Bearer realm="guardhouse", error="invalid_token"')
    assert exchange.read(flow.metadata).principal is None
    assert not [url for url in front.desk.provider.fetched if not url.startswith(ISSUER)]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_caller_does_not_learn_which_check_failed(attack):
    front = Front()
    flow = await front.send([bearer(attack(front))])
    detail = gate.of(flow).refusal.detail
    assert detail
    told = flow.response.text + str(flow.response.headers)
    assert detail == "audience" or f'"{detail}"' not in told
    assert "alice" not in told and "root" not in told.replace("www-authenticate", "")


async def test_an_agent_with_a_persons_login_is_an_agent_and_a_login_proves_no_person():
    for changes, kind in (
        ({"client_id": "agent-cli", "user_type": "employee", "auth_time": 1_700_000_000, "amr": ["pwd", "otp"]}, "agent"),
        ({"auth_time": 1_700_000_000, "amr": ["pwd"], "name": "Alice", "email": "alice@corp.example"}, "service"),
    ):
        front = Front()
        flow = await front.send([bearer(front.desk.provider.token(**changes))])
        assert exchange.read(flow.metadata).principal.kind == kind


async def test_a_token_for_one_plane_does_not_open_the_other():
    control = "https://control.guardhouse.example/"
    front = Front(issuer())
    flow = await front.send([bearer(front.desk.provider.token(aud=control))])
    assert (flow.response.status_code, gate.of(flow).refusal.detail) == (401, "audience")
