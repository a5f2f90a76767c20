"""Every algorithm with every kind of key, and the classic confusions: only the configured pair counts, and nothing but a refusal comes out."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from jwt.api_jws import PyJWS

from addons.core.errors import GuardhouseError, TokenInvalid
from tests.parts.identity import Desk, b64, issuer, private_key, public_jwk, sign

KINDS = {"RSA2048": ("RS256", "PS256"), "P-256": ("ES256",), "P-384": ("ES384",), "Ed25519": ("EdDSA",)}
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
PAIRS = [pytest.param(kind, alg, id=f"{kind}-{alg}") for kind in KINDS for alg in ALGORITHMS]


@pytest.mark.parametrize(("kind", "alg"), PAIRS)
async def test_a_key_checks_only_the_algorithm_that_fits_it(kind, alg):
    desk = Desk()
    desk.provider.add("k2", kind)
    signer = next(name for name, fits in KINDS.items() if alg in fits)
    key = private_key(kind, "k2") if alg in KINDS[kind] else private_key(signer, "somebody")
    token = sign(json.dumps({"alg": alg, "kid": "k2", "typ": "at+jwt"}).encode(), json.dumps(desk.provider.claims()).encode(), key, alg)
    if alg in KINDS[kind]:
        assert (await desk.verify(token)).subject == "alice"
        return
    with pytest.raises(TokenInvalid) as caught:
        await desk.verify(token)
    assert caught.value.detail == "key-algorithm"


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
async def test_a_key_that_names_its_algorithm_checks_no_other(alg):
    desk = Desk()
    desk.provider.add("k2", "RSA2048", alg="RS256")
    token = desk.provider.token(kid="k2", alg=alg)
    if alg == "RS256":
        assert (await desk.verify(token)).subject == "alice"
        return
    with pytest.raises(TokenInvalid) as caught:
        await desk.verify(token)
    assert caught.value.detail == "key-algorithm"


async def test_an_rsa_key_that_is_too_short_signs_nothing():
    desk = Desk()
    desk.provider.add("k2", "RSA1024")
    with pytest.raises(TokenInvalid) as caught:
        await desk.verify(desk.provider.token(kid="k2", alg="RS256"))
    assert caught.value.detail == "signature"


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
async def test_a_public_key_is_no_shared_secret(kind, alg, form):
    """CVE-2016-10555 and its many children: the public key's bytes as the key of an HMAC."""
    desk = Desk(issuer())
    desk.provider.add("k2", kind)
    public = private_key(kind, "k2").public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = {
        "pem": public.public_bytes(serialization.Encoding.PEM, info),
        "der": public.public_bytes(serialization.Encoding.DER, info),
        "jwk": json.dumps(public_jwk(private_key(kind, "k2"))).encode(),
    }[form]
    signed = b64(json.dumps({"alg": alg, "kid": "k2", "typ": "at+jwt"}).encode()) + b"." + b64(json.dumps(desk.provider.claims()).encode())
    import hashlib
    import hmac

    token = (signed + b"." + b64(hmac.digest(secret, signed, getattr(hashlib, f"sha{alg[2:]}")))).decode()
    with pytest.raises(TokenInvalid) as caught:
        await desk.verify(token)
    assert caught.value.detail == "algorithm"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
async def test_no_signature_is_no_signature(alg):
    desk = Desk()
    header = b64(json.dumps({"alg": alg, "kid": "k1", "typ": "at+jwt"}).encode()).decode()
    payload = b64(json.dumps(desk.provider.claims()).encode()).decode()
    for token in (f"{header}.{payload}.", f"{header}.{payload}.AA"):
        with pytest.raises(GuardhouseError) as caught:
            await desk.verify(token)
        assert caught.value.status == 401


@pytest.mark.parametrize("parameter", ["jwk", "jku", "x5u", "x5c"])
async def test_a_key_that_the_token_brings_along_is_not_used(parameter):
    desk = Desk()
    own = private_key("P-256", "attacker")
    header = {
        "alg": "ES256",
        "kid": "k1",
        "typ": "at+jwt",
        parameter: public_jwk(own) if parameter == "jwk" else "https://evil.example/keys",
    }
    token = sign(json.dumps(header).encode(), json.dumps(desk.provider.claims()).encode(), own, "ES256")
    with pytest.raises(TokenInvalid) as caught:
        await desk.verify(token)
    assert caught.value.detail == "signature"
    assert not [url for url in desk.provider.fetched if "evil" in url]


async def test_another_key_of_the_same_kind_is_not_the_key():
    desk = Desk()
    token = sign(
        b'{"alg":"ES256","kid":"k1","typ":"at+jwt"}', json.dumps(desk.provider.claims()).encode(), private_key("P-256", "other"), "ES256"
    )
    with pytest.raises(TokenInvalid) as caught:
        await desk.verify(token)
    assert caught.value.detail == "signature"


async def test_a_psychic_signature_is_refused():
    """CVE-2022-21449: r = s = 0 was good for every message."""
    desk = Desk()
    head, payload, _ = desk.provider.token().split(".")
    with pytest.raises(TokenInvalid):
        await desk.verify(f"{head}.{payload}.{b64(bytes(64)).decode()}")


def test_the_signature_library_knows_no_other_algorithms():
    from addons.core.identity import jose

    assert isinstance(jose._JWS, PyJWS)
    assert set(jose._JWS.get_algorithms()) == {"RS256", "PS256", "ES256", "ES384", "EdDSA"}
