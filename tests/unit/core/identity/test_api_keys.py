"""API keys: only a whole, known, living key from its own network, with an owner, is somebody."""

import time
from dataclasses import replace

import pytest

from addons.core.errors import ApiKeyUnknown, AuditError, AuthenticationError
from addons.core.identity import api_keys, key_rows
from addons.core.identity.api_keys import ApiKeys
from addons.core.identity.jwks import KeySets
from addons.core.identity.key_rows import KeyRow
from addons.core.identity.presented import pick
from addons.core.identity.verify import Verifier
from tests.harness import FakeClock
from tests.parts.identity import snapshot

PEPPER = b"p" * 32
NOW_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000


class Table:
    """The rows of `api_key`."""

    def __init__(self, **changes) -> None:
        self.text, self.key = api_keys.make()
        told = {
            "id": self.key.id, "digest": api_keys.mac(PEPPER, self.key), "name": "report", "owner": "corp:alice", "kind": "service",
            "groups": ("key:readers",), "networks": ("192.0.2.0/24", "2001:db8::/32"), "created_at": NOW_US, "expires_at": NOW_US + DAY_US,
        }  # fmt: skip
        self.told = KeyRow(**(told | changes))
        self.row = key_rows.columns(self.told, PEPPER)
        self.reads = 0
        self.touched = []

    async def find(self, key_id):
        self.reads += 1
        return self.row if key_id == self.row["id"] else None

    async def touch(self, key_id, at_us):
        self.touched.append((key_id, at_us))

    def keys(self, clock=None) -> ApiKeys:
        return ApiKeys(clock or FakeClock(), PEPPER, self.find, self.touch)


async def refused(table: Table, text: str | None = None, peer: str = "192.0.2.1") -> str:
    with pytest.raises(ApiKeyUnknown) as caught:
        await table.keys().verify(text or table.text, snapshot(), peer)
    assert (caught.value.code, caught.value.status, str(caught.value)) == ("key-unknown", 401, "The API key is not accepted here.")
    return caught.value.detail


async def test_a_key_makes_a_principal_with_an_owner():
    table = Table()
    principal = await table.keys().verify(table.text, snapshot(), "192.0.2.1")
    assert principal.person == f"key:{table.key.id}"
    assert (principal.kind, principal.owner, principal.groups, principal.method) == ("service", "corp:alice", ("key:readers",), "api_key")
    assert principal.expires_at == 1_700_086_400.0


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        pytest.param({"expires_at": NOW_US}, "expired", id="expired"),
        pytest.param({"revoked_at": NOW_US}, "revoked", id="revoked"),
        pytest.param({"owner": ""}, "no-owner", id="without-an-owner"),
        pytest.param({"networks": ("198.51.100.0/24",)}, "network", id="another-network"),
        pytest.param({"networks": ("rubbish",)}, "network", id="a-network-that-is-none"),
        pytest.param({"digest": b"x" * 32}, "key-wrong", id="another-secret"),
    ],
)
async def test_a_key_that_may_not_be_used_is_refused_like_any_other(changes, detail):
    assert await refused(Table(**changes)) == detail


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"groups": '["key:admins"]'}, id="groups"),
        pytest.param({"allowed_cidrs": "[]"}, id="networks"),
        pytest.param({"owner": "corp:bob"}, id="owner"),
        pytest.param({"expires_at": NOW_US + 999 * DAY_US}, id="end"),
        pytest.param({"name": "other"}, id="name"),
        pytest.param({"kind": "agent"}, id="kind"),
        pytest.param({"generation": 1}, id="generation"),
        pytest.param({"seal": b""}, id="no-seal"),
        pytest.param({"previous": b"x" * 32, "previous_until": NOW_US + DAY_US}, id="a-second-secret"),
    ],
)
async def test_a_row_that_somebody_else_wrote_is_no_key(changes):
    table = Table()
    table.row |= changes
    assert await refused(table) == "row-changed"


@pytest.mark.parametrize("changes", [{"groups": "["}, {"allowed_cidrs": "7"}, {"groups": None}], ids=["json", "number", "null"])
async def test_a_row_that_cannot_be_read_is_no_key(changes):
    table = Table()
    table.row |= changes
    assert await refused(table) == "key-unknown"


async def test_an_ipv4_address_in_ipv6_clothes_is_in_its_network():
    table = Table()
    assert (await table.keys().verify(table.text, snapshot(), "::ffff:192.0.2.7")).subject == table.key.id


async def test_a_rotated_key_keeps_its_name_and_the_old_secret_ends():
    table, clock = Table(), FakeClock()
    keys = table.keys(clock)
    old, old_text, before = await keys.verify(table.text, snapshot(), "192.0.2.1"), table.text, table.told
    text, key = api_keys.make(before.id)
    after = replace(before, digest=api_keys.mac(PEPPER, key), generation=1, previous=before.digest, previous_until=NOW_US + 60_000_000)
    table.row = key_rows.columns(after, PEPPER)
    keys.changed(before, after)
    new = await keys.verify(text, snapshot(), "192.0.2.1")
    again = await keys.verify(old_text, snapshot(), "192.0.2.1")
    assert (new.person, new.token_id, again.token_id) == (old.person, f"{before.id}.1", f"{before.id}.0")
    keys.still_good(old)
    await clock.advance(61)
    keys.still_good(new)
    for principal in (old, again):
        with pytest.raises(AuthenticationError):
            keys.still_good(principal)
    with pytest.raises(ApiKeyUnknown):
        await keys.verify(old_text, snapshot(), "192.0.2.1")


async def test_a_second_rotation_ends_the_first_secret_at_once():
    table = Table()
    keys, first = table.keys(), table.told
    old = await keys.verify(table.text, snapshot(), "192.0.2.1")
    second = replace(first, digest=b"2" * 32, generation=1, previous=first.digest, previous_until=NOW_US + DAY_US)
    third = replace(second, digest=b"3" * 32, generation=2, previous=second.digest, previous_until=NOW_US + DAY_US)
    keys.changed(first, second)
    keys.still_good(old)
    keys.changed(second, third)
    with pytest.raises(ApiKeyUnknown):
        keys.still_good(old)


async def test_a_good_key_is_remembered_for_a_minute_and_a_wrong_one_never():
    table, clock = Table(), FakeClock()
    keys = table.keys(clock)
    wrong, _ = api_keys.make(table.key.id)
    for _ in range(3):
        await keys.verify(table.text, snapshot(), "192.0.2.1")
    assert table.reads == 1
    for _ in range(3):
        with pytest.raises(ApiKeyUnknown):
            await keys.verify(wrong, snapshot(), "192.0.2.1")
    assert table.reads == 4
    await clock.advance(61)
    await keys.verify(table.text, snapshot(), "192.0.2.1")
    assert table.reads == 5


async def test_a_remembered_key_is_still_asked_for_its_end_and_its_network():
    table, clock = Table(), FakeClock()
    keys = table.keys(clock)
    table.row = key_rows.columns(replace(table.told, expires_at=NOW_US + 30_000_000), PEPPER)
    await keys.verify(table.text, snapshot(), "192.0.2.1")
    with pytest.raises(ApiKeyUnknown):
        await keys.verify(table.text, snapshot(), "203.0.113.1")
    await clock.advance(31)
    with pytest.raises(ApiKeyUnknown):
        await keys.verify(table.text, snapshot(), "192.0.2.1")


async def test_a_use_is_noted_at_most_once_a_minute():
    table, clock = Table(), FakeClock()
    keys = table.keys(clock)
    for _ in range(5):
        await keys.verify(table.text, snapshot(), "192.0.2.1")
        await clock.advance(20)
    await keys.close()
    assert table.touched == [(table.key.id, NOW_US), (table.key.id, NOW_US + 60_000_000)]


async def test_a_use_that_cannot_be_noted_refuses_nobody(caplog):
    table = Table()

    async def broken(key_id, at_us):
        raise AuditError(detail="disk full")

    keys = ApiKeys(FakeClock(), PEPPER, table.find, broken)
    await keys.verify(table.text, snapshot(), "192.0.2.1")
    await keys.close()
    assert [record.getMessage() for record in caplog.records] == ["the use of a key could not be noted: disk full"]


async def test_an_unknown_and_a_mistyped_key_are_refused():
    table = Table()
    other, _ = api_keys.make()
    assert await refused(table, other) == "key-unknown"
    assert await refused(table, table.text[:-1] + ("0" if table.text[-1] != "0" else "1")) == "key-shape"
    assert await refused(table, table.text.replace("gh_", "gh-")) == "key-shape"
    assert await refused(table, table.text + "\n") == "key-shape"


async def test_a_row_that_says_human_makes_no_human():
    table = Table(kind="human")
    assert (await table.keys().verify(table.text, snapshot(), "192.0.2.1")).kind == "service"


async def test_an_unknown_id_takes_as_long_as_a_wrong_key():
    table = Table()
    other, _ = api_keys.make()
    keys = table.keys()
    table.row["mac"] = b"x" * 32

    async def spent(text: str) -> float:
        best = []
        for _ in range(300):
            began = time.perf_counter()
            with pytest.raises(ApiKeyUnknown):
                await keys.verify(text, snapshot_, "192.0.2.1")
            best.append(time.perf_counter() - began)
        return sorted(best)[30]

    snapshot_ = snapshot()
    wrong, unknown = await spent(table.text), await spent(other)
    assert 0.5 < unknown / wrong < 2.0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"owner": ""}, id="no-owner"),
        pytest.param({"owner": "alice"}, id="owner-without-issuer"),
        pytest.param({"owner": "elsewhere:alice"}, id="owner-of-an-unknown-issuer"),
        pytest.param({"owner": "key:abc"}, id="owned-by-a-key"),
        pytest.param({"expires_at": NOW_US}, id="expired"),
        pytest.param({"expires_at": NOW_US + 91 * DAY_US}, id="too-long"),
        pytest.param({"kind": "human"}, id="human"),
        pytest.param({"name": ""}, id="no-name"),
        pytest.param({"name": "a\nb"}, id="name-of-two-lines"),
        pytest.param({"groups": ("key:a b",)}, id="group"),
        pytest.param({"groups": ("key:dev:sre",)}, id="group-of-another-issuer"),
        pytest.param({"networks": ("192.0.2.1/24",)}, id="network-with-host-bits"),
        pytest.param({"networks": ("everywhere",)}, id="network"),
    ],
)
def test_what_is_no_proper_key_is_not_made(changes):
    row, identity = Table().told, snapshot().gateway.identity
    row = replace(row, owner=f"{identity.issuers[0].name}:alice")
    api_keys.check_new(row, identity, NOW_US / 1e6)
    with pytest.raises(ValueError):
        api_keys.check_new(replace(row, **changes), identity, NOW_US / 1e6)


async def test_the_verifier_takes_keys_and_a_revoked_one_dies_in_mid_flow():
    table, clock = Table(), FakeClock()
    keys = table.keys(clock)
    verifier = Verifier(clock, KeySets(clock), keys)
    principal = await verifier.verify(pick([("X-Api-Key", table.text)]), snapshot(), "local", "192.0.2.1")
    verifier.still_good(principal, snapshot())
    keys.changed(table.told, replace(table.told, revoked_at=NOW_US))
    with pytest.raises(ApiKeyUnknown):
        verifier.still_good(principal, snapshot())


def test_a_key_does_not_show_its_secret():
    _, key = api_keys.make()
    assert repr(key) == f"ApiKey(id={key.id!r})"
