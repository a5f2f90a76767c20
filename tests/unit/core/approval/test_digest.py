"""The vectors of design/approval.md 3.4, and that nothing of a request can change without the digest."""

import hashlib
import hmac
from dataclasses import fields, replace

import pytest

from addons.core.approval import digest
from addons.core.approval.digest import RequestFacts
from addons.core.exchange import Actor

KEY = bytes(range(32))
BODY = b'{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}'


def text_digest(text: str) -> str:
    return "sha-256:" + hashlib.sha256(text.encode()).hexdigest()


FACTS = RequestFacts(
    service="kube",
    method="DELETE",
    scheme="https",
    authority="10.0.0.1:6443",
    path="/api/v1/namespaces/prod/configmaps/app-config",
    query="?propagationPolicy=Background",
    content_digest=digest.content_digest(BODY),
    headers=(("accept", "application/json"), ("content-type", "application/json")),
    issuer="https://idp.example/",
    subject="zoë",
    client_id="deploy-agent",
    actors=(Actor("https://idp.example/", "agent:deployer"),),
    purpose="change/chg-4711",
    purpose_detail=digest.detail_digest("replace the café config".encode()),
    rules=("prod-deletes-need-two",),
    policy=text_digest("example policy"),
    target=text_digest("example target"),
)

CANONICAL = (
    '{"@authority":"10.0.0.1:6443","@method":"DELETE","@path":"/api/v1/namespaces/prod/configmaps/app-config",'
    '"@query":"?propagationPolicy=Background","@scheme":"https",'
    '"actors":[{"issuer":"https://idp.example/","subject":"agent:deployer"}],'
    '"content-digest":"sha-256=:zzbhzBb5PDI4qKVRIFBNKejzg7CSff6PAbELTt6EbXo=:",'
    '"headers":[["accept","application/json"],["content-type","application/json"]],'
    '"policy":"sha-256:ba4459ca47bff03dc292cf6b637c9674578f89b0a627a4c6b270db18516afa82",'
    '"principal":{"client_id":"deploy-agent","issuer":"https://idp.example/","subject":"zoë"},'
    '"purpose":"change/chg-4711",'
    '"purpose_detail":"sha-256:0b9c6709fe5000cbcb72843d56cfc2fbf6efd47758080801a2666142bf26c361",'
    '"rules":["prod-deletes-need-two"],"service":"kube",'
    '"target":"sha-256:8ea792d738f499981ea35d5dc61461ceb6e684f26a76b0313a156ad566cb4e44","v":1}'
).encode()


def test_the_canonical_input_is_the_one_of_the_design_byte_for_byte():
    assert len(BODY) == 75
    assert len(CANONICAL) == 823
    assert digest.canonical(FACTS) == CANONICAL


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(FACTS, "a71c06c773dbb3780002c423b8e9c24fc997586ec723bbf2ad8d743e8eefb343", id="as-it-stands"),
        pytest.param(replace(FACTS, query=""), "74b17c6d5ff954ad5538480548599f1e0f833a585456068a594261a5aa1979d7", id="no-query"),
        pytest.param(
            replace(FACTS, purpose_detail=None), "5f03d1bc5cffe5a5c0d2bb88038db6fab9341684ad4ac2b076351f626fa3f97c", id="no-detail"
        ),
        pytest.param(
            replace(FACTS, target=text_digest("other target")),
            "36a5f7c3fcd75841b12ab37d8f20e5476f53e273440d555694503a1ab4a10431",
            id="target",
        ),
    ],
)
def test_the_digest_is_the_one_of_the_design(facts, expected):
    assert digest.digest(facts, KEY) == "hmac-sha-256:" + expected


def test_member_hmacs_are_those_of_the_design():
    found = digest.member_hmacs(FACTS, KEY)
    assert found["@query"] == "0b30789c7f38403bc3a40da7bbf572fb76c7c5a7b18a04fdc653e2362aae6b52"
    assert found["headers:accept"] == "3f465e966754ba88d07dd0bc4b1b7ccd354d3c276d47d592789797e6fb8aa56f"


def test_the_two_wrong_ways_of_the_design_give_what_it_says_and_not_our_digest():
    escaped = CANONICAL.decode().replace("ë", "\\u00eb").encode()
    assert hmac.new(KEY, escaped, hashlib.sha256).hexdigest().startswith("446d9599")
    assert hashlib.sha256(CANONICAL).hexdigest().startswith("a52197cf")


CHANGED = {
    "service": "kube2", "method": "PATCH", "scheme": "http", "authority": "10.0.0.1:6444", "path": "/api/v1/namespaces/prod/configmaps/app-confih",
    "query": "?propagationPolicy=Background&", "content_digest": digest.content_digest(BODY + b" "), "headers": (("accept", "application/json"),),
    "issuer": "https://idp.example", "subject": "zoe", "client_id": None, "actors": (), "purpose": None, "purpose_detail": None, "rules": (),
    "policy": text_digest("other policy"), "target": text_digest("other target"),
}  # fmt: skip


def test_the_table_of_changes_names_every_member():
    assert set(CHANGED) == {f.name for f in fields(RequestFacts)}


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_each_member_altered_gives_another_digest(name):
    assert digest.digest(replace(FACTS, **{name: CHANGED[name]}), KEY) != digest.digest(FACTS, KEY)


def test_another_key_gives_another_digest_and_another_key_id():
    other = bytes(range(1, 33))
    assert digest.digest(FACTS, other) != digest.digest(FACTS, KEY)
    assert digest.key_id(other) != digest.key_id(KEY)


def test_a_path_with_an_empty_query_is_another_request():
    assert digest.split_target("/a") == ("/a", "")
    assert digest.split_target("/a?") == ("/a", "?")
    assert digest.split_target("/a?x=?") == ("/a", "?x=?")


@pytest.mark.parametrize(
    ("authority", "scheme", "expected"),
    [
        ("example.org", "https", "example.org:443"),
        ("example.org", "http", "example.org:80"),
        ("example.org:8443", "https", "example.org:8443"),
        ("[::1]", "http", "[::1]:80"),
        ("[::1]:8446", "http", "[::1]:8446"),
    ],
)
def test_the_authority_always_has_its_port(authority, scheme, expected):
    assert digest.with_port(authority, scheme) == expected


def test_covered_headers_are_sorted_by_name_and_keep_the_order_of_repeats():
    fields_ = [
        ("X-B", "2"),
        ("Accept", " a "),
        ("x-b", "1"),
        ("Date", "now"),
        ("X-Stainless-Os", "x"),
        ("X-Trace-Me", "y"),
        ("User-Agent", "curl"),
    ]
    assert digest.covered_headers(fields_, ignored=("X-Trace-Me",)) == (("accept", "a"), ("x-b", "2"), ("x-b", "1"))


def test_a_lone_surrogate_has_no_digest():
    with pytest.raises(ValueError, match="surrogates"):
        digest.digest(replace(FACTS, purpose="\ud800"), KEY)


def test_differing_names_the_header_that_changed_and_no_other():
    other = replace(FACTS, headers=(("accept", "text/plain"), ("content-type", "application/json"), ("x-new", "1")))
    assert digest.differing(digest.member_hmacs(FACTS, KEY), digest.member_hmacs(other, KEY)) == ["headers:accept", "headers:x-new"]


def test_people_see_twelve_digits():
    assert digest.short(digest.digest(FACTS, KEY)) == "a71c 06c7 73db"


def test_the_nonce_of_a_websocket_handshake_is_not_part_of_what_is_approved():
    fields = [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Protocol", "rpc")]
    assert digest.covered_headers(fields) == (("sec-websocket-protocol", "rpc"),)
