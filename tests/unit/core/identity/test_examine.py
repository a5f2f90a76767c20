"""Which rows a token fails; the verdict is always the verifier's own."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addons.core.errors import GuardhouseError
from addons.core.identity.examine import NAMES, examine
from tests.parts.identity import CONTROL, Desk, issuer

SECRET = "zoë-7f3a"


async def examined(desk, text, audiences=None):
    return await examine(text, desk.snapshot.gateway.identity, audiences, desk.keysets.of, desk.clock.now())


def by_state(made, *states):
    return [finding.row for finding in made.findings if finding.state in states]


async def test_a_right_token_holds_all_rows_and_says_who_it_would_be():
    desk = Desk()
    made = await examined(desk, desk.provider.token())
    assert [finding.row for finding in made.findings] == list(NAMES) == list(range(1, 23))
    assert by_state(made, "ok") == list(range(1, 23))
    assert (made.is_good, made.principal.person) == (True, "corp:alice")


@pytest.mark.parametrize(
    ("header", "changes", "fails"),
    [
        pytest.param({"alg": "HS256"}, {}, [3], id="3-a-shared-secret"),
        pytest.param({"crit": ["x"]}, {}, [4, 11], id="4-an-extension"),
        pytest.param({"kid": 7}, {}, [6], id="6-no-key-name"),
        pytest.param({"typ": "JWT"}, {}, [7], id="7-not-an-access-token"),
        pytest.param({"typ": "JWT"}, {"nonce": "n"}, [7, 8], id="8-an-id-token"),
        pytest.param({}, {"events": {}}, [9], id="9-an-event"),
        pytest.param({"kid": "k9"}, {}, [10], id="10-an-unknown-key"),
        pytest.param({}, {"iss": "https://evil.example/"}, [13], id="13-another-issuer"),
        pytest.param({}, {"aud": "https://elsewhere.example/"}, [14], id="14-another-audience"),
        pytest.param({}, {"client_id": 5}, [15], id="15-no-client"),
        pytest.param({}, {"exp": 1_600_000_000, "iat": 1_599_999_000}, [16], id="16-expired"),
        pytest.param({}, {"nbf": 1_800_000_000}, [16], id="16-not-yet"),
        pytest.param({}, {"exp": "soon"}, [16], id="16-no-number"),
        pytest.param({}, {"exp": 1_800_000_000}, [17], id="17-lives-too-long"),
        pytest.param({}, {"sub": ""}, [18], id="18-nobody"),
        pytest.param({}, {"groups": "sre"}, [19], id="19-one-group-as-text"),
        pytest.param({}, {"cnf": {"jkt": "x"}}, [21], id="21-bound"),
        pytest.param({}, {"act": []}, [22], id="22-act"),
        pytest.param({"typ": "JWT"}, {"aud": "x", "sub": "", "groups": 1, "cnf": 1}, [7, 14, 18, 19, 21], id="all-that-fail-are-told"),
    ],
)
async def test_each_row_that_fails_is_named(header, changes, fails):
    desk = Desk()
    alg = "ES256"
    made = await examined(desk, desk.provider.token(header, alg=alg, **changes))
    assert (by_state(made, "fails"), made.is_good) == (fails, False)
    assert all(finding.says for finding in made.findings if finding.state in ("fails", "skipped"))


async def test_a_key_that_a_token_brings_along_is_a_note_and_no_failure():
    desk = Desk()
    made = await examined(desk, desk.provider.token({"jku": "https://evil.example/keys"}))
    assert (by_state(made, "note"), made.is_good) == ([5], True)
    assert "evil.example" not in str(made.findings)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "x" * 20_000, "e30.e30.e30", "\u0000.\u0000.\u0000"], ids=range(6))
async def test_what_is_no_token_ends_early(text):
    made = await examined(Desk(), text)
    assert not made.is_good
    assert by_state(made, "fails")[0] in (1, 3, 6, 13)


async def test_keys_that_cannot_be_had_are_not_the_tokens_fault():
    desk = Desk()
    desk.provider.down = True
    made = await examined(desk, desk.provider.token())
    assert (by_state(made, "unknown"), by_state(made, "skipped"), made.is_good) == ([10], [11], False)


async def test_for_the_control_plane_its_own_audiences_count():
    desk = Desk()
    token = desk.provider.token()
    assert by_state(await examined(desk, token, (CONTROL,)), "fails") == [14]
    assert (await examined(desk, desk.provider.token(aud=CONTROL), (CONTROL,))).is_good


async def test_what_is_said_is_never_a_value_of_the_token():
    desk = Desk(replace(issuer(), authorized_parties=("cli",), bound_claims={"team": "core"}))
    token = desk.provider.token(
        {"typ": SECRET, "jku": SECRET}, sub=SECRET + "\n", aud=SECRET, azp=SECRET, groups=SECRET, team=SECRET, act=SECRET
    )
    made = await examined(desk, token)
    assert by_state(made, "fails") == [7, 14, 15, 18, 19, 20, 22]
    assert SECRET not in repr(made) and token not in repr(made)


CHANGES = st.dictionaries(
    st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "groups", "cnf", "act", "nonce", "events", "client_id", "azp"]),
    st.one_of(st.none(), st.just(...), st.integers(), st.text(max_size=8), st.lists(st.text(max_size=3), max_size=3), st.booleans()),
    max_size=3,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    CHANGES,
    st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "cty", "jwk"]), st.one_of(st.none(), st.text(max_size=6)), max_size=2),
)
async def test_the_verdict_is_the_verifiers(changes, header):
    desk = Desk()
    try:
        token = desk.provider.token(header, **changes)
    except (TypeError, ValueError):
        return
    made = await examined(desk, token)
    try:
        principal = await desk.verify(token)
    except GuardhouseError:
        principal = None
    assert made.is_good == (principal is not None)
    if principal is not None:
        assert replace(principal, token_id="", attributes={}) == replace(made.principal, token_id="", attributes={})
    json.dumps([finding.says for finding in made.findings])
