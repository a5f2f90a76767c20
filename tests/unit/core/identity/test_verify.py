"""The check table: a token wrong in just one thing is refused with the slug of that check, and a right one is accepted."""

import json
from dataclasses import replace

import pytest

from addons.core.config import model
from addons.core.errors import AuthenticationError, GuardhouseError, TokenExpired
from addons.core.exchange import Actor
from tests.parts.identity import AUDIENCE, CONTROL, ISSUER, Desk, b64, issuer, private_key, sign

NOW = 1_700_000_000
NEXT_DAY = NOW + 86_400


async def refusal(desk: Desk, token: str) -> GuardhouseError:
    with pytest.raises(GuardhouseError) as caught:
        await desk.verify(token)
    return caught.value


async def test_a_right_token_makes_a_principal():
    desk = Desk(agents={"corp:alice": "corp:boss"})
    principal = await desk.verify(desk.provider.token(user_type="employee", auth_time=NOW - 60, acr="gold", amr=["pwd", "otp"]))
    assert principal.person == "corp:alice"
    assert (principal.issuer, principal.kind, principal.client_id, principal.method) == (ISSUER, "human", "cli", "jwt")
    assert principal.groups == ("corp:sre",)
    assert (principal.auth_time, principal.acr, principal.amr) == (float(NOW - 60), "gold", ("pwd", "otp"))
    assert (principal.token_id, principal.expires_at, principal.owner) == ("t-1", float(NOW + 600), "corp:boss")


HEADERS = [
    pytest.param({"alg": "none"}, "algorithm", id="3-none"),
    pytest.param({"alg": "nOnE"}, "algorithm", id="3-none-mixed-case"),
    pytest.param({"alg": "HS256"}, "algorithm", id="3-hs256"),
    pytest.param({"alg": "ES512"}, "algorithm", id="3-not-listed"),
    pytest.param({"alg": ...}, "algorithm", id="3-missing"),
    pytest.param({"alg": ["ES256"]}, "algorithm", id="3-list"),
    pytest.param({"crit": ["exp"]}, "header-parameter", id="4-crit"),
    pytest.param({"b64": True}, "header-parameter", id="4-b64"),
    pytest.param({"zip": "DEF"}, "header-parameter", id="4-zip"),
    pytest.param({"enc": "A128GCM"}, "header-parameter", id="4-enc"),
    pytest.param({"cty": "JWT"}, "header-parameter", id="4-nested"),
    pytest.param({"cty": "application/jwt"}, "header-parameter", id="4-nested-media-type"),
    pytest.param({"kid": ...}, "key-id", id="6-missing"),
    pytest.param({"kid": ""}, "key-id", id="6-empty"),
    pytest.param({"kid": "k\n1"}, "key-id", id="6-control"),
    pytest.param({"kid": "ключ"}, "key-id", id="6-not-ascii"),
    pytest.param({"kid": "k" * 257}, "key-id", id="6-long"),
    pytest.param({"kid": 1}, "key-id", id="6-number"),
    pytest.param({"typ": ...}, "token-type", id="7-missing"),
    pytest.param({"typ": "JWT"}, "token-type", id="7-jwt"),
    pytest.param({"typ": "AT+JWT"}, "token-type", id="7-other-case"),
    pytest.param({"typ": "logout+jwt"}, "token-type", id="9-logout"),
    pytest.param({"typ": "dpop+jwt"}, "token-type", id="9-dpop"),
    pytest.param({"kid": "k9"}, "key-unknown", id="10-unknown"),
]


@pytest.mark.parametrize(("header", "detail"), HEADERS)
async def test_a_header_that_is_wrong_in_one_thing_is_refused(header, detail):
    desk = Desk()
    error = await refusal(desk, desk.provider.token(header=header))
    assert (error.detail, error.code, error.status) == (detail, "token-invalid", 401)


@pytest.mark.parametrize("kid", ["", "k\n1", "k" * 257])
async def test_a_bad_key_name_costs_no_fetch(kid):
    desk = Desk()
    await refusal(desk, desk.provider.token(header={"kid": kid}))
    assert desk.provider.fetched == []


CLAIMS = [
    pytest.param({"events": {}}, "security-event", id="9-events"),
    pytest.param({"iss": "https://other.example/"}, "issuer", id="13-other"),
    pytest.param({"iss": "https://idp.example"}, "issuer", id="13-no-slash"),
    pytest.param({"iss": "https://IDP.example/"}, "issuer", id="13-upper-case"),
    pytest.param({"iss": ...}, "issuer", id="13-missing"),
    pytest.param({"iss": [ISSUER]}, "issuer", id="13-list"),
    pytest.param({"aud": "https://other.example/"}, "audience", id="14-other"),
    pytest.param({"aud": ...}, "audience", id="14-missing"),
    pytest.param({"aud": []}, "audience", id="14-empty"),
    pytest.param({"aud": [AUDIENCE] * 11}, "audience", id="14-eleven"),
    pytest.param({"aud": [AUDIENCE, 1]}, "audience", id="14-number"),
    pytest.param({"aud": {"a": AUDIENCE}}, "audience", id="14-object"),
    pytest.param({"azp": "web", "client_id": "cli"}, "authorized-party", id="15-disagree"),
    pytest.param({"client_id": 7}, "authorized-party", id="15-number"),
    pytest.param({"exp": ...}, "times", id="16-no-exp"),
    pytest.param({"iat": ...}, "times", id="16-no-iat"),
    pytest.param({"exp": True}, "times", id="16-bool"),
    pytest.param({"exp": str(NOW + 600)}, "times", id="16-string"),
    pytest.param({"exp": 1e308}, "times", id="16-huge"),
    pytest.param({"exp": 2**53}, "times", id="16-beyond"),
    pytest.param({"exp": 0}, "times", id="16-zero"),
    pytest.param({"iat": -1}, "times", id="16-negative"),
    pytest.param({"nbf": False}, "times", id="16-nbf-bool"),
    pytest.param({"exp": NEXT_DAY + 1}, "lifetime", id="17-too-long"),
    pytest.param({"iat": NOW + 31, "exp": NOW + 600}, "lifetime", id="17-made-in-the-future"),
    pytest.param({"sub": ...}, "subject", id="18-missing"),
    pytest.param({"sub": ""}, "subject", id="18-empty"),
    pytest.param({"sub": "a" * 256}, "subject", id="18-long"),
    pytest.param({"sub": "a\r\nX-Remote-User: root"}, "subject", id="18-crlf"),
    pytest.param({"sub": "a\x00"}, "subject", id="18-nul"),
    pytest.param({"sub": "a\x85"}, "subject", id="18-c1"),
    pytest.param({"sub": "a\u202eb"}, "subject", id="18-bidi"),
    pytest.param({"sub": 7}, "subject", id="18-number"),
    pytest.param({"groups": "sre"}, "groups", id="19-string"),
    pytest.param({"groups": None}, "groups", id="19-null"),
    pytest.param({"groups": [["sre"]]}, "groups", id="19-nested"),
    pytest.param({"groups": ["g"] * 1001}, "groups", id="19-too-many"),
    pytest.param({"groups": ..., "hasgroups": True}, "groups-overage", id="19-overage"),
    pytest.param({"groups": ..., "_claim_names": {"groups": "src1"}}, "groups-overage", id="19-overage-by-reference"),
    pytest.param({"act": None}, "act", id="22-null"),
    pytest.param({"act": "planner"}, "act", id="22-string"),
    pytest.param({"act": {}}, "act", id="22-nobody"),
    pytest.param({"act": {"sub": "a\u202eb"}}, "act", id="22-bidi"),
    pytest.param({"act": {"sub": "a", "iss": 1}}, "act", id="22-issuer"),
    pytest.param({"act": {"sub": "a", "act": None}}, "act", id="22-inner-null"),
]


@pytest.mark.parametrize(("changes", "detail"), CLAIMS)
async def test_a_claim_that_is_wrong_is_refused(changes, detail):
    desk = Desk()
    error = await refusal(desk, desk.provider.token(**changes))
    assert (error.detail, error.code, error.status) == (detail, "token-invalid", 401)
    assert error.headers["WWW-Authenticate"] == 'Bearer realm="guardhouse", error="invalid_token"'


SHAPES = [
    pytest.param(lambda good: "a.b", "token-shape", 401, id="1-two-parts"),
    pytest.param(lambda good: good + ".x", "token-shape", 401, id="1-four-parts"),
    pytest.param(lambda good: good + "=", "token-shape", 401, id="1-padding"),
    pytest.param(lambda good: good.replace(".", ". ", 1), "token-shape", 401, id="1-space"),
    pytest.param(lambda good: good.replace(".", ".\n", 1), "token-shape", 401, id="1-newline"),
    pytest.param(lambda good: ".." + good.split(".")[2], "token-shape", 401, id="1-empty-parts"),
    pytest.param(
        lambda good: b64(json.dumps({"alg": "ES256", "pad": "x" * 2000}).encode()).decode() + ".e30.AAAA",
        "token-shape",
        401,
        id="1-header-size",
    ),
    pytest.param(lambda good: good + "A" * (16 << 10), "token-size", 400, id="1-size"),
    pytest.param(lambda good: "e30." + good.split(".", 1)[1], "algorithm", 401, id="empty-header"),
    pytest.param(lambda good: good.rsplit(".", 1)[0] + "." + "A" * 86, "signature", 401, id="11-zero-signature"),
    pytest.param(lambda good: good.rsplit(".", 1)[0] + ".AAAA", "signature", 401, id="11-short-signature"),
]


@pytest.mark.parametrize(("spoil", "detail", "status"), SHAPES)
async def test_a_token_of_a_wrong_shape_is_refused(spoil, detail, status):
    desk = Desk()
    error = await refusal(desk, spoil(desk.provider.token()))
    assert (error.detail, error.status) == (detail, status)


async def test_stray_bits_in_the_last_character_are_another_text_for_the_same_bytes():
    """A 64-byte signature ends in a character of which four bits count for nothing: they must be zero."""
    desk = Desk()
    token = desk.provider.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = alphabet[alphabet.index(token[-1]) + 1]
    assert (await refusal(desk, token[:-1] + twin)).detail == "token-shape"


DEEP = b'{"a":' * 17 + b"1" + b"}" * 17
JSON = [
    pytest.param(b'{"alg":"ES256","kid":"k1","typ":"JWT","typ":"at+jwt"}', id="duplicate-key"),
    pytest.param(b"\xef\xbb\xbf" + b'{"alg":"ES256","kid":"k1","typ":"at+jwt"}', id="byte-order-mark"),
    pytest.param('{"alg":"ES256","kid":"k1","typ":"at+jwt"}'.encode("utf-16"), id="utf-16"),
    pytest.param(b'{"alg":"ES256","kid":"k1","typ":"at+jwt","x":NaN}', id="nan"),
    pytest.param(DEEP, id="depth-17"),
    pytest.param(b'{"alg":"ES256","kid":"k1","typ":"at+jwt","x":"\\ud800"}', id="lone-surrogate"),
    pytest.param(b'["ES256"]', id="a-list"),
    pytest.param(b"", id="empty"),
]


@pytest.mark.parametrize("header", JSON)
async def test_a_header_that_is_not_strict_json_is_refused(header):
    desk = Desk()
    token = sign(header, json.dumps(desk.provider.claims()).encode(), private_key("P-256", "k1"), "ES256")
    assert (await refusal(desk, token)).detail == ("token-shape" if not header else "header-json")


PAYLOADS = [
    pytest.param(lambda text: text[:-1] + ', "sub": "root"}', id="duplicate-key"),
    pytest.param(lambda text: text[:-1] + ', "x": NaN}', id="nan"),
    pytest.param(lambda text: text[:-1] + ', "x": Infinity}', id="infinity"),
    pytest.param(lambda text: text[:-1] + ', "x": "\\ud800"}', id="lone-surrogate"),
    pytest.param(lambda text: text[:-1] + ', "x": ' + "[" * 17 + "]" * 17 + "}", id="depth-17"),
    pytest.param(lambda text: "\ufeff" + text, id="byte-order-mark"),
    pytest.param(lambda text: "[" + text + "]", id="a-list"),
]


@pytest.mark.parametrize("spoil", PAYLOADS)
async def test_a_payload_that_is_not_strict_json_is_refused(spoil):
    desk = Desk()
    payload = spoil(json.dumps(desk.provider.claims())).encode()
    assert (await refusal(desk, desk.provider.token(payload=payload))).detail == "payload-json"


async def test_utf_16_is_refused_though_the_json_module_would_read_it():
    desk = Desk()
    payload = json.dumps(desk.provider.claims()).encode("utf-16")
    assert (await refusal(desk, desk.provider.token(payload=payload))).detail == "payload-json"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        pytest.param({"exp": NOW - 30, "iat": NOW - 600}, "expired", id="expired"),
        pytest.param({"nbf": NOW + 31}, "not-yet-valid", id="not-yet"),
    ],
)
async def test_a_token_out_of_its_time_says_so_to_the_caller(changes, detail):
    desk = Desk()
    error = await refusal(desk, desk.provider.token(**changes))
    assert isinstance(error, TokenExpired)
    assert (error.code, error.detail, error.status) == ("token-expired", detail, 401)
    assert 'error="invalid_token"' in error.headers["WWW-Authenticate"]


@pytest.mark.parametrize("changes", [{"exp": NOW - 29, "iat": NOW - 600}, {"nbf": NOW + 30}, {"iat": NOW + 30}, {"exp": NOW + 600.5}])
async def test_clocks_may_differ_by_the_leeway(changes):
    desk = Desk()
    assert (await desk.verify(desk.provider.token(**changes))).subject == "alice"


async def test_the_leeway_is_never_more_than_two_minutes():
    desk = Desk(issuer(leeway=3600.0))
    assert (await refusal(desk, desk.provider.token(exp=NOW - 121, iat=NOW - 600))).detail == "expired"


TERMS = [
    pytest.param({"token_types": ("JWT",)}, {"typ": "JWT"}, {"nonce": "n"}, "id-token", id="8-nonce"),
    pytest.param({"token_types": ("JWT",)}, {"typ": "JWT"}, {"at_hash": "h"}, "id-token", id="8-at-hash"),
    pytest.param({"token_types": ("JWT",)}, {"typ": "JWT"}, {"events": {}}, "security-event", id="9-events"),
    pytest.param({"token_types": ("JWT",)}, {"typ": "at+jwt"}, {}, "token-type", id="7-only-jwt"),
    pytest.param({"token_types": ("dpop+jwt",)}, {"typ": "dpop+jwt"}, {}, "token-type", id="9-never-a-proof"),
    pytest.param({"single_audience": True}, {}, {"aud": [AUDIENCE, "x"]}, "audience", id="14-single"),
    pytest.param({"authorized_parties": ("ci",)}, {}, {}, "authorized-party", id="15-other-client"),
    pytest.param({"authorized_parties": ("ci",)}, {}, {"client_id": ...}, "authorized-party", id="15-no-client"),
    pytest.param({"max_token_lifetime": 300.0}, {}, {}, "lifetime", id="17-configured"),
    pytest.param({"bound_claims": {"repo": "7"}}, {}, {}, "bound-claim", id="20-absent"),
    pytest.param({"bound_claims": {"repo": "7"}}, {}, {"repo": "8"}, "bound-claim", id="20-other"),
    pytest.param({"bound_claims": {"repo": "7"}}, {}, {"repo": 7}, "bound-claim", id="20-number"),
    pytest.param({"signing_algorithms": ("RS256",)}, {}, {}, "algorithm", id="3-not-this-issuer"),
]


@pytest.mark.parametrize(("terms", "header", "changes", "detail"), TERMS)
async def test_an_issuers_terms_close_further(terms, header, changes, detail):
    desk = Desk(issuer(**terms))
    assert (await refusal(desk, desk.provider.token(header=header, **changes))).detail == detail


ACCEPTED = [
    pytest.param({}, {"typ": "application/at+jwt"}, {}, id="long-type"),
    pytest.param({"token_types": ("JWT",)}, {"typ": "JWT"}, {}, id="jwt-where-the-file-says-so"),
    pytest.param({}, {}, {"nonce": "n"}, id="nonce-in-an-access-token"),
    pytest.param({}, {"jku": "https://evil.example/", "jwk": {}}, {}, id="5-foreign-keys-are-not-followed"),
    pytest.param({}, {}, {"aud": ["x", AUDIENCE]}, id="one-of-two-audiences"),
    pytest.param({"authorized_parties": ("cli",)}, {}, {}, id="listed-client"),
    pytest.param({"authorized_parties": ("web",)}, {}, {"client_id": ..., "azp": "web"}, id="azp"),
    pytest.param({"bound_claims": {"repo": "7*"}}, {}, {"repo": "77"}, id="bound-by-glob"),
    pytest.param({}, {}, {"sub": "Jörg 中"}, id="letters-of-any-script"),
    pytest.param({}, {}, {"groups": ...}, id="no-groups"),
]


@pytest.mark.parametrize(("terms", "header", "changes"), ACCEPTED)
async def test_what_is_right_is_accepted(terms, header, changes):
    desk = Desk(issuer(**terms))
    assert (await desk.verify(desk.provider.token(header=header, **changes))).issuer_alias == "corp"


async def test_a_key_that_a_token_brought_along_is_noted():
    desk = Desk()
    principal = await desk.verify(desk.provider.token({"jku": "https://evil.example/", "x5c": []}))
    assert principal.attributes == {"foreign_keys": ["jku", "x5c"]}


@pytest.mark.parametrize("claim", ["realm_access.roles", "cognito:groups", "https://corp.example/groups"])
async def test_groups_are_read_where_the_file_says(claim):
    desk = Desk(issuer(groups_claim=claim))
    told = {"realm_access": {"roles": ["sre"]}} if claim.startswith("realm") else {claim: ["sre"]}
    assert (await desk.verify(desk.provider.token(groups=..., **told))).groups == ("corp:sre",)


async def test_a_token_bound_to_a_key_is_no_bearer_token():
    desk = Desk()
    error = await refusal(desk, desk.provider.token(cnf={"jkt": "x"}))
    assert (error.code, error.detail, error.status) == ("proof-invalid", "proof-missing", 401)


async def test_where_binding_is_demanded_an_unbound_token_is_nothing():
    desk = Desk(issuer(require_proof_of_possession=True))
    assert (await refusal(desk, desk.provider.token())).detail == "proof-required"


def chain(depth: int) -> dict[str, object]:
    told: dict[str, object] = {}
    for level in range(depth, 0, -1):
        told = {"sub": f"actor-{level}", **({"act": told} if told else {})}
    return told


@pytest.mark.parametrize("depth", range(1, 9))
async def test_an_act_chain_is_kept_whole(depth):
    desk = Desk()
    principal = await desk.verify(desk.provider.token(act=chain(depth)))
    assert principal.actors == tuple(Actor(ISSUER, f"actor-{level}") for level in range(1, depth + 1))


async def test_an_act_chain_of_nine_is_refused():
    desk = Desk()
    assert (await refusal(desk, desk.provider.token(act=chain(9)))).detail == "act"


@pytest.mark.parametrize("depth", [1, 4, 8])
async def test_a_bad_name_anywhere_in_the_chain_is_refused(depth):
    desk = Desk()
    told = chain(depth)
    innermost = told
    while "act" in innermost:
        innermost = innermost["act"]
    innermost["sub"] = "a\nb"
    assert (await refusal(desk, desk.provider.token(act=told))).detail == "act"


async def test_an_actor_of_another_issuer_keeps_it_and_the_owner_is_the_current_actors():
    desk = Desk(agents={"corp:planner": "corp:alice"})
    told = {"sub": "planner", "act": {"sub": "web", "iss": "https://apps.example/"}}
    principal = await desk.verify(desk.provider.token(act=told))
    assert principal.actors == (Actor(ISSUER, "planner"), Actor("https://apps.example/", "web"))
    assert principal.owner == "corp:alice"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        pytest.param({"client_id": "agent-cli", "user_type": "employee"}, "agent", id="a-persons-login-used-by-an-agent"),
        pytest.param({"user_type": "employee"}, "human", id="only-from-a-line"),
        pytest.param({"auth_time": NOW, "amr": ["pwd"], "name": "Alice"}, "service", id="a-login-proves-nothing"),
        pytest.param({"user_type": "Employee"}, "service", id="another-value"),
        pytest.param({"user_type": ["employee"]}, "service", id="another-type"),
        pytest.param({}, "service", id="no-line-matches"),
    ],
)
async def test_kind_is_never_guessed(changes, kind):
    desk = Desk()
    assert (await desk.verify(desk.provider.token(**changes))).kind == kind


async def test_claims_are_mapped_where_the_file_says():
    desk = Desk(issuer(claim_mappings={"agent": "actors", "why": "purpose", "app": "client_id"}))
    principal = await desk.verify(desk.provider.token(agent="planner", why="support/1", app="cli-2", client_id=...))
    assert principal.actors == (Actor(ISSUER, "planner"),)
    assert (principal.attributes["purpose"], principal.client_id) == ("support/1", "cli-2")


@pytest.mark.parametrize(
    ("changes", "purpose"),
    [
        pytest.param({"purpose": "support/1"}, "support/1", id="claim"),
        pytest.param({"authorization_details": [{"type": "x", "purpose": "change/7"}]}, "change/7", id="rfc-9396"),
        pytest.param({"authorization_details": [{"purpose": "a"}, {"purpose": "b"}]}, ["a", "b"], id="two-are-passed-on-to-be-refused"),
        pytest.param({"purpose": 7}, 7, id="another-type-is-passed-on-to-be-refused"),
        pytest.param({}, None, id="none"),
    ],
)
async def test_the_signed_purpose_is_found(changes, purpose):
    desk = Desk()
    assert (await desk.verify(desk.provider.token(**changes))).attributes.get("purpose") == purpose


async def test_the_control_plane_has_audiences_of_its_own():
    desk = Desk()
    data, control = desk.provider.token(), desk.provider.token(aud=CONTROL)
    assert (await desk.verifier.verify_bearer(control, (CONTROL,), desk.snapshot, "192.0.2.1")).subject == "alice"
    with pytest.raises(AuthenticationError) as caught:
        await desk.verifier.verify_bearer(data, (CONTROL,), desk.snapshot, "192.0.2.1")
    assert caught.value.detail == "audience"
    assert (await refusal(desk, control)).detail == "audience"


async def test_no_error_holds_the_token_or_a_claim():
    desk = Desk()
    token = desk.provider.token(sub="canary\n")
    error = await refusal(desk, token)
    assert not any("canary" in text or token[:20] in text for text in (str(error), error.detail, repr(error), str(error.headers)))


async def test_without_issuers_everybody_is_refused():
    desk = Desk()
    bare = model.Identity(public_url="https://x.example", issuers=())
    desk.snapshot = replace(desk.snapshot, gateway=replace(desk.snapshot.gateway, identity=bare))
    assert (await refusal(desk, desk.provider.token())).detail == "issuer"
