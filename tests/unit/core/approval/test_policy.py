"""Who may vote and when it is enough: tables, and a brute-force oracle over generated cases."""

import random
from dataclasses import replace
from itertools import permutations

import pytest

from addons.core.approval import policy
from addons.core.approval.decide import Voter
from addons.core.approval.policy import Counted, People, Tally, tally
from addons.core.approval.terms import merge
from addons.core.config import model
from addons.core.errors import DecisionError
from addons.core.exchange import Actor, Principal
from tests import harness

NOBODY = People(())


def terms(*needs, **more):
    return merge(
        [model.ApprovalTerms("t", tuple(model.Requirement(group, count) for group, count in needs), **{"assurance": "file", **more})]
    )


def login(person, *groups):
    return Counted(person, None, "oidc", groups)


def by(via, person, *groups):
    return Counted(person, via, "integration", groups)


@pytest.mark.parametrize(
    ("needs", "votes", "have", "enough"),
    [
        pytest.param([("a", 1)], [], 0, False, id="nobody"),
        pytest.param([("a", 1)], [login("bob", "a")], 1, True, id="one"),
        pytest.param([("a", 2)], [login("bob", "a")], 1, False, id="one-of-two"),
        pytest.param([("a", 2)], [login("bob", "a"), login("bob", "a")], 1, False, id="the-same-person-twice"),
        pytest.param([("a", 1), ("b", 1)], [login("bob", "a", "b")], 1, False, id="one-person-in-two-groups-is-one"),
        pytest.param([("a", 1), ("b", 1)], [login("bob", "a", "b"), login("carol", "a")], 2, True, id="a-greedy-choice-would-get-stuck"),
        pytest.param([("a", 2)], [by("i", "bob", "a"), by("i", "carol", "a")], 1, False, id="one-integration-is-one-vote"),
        pytest.param([("a", 2)], [by("i", "bob", "a"), by("j", "carol", "a")], 2, False, id="two-channels-and-no-login"),
        pytest.param([("a", 2)], [by("i", "bob", "a"), login("carol", "a")], 2, True, id="a-channel-and-a-login"),
        pytest.param([("a", 1)], [by("i", "bob", "a")], 1, True, id="one-vote-needs-no-login"),
        pytest.param([("a", 1)], [login("bob", "a"), login("carol", "a")], 1, True, id="more-than-needed"),
        pytest.param([("a", 2)], [by("i", "x", "a"), by("j", "y", "a"), login("z", "a")], 2, True, id="the-login-takes-a-slot"),
        pytest.param([("a", 2)], [by("i", "x", "a"), by("j", "y", "a"), login("z", "b")], 2, False, id="a-login-of-another-group-does-not"),
    ],
)
def test_when_it_is_enough(needs, votes, have, enough):
    found = tally(terms(*needs), votes, NOBODY)
    assert (found.have, found.is_enough) == (have, enough)


def test_two_aliases_of_one_person_are_one():
    people = People([("corp:bob", "saml:bob@example.com")])
    votes = [login("corp:bob", "a"), login("saml:bob@example.com", "a")]
    assert tally(terms(("a", 2)), votes, people).have == 1


def test_nothing_needed_is_never_enough():
    assert not Tally(0, 0, (), False).is_enough


def oracle(slots, votes, people):
    """All ways to put votes into slots: distinct people, distinct channels, one login where two or more are needed."""
    firsts = {}
    for vote in votes:
        firsts.setdefault(people.one_name(vote.person), vote)
    counted = list(firsts.values())
    for chosen in permutations(counted, len(slots)):
        if any(slot not in vote.groups for slot, vote in zip(slots, chosen, strict=True)):
            continue
        vias = [vote.via for vote in chosen if vote.via is not None]
        if len(vias) != len(set(vias)):
            continue
        if len(slots) >= 2 and not any(vote.assurance == "oidc" for vote in chosen):
            continue
        return True
    return False


def test_the_count_agrees_with_a_brute_force_oracle():
    chance = random.Random(20260102)
    people = People([("p0", "p0-alias")])
    names, groups, vias = ["p0", "p0-alias", "p1", "p2", "p3", "p4"], ["a", "b", "c"], [None, None, "i", "j"]
    yes = 0
    for _ in range(3000):
        needs = [(group, chance.randint(1, 2)) for group in chance.sample(groups, chance.randint(1, 2))]
        votes = []
        for name in chance.sample(names, chance.randint(0, 6)):
            via = chance.choice(vias)
            votes.append(Counted(name, via, "oidc" if via is None else "file", tuple(chance.sample(groups, chance.randint(1, 3)))))
        asked = terms(*needs)
        expected = oracle(asked.slots, votes, people)
        yes += expected
        assert tally(asked, votes, people).is_enough is expected, (needs, votes)
    assert 300 < yes < 2700  # the cases are worth something both ways


IDENTITY = replace(
    harness.snapshot().gateway.identity,
    issuers=(
        model.Issuer("corp", "oidc", "https://idp.example", ("x",)),
        model.Issuer("ci", "oidc", "https://ci.example", ("x",)),
    ),
    agents={"corp:planner": "corp:olga", "corp:deploy-client": "corp:otto", "corp:inner": "corp:ines"},
    aliases=(("corp:alice", "saml:alice@example.com"), ("corp:olga", "corp:olga-admin")),
)


def agent(*actors, **more):
    return Principal(
        "https://idp.example", "corp", "alice", "agent", **{"actors": tuple(Actor("https://idp.example", name) for name in actors), **more}
    )


FOUR_EYES = [
    (agent(), "corp:alice"),
    (agent(), "saml:alice@example.com"),
    (agent("planner"), "corp:planner"),
    (agent("planner"), "corp:olga"),
    (agent("planner"), "corp:olga-admin"),
    (agent("planner", "middle"), "corp:middle"),
    (agent("planner", "middle", "inner"), "corp:inner"),
    (agent("planner", "middle", "inner"), "corp:ines"),
    (agent("planner", "middle", "inner", "innermost"), "corp:innermost"),
    (agent(client_id="deploy-client"), "corp:otto"),
    (agent(owner="corp:oscar"), "corp:oscar"),
    (agent(related=("ci:starter",)), "ci:starter"),
]


@pytest.mark.parametrize(("principal", "person"), FOUR_EYES, ids=[f"{len(p.actors)}-actors-{who}" for p, who in FOUR_EYES])
def test_nobody_with_a_hand_in_it_decides(principal, person):
    excluded = policy.four_eyes(principal, IDENTITY)
    assert policy.is_excluded(person, excluded, People(IDENTITY.aliases))
    assert not policy.is_excluded("corp:bob", excluded, People(IDENTITY.aliases))


def test_an_alias_added_after_the_opening_counts():
    excluded = policy.four_eyes(agent(), IDENTITY)
    assert policy.is_excluded("key:alice-2", excluded, People([*IDENTITY.aliases, ("corp:alice", "key:alice-2")]))


def test_an_alias_removed_after_the_opening_still_counts():
    excluded = policy.four_eyes(agent(), IDENTITY)
    assert policy.is_excluded("saml:alice@example.com", excluded, NOBODY)


def test_an_actor_of_an_issuer_that_is_not_configured_has_no_name_that_anybody_can_have():
    assert policy.names_of("https://elsewhere.example", "bob", IDENTITY) == {"(https://elsewhere.example):bob"}


def test_generated_four_eyes_cases_agree_with_a_plain_oracle():
    chance = random.Random(7)
    names = [f"u{i}" for i in range(8)]
    for _ in range(400):
        aliases = tuple(tuple(f"corp:{n}" for n in chance.sample(names, 2)) for _ in range(chance.randint(0, 2)))
        agents = {f"corp:{n}": f"corp:{chance.choice(names)}" for n in chance.sample(names, chance.randint(0, 3))}
        identity = replace(IDENTITY, aliases=aliases, agents=agents)
        actors = chance.sample(names, chance.randint(0, 4))
        owner = chance.choice([None, "corp:" + chance.choice(names)])
        principal = replace(agent(*actors), subject=chance.choice(names), owner=owner, related=("corp:" + chance.choice(names),))
        # the oracle: grow the set until nothing is added; owners are looked up once, of everybody directly involved
        direct = {f"corp:{principal.subject}", *(f"corp:{a}" for a in actors), *principal.related} | ({owner} if owner else set())

        def grown(found, aliases=aliases):
            while True:
                more = {name for group in aliases if set(group) & found for name in group}
                if more <= found:
                    return found
                found = found | more

        involved = grown(direct)
        involved = grown(involved | {agents[name] for name in involved if name in agents})
        excluded = policy.four_eyes(principal, identity)
        for name in names:
            assert policy.is_excluded(f"corp:{name}", excluded, People(aliases)) is (f"corp:{name}" in involved), (
                aliases,
                agents,
                principal,
            )


@pytest.mark.parametrize(
    "voter",
    [
        pytest.param(Voter("corp:bob", "agent", ("a",)), id="an-agent-with-a-persons-login"),
        pytest.param(Voter("corp:bob", "service", ("a",)), id="service"),
        pytest.param(Voter("corp:bob", "human", ("a",), (Actor("https://idp.example", "planner"),)), id="a-human-through-an-agent"),
    ],
)
def test_only_people_decide(voter):
    with pytest.raises(DecisionError) as refused:
        policy.check_person(voter)
    assert (refused.value.code, refused.value.status) == ("not-a-person", 403)


NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("more", "voter", "assurance", "refused"),
    [
        pytest.param({"assurance": "oidc"}, {}, "oidc", None, id="oidc"),
        pytest.param({"assurance": "oidc"}, {}, "integration", ("assurance", 403), id="integration-where-oidc-is-asked"),
        pytest.param({"assurance": "integration"}, {}, "file", ("assurance", 403), id="file-where-integration-is-asked"),
        pytest.param({"assurance": "file"}, {}, "made-up", ("assurance", 403), id="unknown"),
        pytest.param({"require_acr": "urn:mfa"}, {"acr": "urn:mfa"}, "oidc", None, id="acr"),
        pytest.param({"require_acr": "urn:mfa"}, {"acr": "urn:pwd"}, "oidc", ("assurance", 401), id="weaker-acr"),
        pytest.param({"require_acr": "urn:mfa"}, {}, "file", ("assurance", 401), id="no-acr"),
        pytest.param({"max_auth_age": 900.0}, {"auth_time": NOW - 900}, "oidc", None, id="fresh"),
        pytest.param({"max_auth_age": 900.0}, {"auth_time": NOW - 901}, "oidc", ("assurance", 401), id="old"),
        pytest.param({"max_auth_age": 900.0}, {}, "oidc", ("assurance", 401), id="no-auth-time"),
    ],
)
def test_how_sure_a_channel_and_a_login_must_be(more, voter, assurance, refused):
    asked, who = terms(("a", 1), **more), Voter("corp:bob", "human", ("a",), **voter)
    if refused is None:
        policy.check_assurance(who, assurance, asked, NOW)
        return
    with pytest.raises(DecisionError) as error:
        policy.check_assurance(who, assurance, asked, NOW)
    assert (error.value.code, error.value.status) == refused
    if error.value.status == 401:
        assert 'error="insufficient_user_authentication"' in error.value.headers["WWW-Authenticate"]
