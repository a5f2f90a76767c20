"""The key engine: one fetch per cooldown under any flood, known keys while the provider is away, and 503 when they are too old."""

import asyncio
import http.server
import json
import threading
import time
from contextlib import contextmanager

import pytest

from addons.core.config import model
from addons.core.errors import GuardhouseError, IdentityUnavailableError, TokenInvalid
from addons.core.identity import keys
from addons.core.identity.fetch import FetchError, fetch, is_safe
from tests.parts.identity import ISSUER, Desk, issuer, private_key, public_jwk


async def refusal(desk: Desk, token: str, peer: str = "192.0.2.1") -> GuardhouseError:
    with pytest.raises(GuardhouseError) as caught:
        await desk.verify(token, peer=peer)
    return caught.value


async def advance(desk: Desk, seconds: float) -> None:
    await desk.clock.advance(seconds)


async def test_keys_are_found_by_discovery_and_fetched_once():
    desk = Desk()
    for number in range(5):
        await desk.verify(desk.provider.token(jti=f"t-{number}"))
    assert desk.provider.fetched == [ISSUER + ".well-known/openid-configuration", ISSUER + "jwks"]


async def test_a_thousand_at_once_share_one_fetch():
    desk = Desk()
    desk.provider.delay = 0.05
    tokens = [desk.provider.token(jti=f"t-{number}") for number in range(100)]
    found = await asyncio.gather(*(desk.verify(token, peer=f"192.0.2.{number % 50}") for number, token in enumerate(tokens)))
    assert len(found) == 100
    assert desk.keysets.of(desk.snapshot.gateway.identity.issuers[0]).fetches == 1


@pytest.mark.parametrize("down", [False, True], ids=["provider-up", "provider-down"])
async def test_a_flood_of_unknown_keys_costs_one_fetch_per_cooldown(down):
    desk = Desk()
    good = desk.provider.token()
    await desk.verify(good)
    keyset = desk.keysets.of(desk.snapshot.gateway.identity.issuers[0])
    await advance(desk, 11)
    desk.provider.down = down
    before = keyset.fetches
    for number in range(2000):
        if number % 250 == 0:
            await advance(desk, 0.25 if number else 0)
        with pytest.raises(GuardhouseError) as caught:
            await desk.verify(desk.provider.token(header={"kid": f"made-up-{number}"}), peer=f"198.51.100.{number % 20}")
        assert (caught.value.detail, caught.value.status) in {("key-unknown", 401), ("cold-rate", 429)}
    assert keyset.fetches == before + 1
    assert (await desk.verify(good)).subject == "alice"
    await advance(desk, 10)
    assert (await refusal(desk, desk.provider.token(header={"kid": "again"}))).detail == "key-unknown"
    assert keyset.fetches == before + 2


@pytest.mark.parametrize(("minutes", "served"), [(59, True), (61, False)])
async def test_a_provider_that_is_away_is_forgiven_for_an_hour(minutes, served):
    desk = Desk()
    await desk.verify(desk.provider.token())
    desk.provider.down = True
    await advance(desk, minutes * 60)
    token = desk.provider.token(jti="fresh")
    if served:
        assert (await desk.verify(token)).subject == "alice"
        return
    error = await refusal(desk, token)
    assert isinstance(error, IdentityUnavailableError)
    assert (error.code, error.status, error.headers["Retry-After"]) == ("identity-unavailable", 503, "10")


async def test_a_cached_identity_does_not_outlive_keys_that_are_too_old():
    desk = Desk(issuer(jwks=model.Jwks(max_stale=20.0)))
    token = desk.provider.token()
    await desk.verify(token)
    desk.provider.down = True
    await advance(desk, 21)
    assert (await refusal(desk, token)).status == 503


async def test_a_provider_that_never_answered_is_503_and_tried_again_after_the_cooldown():
    desk = Desk()
    desk.provider.down = True
    for _ in range(3):
        assert (await refusal(desk, desk.provider.token())).status == 503
    assert len(desk.provider.fetched) == 1
    desk.provider.down = False
    await advance(desk, 10)
    assert (await desk.verify(desk.provider.token())).subject == "alice"


async def test_rotation_takes_the_new_key_at_once_and_refuses_the_old_one_also_from_the_cache():
    desk = Desk()
    old = desk.provider.token(jti="old")
    principal = await desk.verify(old)
    desk.provider.add("k2", "P-256")
    desk.provider.remove("k1")
    await advance(desk, 11)
    assert (await desk.verify(old)).subject == "alice"
    assert (await desk.verify(desk.provider.token(kid="k2", jti="new"))).subject == "alice"
    assert (await refusal(desk, old)).detail == "key-unknown"
    with pytest.raises(TokenInvalid) as caught:
        desk.verifier.still_good(principal, desk.snapshot)
    assert caught.value.detail == "key-removed"


async def test_the_background_keeps_the_keys_fresh():
    desk = Desk()
    await desk.verifier.start(desk.snapshot)
    await desk.verify(desk.provider.token())
    keyset = desk.keysets.of(desk.snapshot.gateway.identity.issuers[0])
    assert keyset.fetches == 1
    await desk.clock.settle()
    await advance(desk, 301)
    await asyncio.wait_for(_until(lambda: keyset.fetches == 2), 5)
    await desk.verifier.close()


async def _until(holds) -> None:
    while not holds():
        await asyncio.sleep(0.005)


async def test_the_loop_stays_free_while_a_provider_is_slow():
    desk = Desk()
    desk.provider.delay = 0.4
    gaps, last = [], time.monotonic()

    async def tick() -> None:
        nonlocal last
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    ticking = asyncio.create_task(tick())
    await desk.verify(desk.provider.token())
    ticking.cancel()
    assert max(gaps) < 0.2


async def test_old_keys_serve_while_a_refresh_fails():
    desk = Desk()
    await desk.verify(desk.provider.token())
    await advance(desk, 11)
    desk.provider.raw_set = b"{}"
    assert (await refusal(desk, desk.provider.token(header={"kid": "new"}))).detail == "key-unknown"
    assert (await desk.verify(desk.provider.token(jti="other"))).subject == "alice"


KEY = {**public_jwk(private_key("P-256", "k1")), "kid": "k1", "use": "sig"}
SETS = [
    pytest.param([], "set-size", id="empty"),
    pytest.param([{**KEY, "kid": f"k{number}"} for number in range(65)], "set-size", id="65-keys"),
    pytest.param([KEY, {"kty": "oct", "kid": "s", "k": "AAAA"}], "secret-key", id="shared-secret"),
    pytest.param([KEY, {"kty": "oct", "kid": "s"}], "secret-key", id="oct-without-k"),
    pytest.param([{**KEY, "d": "AAAA"}], "secret-key", id="private-member"),
    pytest.param([KEY, KEY], "duplicate-kid", id="one-name-twice"),
    pytest.param([{**KEY, "use": "other"}], "key-use", id="unknown-use"),
    pytest.param([{**KEY, "use": ["sig"]}], "key-use", id="use-of-another-type"),
    pytest.param([{**KEY, "key_ops": ["sign"]}], "key-operations", id="not-for-verifying"),
    pytest.param([{**KEY, "key_ops": "verify"}], "key-operations", id="operations-of-another-type"),
    pytest.param([{**KEY, "x": "AAAA"}], "key-material", id="not-a-point"),
    pytest.param([{"kty": "EC", "kid": "k1", "crv": "P-256"}], "key-material", id="no-point"),
    pytest.param(["k1"], "key-shape", id="a-string"),
    pytest.param([{**KEY, "kid": 7}], "key-name", id="name-of-another-type"),
    pytest.param([{**KEY, "kid": "x" * 257}], "key-name", id="long-name"),
    pytest.param([{**KEY, "use": "enc"}], "no-usable-key", id="only-for-encryption"),
    pytest.param([{name: value for name, value in KEY.items() if name != "kid"}], "no-usable-key", id="no-name"),
    pytest.param([{"kty": "AKP", "kid": "pq", "alg": "ML-DSA-65"}], "no-usable-key", id="an-algorithm-of-the-future"),
]


@pytest.mark.parametrize(("listed", "reason"), SETS)
def test_a_set_with_anything_in_it_that_should_not_be_there_is_refused_whole(listed, reason):
    with pytest.raises(keys.KeySetError) as caught:
        keys.parse(json.dumps({"keys": listed}).encode(), 64)
    assert str(caught.value) == reason


@pytest.mark.parametrize("data", [b"", b"[]", b'{"keys": {}}', b'{"keys": []', b'{"keys":[],"keys":[]}', "{}".encode("utf-16")])
def test_what_is_no_set_is_refused(data):
    with pytest.raises(keys.KeySetError):
        keys.parse(data, 64)


def test_an_encryption_key_beside_a_good_one_is_passed_over():
    assert set(keys.parse(json.dumps({"keys": [KEY, {**KEY, "kid": "e", "use": "enc"}]}).encode(), 64).by_kid) == {"k1"}


DISCOVERY = [
    pytest.param({"issuer": "https://other.example/", "jwks_uri": ISSUER + "jwks"}, id="another-issuer"),
    pytest.param({"issuer": ISSUER.rstrip("/"), "jwks_uri": ISSUER + "jwks"}, id="almost-the-issuer"),
    pytest.param({"issuer": ISSUER, "jwks_uri": "https://evil.example/jwks"}, id="another-origin"),
    pytest.param({"issuer": ISSUER, "jwks_uri": "https://idp.example:8443/jwks"}, id="another-port"),
    pytest.param({"issuer": ISSUER, "jwks_uri": "http://idp.example/jwks"}, id="plain-http"),
    pytest.param({"issuer": ISSUER, "jwks_uri": "file:///etc/keys"}, id="a-file"),
    pytest.param({"issuer": ISSUER}, id="none"),
]


@pytest.mark.parametrize("document", DISCOVERY)
async def test_an_issuer_speaks_only_for_itself(document):
    desk = Desk()
    desk.provider.raw_discovery = json.dumps(document).encode()
    assert (await refusal(desk, desk.provider.token())).status == 503
    assert desk.provider.fetched == [ISSUER + ".well-known/openid-configuration"]


async def test_a_configured_address_needs_no_discovery():
    desk = Desk(issuer(jwks=model.Jwks(uri="https://keys.example/corp")))
    await desk.verify(desk.provider.token())
    assert desk.provider.fetched == ["https://keys.example/corp"]


async def test_a_file_of_keys_works_without_a_provider(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [KEY]}))
    desk = Desk(issuer(jwks=model.Jwks(file=file)))
    assert (await desk.verify(desk.provider.token())).subject == "alice"
    assert desk.provider.fetched == []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path
        if path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/keys")
            self.end_headers()
            return
        self.send_response(200)
        if path != "/drip":
            self.send_header("Content-Length", str(8 << 20 if path == "/huge" else 2))
        self.end_headers()
        if path == "/drip":
            for _ in range(100):
                try:
                    self.wfile.write(b" ")
                    time.sleep(0.05)
                except OSError:
                    return
            return
        try:
            self.wfile.write(b"x" * (8 << 20) if path == "/huge" else b"{}")
        except OSError:
            return

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_document_is_fetched():
    with serving() as url:
        assert fetch(url + "/keys", 2.0, 1024) == b"{}"


@pytest.mark.parametrize(("path", "reason"), [("/redirect", "status 302"), ("/huge", "too large")])
def test_a_redirect_and_a_bomb_are_refused(path, reason):
    with serving() as url, pytest.raises(FetchError) as caught:
        fetch(url + path, 2.0, 1024)
    assert str(caught.value) == reason


def test_an_answer_that_drips_is_cut_at_the_deadline():
    began = time.monotonic()
    with serving() as url, pytest.raises(FetchError):
        fetch(url + "/drip", 0.3, 1024)
    assert time.monotonic() - began < 2.0


def test_no_proxy_of_the_environment_is_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with serving() as url:
        assert fetch(url + "/keys", 2.0, 1024) == b"{}"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://idp.example/keys", True),
        ("http://127.0.0.1:8445/keys", True),
        ("http://[::1]/keys", True),
        ("http://idp.example/keys", False),
        ("http://127.0.0.1.evil.example/keys", False),
        ("https://user:pass@idp.example/keys", False),
        ("file:///etc/passwd", False),
        ("https:///keys", False),
    ],
)
def test_keys_come_over_tls_or_from_this_machine(url, safe):
    assert is_safe(url) is safe
