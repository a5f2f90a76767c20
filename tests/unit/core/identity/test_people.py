"""Who stands behind a principal, and who may say that a request is a replay."""

import pytest

from addons.core.config.model import Identity
from addons.core.exchange import Actor, Principal
from addons.core.identity import issuers, replay_of
from tests.parts.identity import ISSUER, issuer

IDENTITY = Identity("https://x.example", (issuer(),), aliases=(("corp:alice", "saml:alice@example.com"),))
FLOW = "018f2c5e-7e9a-7b1c-8d2e-3f4a5b6c7d8e"


def test_everybody_who_asked_is_named_with_all_aliases():
    principal = Principal(
        ISSUER,
        "corp",
        "alice",
        kind="agent",
        owner="corp:boss",
        related=("corp:carol",),
        actors=(Actor(ISSUER, "planner"), Actor("https://apps/", "web")),
    )
    assert issuers.people_of(principal, IDENTITY) == {
        "corp:alice", "saml:alice@example.com", "corp:planner", "https://apps/:web", "corp:boss", "corp:carol",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "groups", "flow_id", "note"),
    [
        pytest.param([], (), None, None, id="no-replay"),
        pytest.param([FLOW], ("corp:investigators",), FLOW, None, id="an-investigators"),
        pytest.param([FLOW], ("corp:sre",), None, "dropped:replay-of", id="anybody-elses"),
        pytest.param([FLOW, FLOW], ("corp:investigators",), None, "malformed:replay-of", id="two"),
        pytest.param(["{" + FLOW + "}"], ("corp:investigators",), None, "malformed:replay-of", id="another-spelling"),
        pytest.param(["x\nstripped"], ("corp:investigators",), None, "malformed:replay-of", id="no-id"),
    ],
)
def test_only_an_investigators_replay_is_one(values, groups, flow_id, note):
    found = replay_of.decide(values, Principal(ISSUER, "corp", "carol", groups=groups), ("corp:investigators",))
    assert (found.flow_id, found.note) == (flow_id, note)
