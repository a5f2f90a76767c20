from dataclasses import replace

import pytest

from addons.core.config import model
from addons.core.policy import masks
from addons.core.policy.facts import of
from tests.parts.policy import AGENT, ALICE, NOW, record, rule, snapshot


def revealing(*reveals: model.Reveal) -> model.Snapshot:
    base = snapshot()
    profiles = {
        **base.masking.profiles,
        "pii": replace(base.masking.profiles["pii"], reveal=reveals),
        "record": model.Profile("record", {}, reveal=reveals),
    }
    return replace(base, masking=replace(base.masking, profiles=profiles))


@pytest.mark.parametrize(
    ("reveal", "asked", "owed"),
    [
        pytest.param(model.Reveal(groups=("dev:support",)), {}, ("record", "secrets"), id="group"),
        pytest.param(model.Reveal(groups=("dev:sre",)), {}, ("pii", "record", "secrets"), id="other-group"),
        pytest.param(model.Reveal(kinds=("human",)), {}, ("record", "secrets"), id="kind"),
        pytest.param(model.Reveal(kinds=("human",)), {"principal": AGENT}, ("pii", "record", "secrets"), id="other-kind"),
        pytest.param(model.Reveal(groups=("dev:support",), kinds=("agent",)), {}, ("pii", "record", "secrets"), id="keys-are-and"),
        pytest.param(model.Reveal(purposes=("support/*",)), {}, ("record", "secrets"), id="signed-purpose"),
        pytest.param(model.Reveal(purposes=("support/*",)), {"source": "header"}, ("pii", "record", "secrets"), id="purpose-by-header"),
        pytest.param(
            model.Reveal(purposes=("support/*",), accept_claimed_by_header=True),
            {"source": "header"},
            ("record", "secrets"),
            id="accepted-by-header",
        ),
        pytest.param(model.Reveal(purposes=("fraud/*",)), {}, ("pii", "record", "secrets"), id="other-purpose"),
        pytest.param(model.Reveal(), {}, ("pii", "record", "secrets"), id="an-entry-that-names-nobody"),
    ],
)
def test_a_reveal_lifts_its_own_profile_for_whom_it_names(reveal, asked, owed):
    configuration = revealing(reveal)
    assert masks.owed(configuration, of(configuration, record(**asked), NOW), ("pii", "record")) == owed


def test_a_profile_that_no_file_has_stays_owed():
    configuration = revealing(model.Reveal(kinds=("human",)))
    assert masks.owed(configuration, of(configuration, record(), NOW), ("nosuch",)) == ("nosuch", "secrets")


def test_rules_ask_for_profiles_each_once():
    assert masks.asked([rule(mask=("b", "a")), rule(mask=("a",))]) == ("a", "b")
    assert ALICE.kind == "human"
