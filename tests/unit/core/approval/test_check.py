"""An approval that nobody can ever give is a configuration error."""

from dataclasses import replace

import pytest

from addons.core.approval import check
from addons.core.config import model
from tests.parts.approval import one_of, snapshot

HUMANS = (model.KindRule("human", claim="kind", value="human"),)


def config(kinds=HUMANS, integrations=(), files=None, **terms):
    base = snapshot(approvals=one_of(**terms))
    issuer = replace(base.gateway.identity.issuers[0], kinds=kinds)
    gateway = replace(base.gateway, identity=replace(base.gateway.identity, issuers=(issuer,)))
    people = {"dev:bob": ("dev:sre",), "dev:carol": ("dev:sre",), "dev:eve": ("dev:support",)}
    secret = (model.Reference("env", "X", "x"),)
    signals = model.Signals(None if files is None else base.folder, 0.25, files or {})
    made = {name: model.Integration(name, secret, voters) for name, voters in integrations}
    return replace(base, gateway=gateway, approvals=replace(base.approvals, people=people, signals=signals, integrations=made))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param({}, None, id="people-who-sign-in"),
        pytest.param({"count": 5}, None, id="five-people-who-sign-in"),
        pytest.param({"kinds": ()}, "nobody can vote for dev:sre", id="an-issuer-without-people"),
        pytest.param({"group": "corp:sre"}, "nobody can vote for corp:sre", id="a-group-of-an-unknown-issuer"),
        pytest.param({"kinds": (), "integrations": [("demo", ("dev:bob",))]}, None, id="one-vote-by-an-integration"),
        pytest.param({"kinds": (), "files": {1000: "dev:bob"}}, None, id="one-vote-by-a-file"),
        pytest.param({"kinds": (), "integrations": [("demo", ("dev:eve",))]}, "nobody can vote", id="an-integration-for-others"),
        pytest.param({"kinds": (), "integrations": [("demo", ("dev:bob",))], "assurance": "oidc"}, "nobody can vote", id="only-logins-count"),
        pytest.param({"kinds": (), "files": {1000: "dev:bob"}, "assurance": "integration"}, "nobody can vote", id="files-do-not-count"),
        pytest.param({"kinds": (), "integrations": [("demo", ("dev:bob",))], "max_auth_age": 60.0}, "nobody can vote", id="a-fresh-sign-in-is-asked"),
        pytest.param({"kinds": (), "count": 2, "integrations": [("a", ("dev:bob",)), ("b", ("dev:carol",))]}, "sign in: one of them must", id="two-without-a-login"),
    ],
)  # fmt: skip
def test_which_approvals_can_be_given(given, problem):
    found = [one.problem for one in check.problems(config(**given))]
    assert (found == []) if problem is None else (len(found) == 1 and problem in found[0]), found


def test_a_hold_rule_without_an_approval_is_told():
    broken = replace(config(), rules=model.Rules("deny", (model.Rule("x", "hold", approval="unheard-of", where="rules.yaml:4"),)))
    (found,) = check.problems(broken)
    assert (found.where, found.hint) == ("rules.yaml:4", "known: one-sre")
