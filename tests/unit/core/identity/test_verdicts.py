"""What is remembered, for how long, and that junk pushes nothing good out."""

from dataclasses import replace

import pytest

from addons.core.errors import AuthenticationError, GuardhouseError, TokenExpired
from addons.core.exchange import Principal
from addons.core.identity.presented import Presented
from addons.core.identity.verdicts import ENTRIES, IN_FLIGHT_PER_PEER, ColdLimits, Verdicts
from tests.harness import FakeClock
from tests.parts.identity import Desk, issuer, snapshot

ALICE = Principal("https://idp.example/", "corp", "alice")


async def refusal(desk: Desk, token: str, **where) -> GuardhouseError:
    with pytest.raises(GuardhouseError) as caught:
        await desk.verify(token, **where)
    return caught.value


def place(number: int) -> tuple[str, str, bytes]:
    return "sha-256:0", "listener local", number.to_bytes(32, "big")


def test_junk_pushes_no_identity_out():
    clock = FakeClock()
    verdicts = Verdicts(clock)
    verdicts.accept(place(0), ALICE, clock.now() + 600, lambda: True)
    for number in range(1, 2 * ENTRIES + 1):
        verdicts.refuse(place(number), AuthenticationError(detail="signature"))
    assert verdicts.known(place(0)) == ALICE
    assert len(verdicts.bad) == ENTRIES


def test_an_identity_is_kept_a_minute_and_never_past_its_end():
    clock = FakeClock()
    verdicts = Verdicts(clock)
    verdicts.accept(place(0), ALICE, clock.now() + 600, lambda: True)
    verdicts.accept(place(1), ALICE, clock.now() + 10, lambda: True)
    clock.wall += 10
    assert verdicts.known(place(1)) is None
    assert verdicts.known(place(0)) == ALICE
    clock.mono += 60
    assert verdicts.known(place(0)) is None


def test_a_refusal_is_kept_five_seconds_and_an_unknown_key_not_at_all():
    clock = FakeClock()
    verdicts = Verdicts(clock)
    verdicts.refuse(place(0), AuthenticationError(detail="signature", headers={"WWW-Authenticate": "Bearer"}))
    verdicts.refuse(place(1), AuthenticationError(detail="key-unknown"))
    assert verdicts.known(place(1)) is None
    for _ in range(2):
        with pytest.raises(AuthenticationError) as caught:
            verdicts.known(place(0))
        assert (caught.value.detail, caught.value.headers) == ("signature", {"WWW-Authenticate": "Bearer"})
    clock.mono += 5
    assert verdicts.known(place(0)) is None


async def test_a_verdict_is_only_for_its_listener_and_its_snapshot():
    """Row 25: what one listener or one configuration said says nothing about another."""
    desk = Desk()
    token = desk.provider.token()
    await desk.verify(token)
    narrower = snapshot(issuer(audiences=("https://other.example/",)), digest="sha-256:" + "1" * 64)
    assert (await refusal(desk, token, configuration=narrower)).detail == "audience"
    assert (await desk.verify(token)).subject == "alice"
    assert (await desk.verify(token, listener="other")).subject == "alice"
    assert len(desk.verifier._verdicts.good) == 2


async def test_twenty_thousand_junk_tokens_leave_good_entries_where_they_are():
    desk = Desk()
    good = desk.provider.token()
    await desk.verify(good)
    before = desk.provider.clock.now()
    for number in range(20_000):
        if number % 400 == 0:
            desk.clock.mono += 1.0
        with pytest.raises(GuardhouseError):
            await desk.verify(f"a.{number}.b", peer="198.51.100.7")
    desk.clock.mono = 1000.0
    assert desk.clock.now() == before
    known = desk.verifier._verdicts.good
    assert len(known) == 1
    assert (await desk.verify(good)).subject == "alice"


def test_one_peer_may_not_have_more_than_fifty_in_flight():
    limits = ColdLimits(FakeClock())
    held = [limits.slot("192.0.2.1") for _ in range(IN_FLIGHT_PER_PEER)]
    for slot in held:
        slot.__enter__()
    with pytest.raises(GuardhouseError) as caught, limits.slot("192.0.2.1"):
        pass
    assert (caught.value.code, caught.value.status, caught.value.headers) == ("too-many-requests", 429, {"Retry-After": "1"})
    with limits.slot("192.0.2.2"):
        pass
    held[0].__exit__(None, None, None)
    with limits.slot("192.0.2.1"):
        pass


def test_one_peers_flood_leaves_half_of_the_second_to_others():
    clock = FakeClock()
    limits = ColdLimits(clock)
    refused = 0
    for _ in range(2000):
        try:
            with limits.slot("198.51.100.7"):
                pass
        except GuardhouseError:
            refused += 1
    assert refused == 1500
    for _ in range(500):
        with limits.slot("192.0.2.1"):
            pass
    with pytest.raises(GuardhouseError), limits.slot("192.0.2.2"):
        pass
    clock.mono += 1
    with limits.slot("192.0.2.2"):
        pass


async def test_a_known_token_is_not_counted_as_cold():
    desk = Desk()
    token = desk.provider.token()
    for _ in range(1500):
        await desk.verify(token)


class TestStillGood:
    """An identity is good when it is used (row 23): while a body trickles in, while a request is held."""

    async def test_as_long_as_nothing_changed(self):
        desk = Desk()
        principal = await desk.verify(desk.provider.token())
        desk.verifier.still_good(principal, desk.snapshot)

    async def test_not_after_its_end(self):
        desk = Desk()
        principal = await desk.verify(desk.provider.token())
        desk.clock.wall += 629.9
        desk.verifier.still_good(principal, desk.snapshot)
        desk.clock.wall += 0.1
        with pytest.raises(TokenExpired):
            desk.verifier.still_good(principal, desk.snapshot)

    async def test_not_when_a_reload_took_its_issuer_away(self):
        desk = Desk()
        principal = await desk.verify(desk.provider.token())
        desk.verifier.follow(snapshot(issuer(name="other", issuer="https://other.example/")))
        with pytest.raises(AuthenticationError) as caught:
            desk.verifier.still_good(principal, desk.snapshot)
        assert (caught.value.detail, caught.value.status) == ("issuer-removed", 401)
        await desk.verifier.close()

    async def test_not_when_the_alias_means_another_issuer_now(self):
        desk = Desk()
        principal = await desk.verify(desk.provider.token())
        desk.verifier.follow(snapshot(issuer(issuer="https://other.example/")))
        with pytest.raises(AuthenticationError):
            desk.verifier.still_good(principal, desk.snapshot)
        await desk.verifier.close()

    async def test_not_for_a_principal_that_nobody_verified(self):
        desk = Desk()
        principal = await desk.verify(desk.provider.token())
        with pytest.raises(AuthenticationError) as caught:
            desk.verifier.still_good(replace(principal, token_id="made-up"), desk.snapshot)
        assert caught.value.detail == "key-removed"

    async def test_a_token_without_an_id_is_known_by_its_hash(self):
        desk = Desk()
        principal = await desk.verify(desk.provider.token(jti=...))
        assert len(principal.token_id) == 64
        desk.verifier.still_good(principal, desk.snapshot)


async def test_a_token_in_a_presented_credential_does_not_show_itself():
    assert "canary" not in repr(Presented("bearer", "canary"))
