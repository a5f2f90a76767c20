"""Row 14 of design/approval.md: what a bot, another site, or a mixed-up credential can do. Nothing."""

import pytest

from addons.core.web.door import MAX_BODY
from tests.parts.control import DIGEST, FORM, ORIGIN, Bench, bearer, card, csrf_of

REASON = "CHG-4711 agreed in the change board"


@pytest.fixture
def bench():
    made = Bench()
    made.desk.add(card())
    return made


async def form_of(browser):
    page = await browser.get("/approvals/ap_1")
    return {"csrf": csrf_of(page.text), "digest": DIGEST, "effect": "approve", "reason": REASON}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_bot_that_opens_every_link_decides_nothing(bench, method):
    links = [
        "/", "/approvals", "/approvals/ap_1", f"/approvals/ap_1?effect=approve&digest={DIGEST}&reason={REASON}", "/sign-in", "/sign-out", "/static/style.css",
        "/v1/approvals", "/v1/approvals/ap_1", "/v1/approvals/ap_1/decision", "/v1/approvals/ap_1/cancel", "/v1/webhooks/demo", "/v1/reload",
    ]  # fmt: skip
    async with bench.signed_in() as browser:
        for link in links:
            await browser.request(method, link)
            await browser.request(method, link, headers=bearer("bob"))
        still = await browser.get("/approvals")
    assert bench.desk.votes == []
    assert bench.desk.cards_by_id["ap_1"].state == "pending"
    assert still.status_code == 200


async def test_a_link_from_a_chat_shows_the_page_at_once(bench):
    async with bench.signed_in() as browser:
        answer = await browser.get(
            "/approvals/ap_1", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Referer": "https://chat.example/"}
        )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Origin": None}, id="no-origin"),
        pytest.param({"Origin": "null"}, id="null-origin"),
        pytest.param({"Origin": "https://evil.example"}, id="another-origin"),
        pytest.param({"Origin": "http://127.0.0.1:8444"}, id="cleartext-origin"),
        pytest.param({"Origin": "https://127.0.0.1:8443"}, id="another-port"),
        pytest.param({"Origin": "https://127.0.0.1:8444.evil.example"}, id="prefix-of-ours"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="same-site"),
        pytest.param({"Sec-Fetch-Site": "none"}, id="typed-by-nobody"),
        pytest.param({"Sec-Fetch-Site": None}, id="no-sec-fetch-site"),
    ],
)
async def test_a_post_of_another_site_decides_nothing(bench, changes):
    headers = {name: value for name, value in (FORM | changes).items() if value is not None}
    async with bench.signed_in() as browser:
        fields = await form_of(browser)
        answer = await browser.post("/approvals/ap_1", data=fields, headers=headers)
        out = await browser.post("/sign-out", data={"csrf": fields["csrf"]}, headers=headers)
        still = await browser.get("/approvals")
    assert (answer.status_code, out.status_code, still.status_code, bench.desk.votes) == (403, 403, 200, [])


async def test_two_origins_are_none(bench):
    async with bench.signed_in() as browser:
        fields = await form_of(browser)
        headers = [*FORM.items(), ("Origin", "https://evil.example")]
        answer = await browser.post("/approvals/ap_1", data=fields, headers=headers)
    assert (answer.status_code, bench.desk.votes) == (403, [])


@pytest.mark.parametrize("token", [None, "", "0" * 64, "é"], ids=["missing", "empty", "made-up", "not-ascii"])
async def test_a_form_without_its_token_decides_nothing(bench, token):
    async with bench.signed_in() as browser:
        fields = await form_of(browser)
        fields = {**fields, "csrf": token} if token is not None else {name: value for name, value in fields.items() if name != "csrf"}
        answer = await browser.post("/approvals/ap_1", data=fields, headers=FORM)
    assert (answer.status_code, bench.desk.votes) == (403, [])


async def test_a_stale_form_token_decides_nothing(bench):
    async with bench.signed_in() as browser:
        stale = await form_of(browser)
        await browser.post("/sign-out", data={"csrf": stale["csrf"]}, headers=FORM)
        form = await browser.get("/sign-in")
        await browser.post("/sign-in", data={"csrf": csrf_of(form.text), "token": "bob", "next": ""}, headers=FORM)
        answer = await browser.post("/approvals/ap_1", data=stale, headers=FORM)
    async with bench.signed_in("carol") as somebody:
        other = await somebody.post("/approvals/ap_1", data=stale, headers=FORM)
    assert (answer.status_code, other.status_code, bench.desk.votes) == (403, 403, [])


async def test_a_site_cannot_sign_a_browser_in_as_somebody_else(bench):
    async with bench.client() as attacker, bench.client() as victim:
        form = await attacker.get("/sign-in")
        await victim.get("/sign-in")
        answer = await victim.post("/sign-in", data={"csrf": csrf_of(form.text), "token": "bob", "next": ""}, headers=FORM)
        bare = await victim.post("/sign-in", data={"csrf": csrf_of(form.text), "token": "bob"}, headers=FORM)
    assert (answer.status_code, bare.status_code) == (403, 403)


async def test_a_bearer_opens_no_page(bench):
    async with bench.signed_in() as browser:
        fields = await form_of(browser)
        seen = await browser.get("/approvals/ap_1", headers=bearer("bob"))
        sent = await browser.post("/approvals/ap_1", data=fields, headers=FORM | bearer("bob"))
    async with bench.client() as tool:
        alone = await tool.get("/approvals/ap_1", headers=bearer("bob"))
        posted = await tool.post("/approvals/ap_1", data=fields, headers=FORM | bearer("bob"))
    assert [answer.status_code for answer in (seen, sent, alone, posted)] == [400, 400, 400, 400]
    assert bench.desk.votes == []


async def test_a_cookie_is_no_credential_for_rest(bench):
    async with bench.signed_in() as browser:
        body = {"effect": "approve", "digest": DIGEST, "reason": REASON}
        listed = await browser.get("/v1/approvals")
        sent = await browser.post("/v1/approvals/ap_1/decision", json=body, headers=FORM)
    assert (listed.status_code, sent.status_code, bench.desk.votes) == (401, 401, [])


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8443", "localhost:8444", "127.0.0.1:8444.evil.example", ""])
@pytest.mark.parametrize("path", ["/approvals", "/v1/approvals", "/healthz", "/static/style.css"])
async def test_another_name_is_refused_everywhere(bench, host, path):
    async with bench.client() as client:
        answer = await client.get(path, headers={"Host": host} | bearer("bob"))
    assert (answer.status_code, answer.json()["code"]) == (421, "misdirected")


async def test_two_names_are_refused(bench):
    async with bench.client() as client:
        answer = await client.get("/healthz", headers=[("Host", "127.0.0.1:8444"), ("Host", "127.0.0.1:8444")])
    assert answer.status_code == 421


@pytest.mark.parametrize("path", ["/v1/approvals/ap_1/decision", "/v1/webhooks/demo", "/sign-in"])
async def test_a_large_body_is_cut_before_anything_reads_it(bench, path):
    async def endless():
        for _ in range(1000):
            yield b"x" * 1024

    async with bench.client() as client:
        told = await client.post(path, content=b"x" * (MAX_BODY + 1), headers=bearer("bob"))
        streamed = await client.post(path, content=endless(), headers=bearer("bob"))
    assert (told.status_code, streamed.status_code) == (413, 413)
    assert told.json()["code"] == "request-too-large"


@pytest.mark.parametrize("content", ["csrf=a&csrf=b", "token=a&token=b&csrf=x", "&".join(f"f{n}=1" for n in range(100)), "csrf=%FF"])
async def test_a_form_that_two_readers_read_differently_is_refused(bench, content):
    async with bench.client() as browser:
        headers = FORM | {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await browser.post("/sign-in", content=content, headers=headers)
    assert answer.status_code in (403, 422)
    assert "__Host-guardhouse=" not in str(answer.headers.get_list("set-cookie"))


async def test_a_json_or_multipart_form_is_no_form(bench):
    async with bench.signed_in() as browser:
        fields = await form_of(browser)
        as_json = await browser.post("/approvals/ap_1", json=fields, headers=FORM)
        as_parts = await browser.post("/approvals/ap_1", files={name: (None, value) for name, value in fields.items()}, headers=FORM)
    assert (as_json.status_code, as_parts.status_code, bench.desk.votes) == (422, 422, [])


def test_the_origin_of_these_tests_is_the_one_that_counts():
    assert FORM["Origin"] == ORIGIN
