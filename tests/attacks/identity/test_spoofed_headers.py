"""Headers by which upstreams believe a gateway, sent by a caller: in every spelling, doubled, by `Connection`, as trailers."""

import itertools

import pytest

from addons.core import exchange
from tests.parts.identity import Front, bearer

NAMES = [
    "X-Remote-User", "X-Remote-Group", "Impersonate-User", "Impersonate-Group", "Impersonate-Extra-scopes", "X-Forwarded-For", "X-Forwarded-User",
    "X-Forwarded-Email", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Auth-Request-User", "X-Auth-Token", "X-Client-Cert", "X-Client-Cert-Dn",
    "SSL-Client-Verify", "X-Original-URL", "X-Rewrite-URL", "X-Original-Method", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
    "Proxy-Authorization", "DPoP", "Cookie", "Guardhouse-Principal", "Remote-User",
]  # fmt: skip


def spellings(name: str) -> list[str]:
    return sorted({spell(name.replace("-", dash)) for dash, spell in itertools.product("-_", (str.lower, str.upper, str.title))})


@pytest.mark.parametrize("name", NAMES)
async def test_none_of_it_reaches_the_upstream(name):
    front = Front()
    token = front.desk.provider.token()
    for spelling in spellings(name):
        flow = await front.send([bearer(token), (spelling, "canary=1"), (spelling, "canary=2")])
        assert flow.response is None
        assert "canary" not in str(flow.request.headers.fields)


@pytest.mark.parametrize("name", NAMES)
async def test_nor_as_a_trailer(name):
    front = Front()
    flow = await front.send([bearer(front.desk.provider.token())], body=b"{}")
    flow.request.trailers = type(flow.request.headers)([(spelling.encode(), b"canary") for spelling in spellings(name)])
    await front.finish(flow)
    assert flow.request.trailers.fields == ()


async def test_connection_cannot_take_our_headers_away_downstream():
    front = Front()
    flow = await front.send([bearer(front.desk.provider.token()), ("Connection", "traceparent, authorization, x-a"), ("X-A", "canary")])
    assert flow.response is None
    assert sorted(name.lower() for name in flow.request.headers) == ["host", "traceparent"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lambda token: [bearer(token), bearer(token)], id="twice"),
        pytest.param(lambda token: [bearer(token), ("X-Api-Key", "gh_x")], id="two-kinds"),
        pytest.param(lambda token: [("Authorization", f"Bearer {token}, Bearer {token}")], id="joined"),
        pytest.param(lambda token: [("Authorization", f"Bearer {token}\r\n X-Remote-User: root")], id="folded"),
    ],
)
async def test_two_answers_to_who_is_this_are_none(headers):
    front = Front()
    flow = await front.send(headers(front.desk.provider.token()))
    assert flow.response.status_code in (400, 401)
    assert exchange.read(flow.metadata).principal is None


async def test_a_token_in_the_query_is_refused_also_beside_a_good_one():
    front = Front()
    token = front.desk.provider.token()
    for path in (f"/customers?access_token={token}", "/customers?a=1&access%5ftoken=x"):
        assert (await front.send([bearer(token)], path)).response.status_code == 400


@pytest.mark.parametrize("purpose", ["support/1\r\nX-Remote-User: root", "support/1\x00", "support/\u202e1", "SUPPORT/1", " support/1"])
async def test_a_purpose_carries_nothing_else(purpose):
    front = Front()
    flow = await front.send([bearer(front.desk.provider.token())], purpose=purpose)
    assert flow.response.status_code == 400
    assert "root" not in flow.response.text
