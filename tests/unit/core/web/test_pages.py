from dataclasses import replace

import pytest

from addons.core.config import model
from tests import harness
from tests.parts.control import DIGEST, FORM, Bench, card, csrf_of, person

REASON = "CHG-4711 agreed in the change board"


@pytest.fixture
def bench():
    made = Bench()
    made.desk.add(card())
    return made


async def vote(browser, effect="approve", **changes):
    page = await browser.get("/approvals/ap_1")
    fields = {"csrf": csrf_of(page.text), "digest": DIGEST, "effect": effect, "reason": REASON} | changes
    return await browser.post("/approvals/ap_1", data=fields, headers=FORM)


async def test_whoever_is_not_signed_in_is_asked_to_and_led_back(bench):
    async with bench.client(headers={"Accept": "text/html"}) as browser:
        sent = await browser.get("/approvals/ap_1")
        form = await browser.get(sent.headers["location"])
        answer = await browser.post(
            "/sign-in", data={"csrf": csrf_of(form.text), "token": " bob\n", "next": "/approvals/ap_1"}, headers=FORM
        )
    assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=%2Fapprovals%2Fap_1")
    assert 'name="next" value="/approvals/ap_1"' in form.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals/ap_1")


async def test_the_session_cookie_is_closed_to_scripts_other_sites_and_cleartext(bench):
    async with bench.client(headers={"Accept": "text/html"}) as browser:
        form = await browser.get("/sign-in")
        answer = await browser.post("/sign-in", data={"csrf": csrf_of(form.text), "token": "bob", "next": ""}, headers=FORM)
    cookie = next(value for value in answer.headers.get_list("set-cookie") if value.startswith("__Host-guardhouse="))
    assert cookie.partition("; ")[2].split("; ") == ["HttpOnly", "Max-Age=3600", "Path=/", "SameSite=lax", "Secure"]


@pytest.mark.parametrize(
    ("token", "status", "says"),
    [
        pytest.param("nobody", 401, "not accepted", id="unknown"),
        pytest.param("", 401, "not accepted", id="empty"),
        pytest.param("bob-data", 401, "not accepted", id="for-the-data-path"),
        pytest.param("robot", 403, "for people", id="an-agent"),
        pytest.param("foreign", 401, "issuer dev", id="another-issuer"),
    ],
)
async def test_a_token_that_does_not_sign_in_says_why(bench, token, status, says):
    control = replace(bench.snapshot.gateway.control, sign_in=model.SignIn(issuer="dev"))
    bench.snapshot = harness.snapshot(control=control)
    bench.identity.add("foreign", replace(person("eve", "dev:sre"), issuer_alias="corp"))
    async with bench.client(headers={"Accept": "text/html"}) as browser:
        form = await browser.get("/sign-in")
        answer = await browser.post("/sign-in", data={"csrf": csrf_of(form.text), "token": token, "next": ""}, headers=FORM)
    assert answer.status_code == status
    assert says in answer.text
    assert "__Host-guardhouse=" not in str(answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/approvals/../sign-out", "/approvals/ap_1?x", "/approvals\n", "", "javascript:1"]
)
async def test_signing_in_never_leads_elsewhere(bench, target):
    async with bench.client(headers={"Accept": "text/html"}) as browser:
        form = await browser.get("/sign-in", params={"next": target})
        answer = await browser.post("/sign-in", data={"csrf": csrf_of(form.text), "token": "bob", "next": target}, headers=FORM)
    assert answer.headers["location"] == "/approvals"
    assert 'name="next" value="/approvals"' in form.text


async def test_the_card_says_who_wants_what_and_why(bench):
    async with bench.signed_in() as browser:
        text = (await browser.get("/approvals/ap_1")).text
    for part in (
        "<b>dev:planner</b>, for <b>dev:alice</b>, wants to", "DELETE /customers/7", "on <b>crm</b>", "support/4711", '<span class="badge warn">claimed</span>',
        "<b>DELETE</b> http://127.0.0.1:8446/customers/7", "customer-deletes-are-held", "Deleting a customer cannot be undone.", "0 of 1 from dev:sre",
        "a71c 06c7 73db", f'name="digest" value="{DIGEST}"', 'value="approve">Approve', "The caller is waiting on the line.",
    ):  # fmt: skip
        assert part in text
    assert "<script" not in text


async def test_a_claimed_purpose_differs_from_a_verified_one(bench):
    bench.desk.add(card("ap_2", purpose={"value": "support/1", "source": "claim", "detail": "please\nhurry"}))
    async with bench.signed_in() as browser:
        text = (await browser.get("/approvals/ap_2")).text
    assert '<span class="badge good">verified</span>' in text
    assert "<blockquote>please\nhurry</blockquote>" in text


async def test_an_approval_is_sent_on_and_then_shown_as_decided(bench):
    async with bench.signed_in() as browser:
        answer = await vote(browser)
        after = await browser.get(answer.headers["location"])
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals/ap_1")
    assert "approved, not used yet" in after.text
    assert 'value="approve"' not in after.text
    assert [(one.channel, one.effect, one.reason, one.voter.person) for one in bench.desk.votes] == [("page", "approve", REASON, "dev:bob")]


async def test_a_vote_that_does_not_count_shows_the_card_again_with_the_reason_typed(bench):
    async with bench.signed_in() as browser:
        answer = await vote(browser, reason="<short>")
    assert (answer.status_code, bench.desk.votes) == (422, [])
    assert "Give a reason of 10 to 1,000 characters." in answer.text
    assert ">&lt;short&gt;</textarea>" in answer.text


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"digest": "hmac-sha-256:0"}, 409, id="other-digest"),
        pytest.param({"digest": ""}, 409, id="no-digest"),
        pytest.param({"effect": "maybe"}, 422, id="unknown-effect"),
        pytest.param({"grant": "window"}, 422, id="unknown-field"),
    ],
)
async def test_a_form_that_is_not_ours_decides_nothing(bench, changes, status):
    async with bench.signed_in() as browser:
        answer = await vote(browser, **changes)
    assert (answer.status_code, bench.desk.votes) == (status, [])


async def test_what_could_not_be_shown_cannot_be_approved(bench):
    bench.desk.add(
        card(
            cannot_approve="The body could not be masked, so nobody can see what it says.",
            body={"text": "", "size": 90, "complete": False, "note": "withheld"},
        )
    )
    async with bench.signed_in() as browser:
        page = await browser.get("/approvals/ap_1")
        answer = await vote(browser)
    assert 'value="approve" disabled>' in page.text
    assert "withheld" in page.text
    assert (answer.status_code, bench.desk.votes) == (409, [])


async def test_the_list_shows_what_waits_and_what_came_of_the_rest(bench):
    bench.desk.add(card("ap_2", state="consumed", outcome="ran 10:04, 200, 3 fields masked"))
    bench.desk.add(card("ap_3", state="expired", outcome="never used, expired"))
    async with bench.signed_in() as browser:
        text = (await browser.get("/approvals")).text
    waiting, _, decided = text.partition('id="decided"')
    assert 'href="/approvals/ap_1"' in waiting
    assert "ap_1" not in decided
    assert "ran 10:04, 200, 3 fields masked" in decided
    assert "never used, expired" in decided


async def test_the_requester_sees_no_approve_button_but_may_withdraw(bench):
    async with bench.signed_in("alice") as browser:
        page = await browser.get("/approvals/ap_1")
        answer = await vote(browser, "cancel")
    assert "Withdraw it" in page.text
    assert 'value="approve"' not in page.text
    assert (answer.status_code, bench.desk.cards_by_id["ap_1"].state) == (303, "cancelled")


async def test_somebody_elses_approval_is_not_there(bench):
    async with bench.signed_in("dave") as browser:
        page = await browser.get("/approvals/ap_1")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "not yours to see" in page.text


async def test_a_session_ends_with_its_token(bench):
    async with bench.signed_in() as browser:
        await bench.clock.advance(3601)
        answer = await browser.get("/approvals")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fapprovals")


async def test_a_session_ends_when_the_identity_is_no_longer_good(bench):
    async with bench.signed_in() as browser:
        bench.identity.still_good = lambda principal, snapshot: (_ for _ in ()).throw(
            __import__("addons.core.errors", fromlist=["x"]).AuthenticationError()
        )
        answer = await vote(browser)
    assert (answer.status_code, answer.headers["location"], bench.desk.votes) == (303, "/sign-in?next=%2Fapprovals%2Fap_1", [])


async def test_signing_out_ends_the_session_on_the_server(bench):
    async with bench.signed_in() as browser:
        page = await browser.get("/approvals")
        stolen = browser.cookies["__Host-guardhouse"]
        answer = await browser.post("/sign-out", data={"csrf": csrf_of(page.text)}, headers=FORM)
    async with bench.client(cookies={"__Host-guardhouse": stolen}) as thief:
        again = await thief.get("/approvals")
    assert (answer.status_code, answer.headers["location"], again.status_code) == (303, "/sign-in", 303)


async def test_every_answer_forbids_scripts_frames_caching_and_sniffing(bench):
    async with bench.signed_in() as browser:
        answers = [
            await browser.get(path)
            for path in ("/approvals", "/approvals/ap_1", "/sign-in", "/static/style.css", "/nothing", "/healthz", "/v1/approvals")
        ]
    for answer in answers:
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"


async def test_signing_in_anew_ends_the_session_before(bench):
    async with bench.signed_in() as browser:
        before = browser.cookies["__Host-guardhouse"]
        form = await browser.get("/sign-in")
        await browser.post("/sign-in", data={"csrf": csrf_of(form.text), "token": "carol", "next": ""}, headers=FORM)
        page = await browser.get("/approvals")
    async with bench.client(cookies={"__Host-guardhouse": before}) as thief:
        again = await thief.get("/approvals")
    assert "dev:carol" in page.text
    assert again.status_code == 303
