"""API keys: only a whole, known, living key from its own network, with an owner, is somebody."""

import time

import pytest

from addons.core.errors import ApiKeyUnknown
from addons.core.identity import api_keys
from addons.core.identity.api_keys import ApiKeys
from addons.core.identity.jwks import KeySets
from addons.core.identity.presented import pick
from addons.core.identity.verify import Verifier
from tests.harness import FakeClock
from tests.parts.identity import snapshot

PEPPER = b"p" * 32
NOW_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000


class Table:
    """The rows of `api_key`."""

    def __init__(self) -> None:
        self.text, self.key = api_keys.make()
        self.row = {
            "id": self.key.id, "mac": api_keys.mac(PEPPER, self.key), "owner": "corp:alice", "expires_at": NOW_US + DAY_US, "kind": "service",
            "groups": '["key:readers"]', "allowed_cidrs": '["192.0.2.0/24", "2001:db8::/32"]', "revoked_at": None,
        }  # fmt: skip

    async def find(self, key_id):
        return self.row if key_id == self.row["id"] else None

    def keys(self, clock=None) -> ApiKeys:
        return ApiKeys(clock or FakeClock(), PEPPER, self.find)


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
        pytest.param({"expires_at": None}, "expired", id="without-an-end"),
        pytest.param({"revoked_at": NOW_US}, "revoked", id="revoked"),
        pytest.param({"owner": ""}, "no-owner", id="without-an-owner"),
        pytest.param({"allowed_cidrs": '["198.51.100.0/24"]'}, "network", id="another-network"),
        pytest.param({"allowed_cidrs": '["rubbish"]'}, "network", id="a-network-that-is-none"),
        pytest.param({"mac": b"x" * 32}, "key-wrong", id="another-secret"),
    ],
)
async def test_a_key_that_may_not_be_used_is_refused_like_any_other(changes, detail):
    table = Table()
    table.row |= changes
    assert await refused(table) == detail


async def test_an_unknown_and_a_mistyped_key_are_refused():
    table = Table()
    other, _ = api_keys.make()
    assert await refused(table, other) == "key-unknown"
    assert await refused(table, table.text[:-1] + ("0" if table.text[-1] != "0" else "1")) == "key-shape"
    assert await refused(table, table.text.replace("gh_", "gh-")) == "key-shape"
    assert await refused(table, table.text + "\n") == "key-shape"


async def test_a_row_that_says_human_makes_no_human():
    table = Table()
    table.row["kind"] = "human"
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
        {"owner": None},
        {"owner": ""},
        {"expires_at": None},
        {"expires_at": NOW_US},
        {"expires_at": NOW_US + 91 * DAY_US},
        {"kind": "human"},
        {"kind": None},
    ],
)
def test_a_key_without_owner_or_end_is_not_made(changes):
    row = {"owner": "corp:alice", "expires_at": NOW_US + DAY_US, "kind": "service"}
    api_keys.check_new(row, NOW_US / 1e6, 90 * 86400)
    with pytest.raises(ValueError):
        api_keys.check_new(row | changes, NOW_US / 1e6, 90 * 86400)


async def test_the_verifier_takes_keys_and_a_revoked_one_dies_in_mid_flow():
    table, clock = Table(), FakeClock()
    keys = table.keys(clock)
    verifier = Verifier(clock, KeySets(clock), keys)
    principal = await verifier.verify(pick([("X-Api-Key", table.text)]), snapshot(), "local", "192.0.2.1")
    verifier.still_good(principal, snapshot())
    keys.revoke(table.key.id)
    with pytest.raises(ApiKeyUnknown):
        verifier.still_good(principal, snapshot())


def test_a_key_does_not_show_its_secret():
    _, key = api_keys.make()
    assert repr(key) == f"ApiKey(id={key.id!r})"
