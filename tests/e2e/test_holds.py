"""A risky request waits for people, whatever channel they use; nothing else sends it, and it is sent once."""

import base64
import concurrent.futures
import json
import re
import time

import httpx
import pytest
from standardwebhooks import Webhook

from tests.parts.gateway import Gateway
from tests.parts.processes import wait_until

pytestmark = pytest.mark.e2e
PURPOSE = {"X-Purpose": "demo/tour"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway of its own: these tests really delete the example's customers, which others read."""
    running = Gateway(tmp_path_factory.mktemp("holds")).start()
    yield running
    assert running.stop() == 0, running.output[-3000:]


def deletes_seen(gateway, path: str) -> int:
    """How often the upstream itself saw this delete."""
    return gateway.request("GET", gateway.upstream + "/stats").json["calls"].get(f"DELETE {path}", 0)


def delete(gateway, path: str, **headers: str):
    return gateway.request("DELETE", gateway.cleartext + path, gateway.token("planner"), headers={**PURPOSE, **headers})


def pending(gateway, path: str):
    """The card of the pending approval for this path, or None."""
    done = gateway.cli("approvals", "list", "--json", token=gateway.token("bob"))
    assert done.status == 0, done.headers["stderr"]
    rows = [json.loads(line) for line in done.text.splitlines()]
    return next((row for row in rows if row["state"] == "pending" and path in row["operation"]["text"]), None)


@pytest.fixture
def held(gateway):
    """Start a DELETE that is held; gives the running call and its approval."""
    with concurrent.futures.ThreadPoolExecutor() as pool:

        def start(path: str):
            call = pool.submit(delete, gateway, path)
            found = {}

            def is_there() -> bool:
                if call.done():
                    raise AssertionError(f"not held: {call.result()}")
                found["card"] = pending(gateway, path)
                return found["card"] is not None

            wait_until(is_there, 30, f"a pending approval for {path}")
            assert deletes_seen(gateway, path) == 0
            return call, found["card"]

        yield start


def test_released_by_the_command_line(gateway, held):
    call, card = held("/customers/1")
    done = gateway.cli(
        "approvals", "approve", card["id"], "--digest", card["digest"], "--reason", "Agreed with the customer", token=gateway.token("bob")
    )
    assert done.status == 0, done.headers["stderr"]
    assert call.result(20).status == 204
    assert deletes_seen(gateway, "/customers/1") == 1


def test_refused_by_the_command_line(gateway, held):
    call, card = held("/customers/2")
    done = gateway.cli(
        "approvals", "deny", card["id"], "--digest", card["digest"], "--reason", "Nobody asked for this", token=gateway.token("bob")
    )
    assert done.status == 0, done.headers["stderr"]
    answer = call.result(20)
    assert (answer.status, answer.json["code"]) == (403, "approval-denied")
    again = delete(gateway, "/customers/2")
    assert (again.status, again.json["code"]) == (403, "approval-denied")  # within the cool-off nobody is asked again
    assert deletes_seen(gateway, "/customers/2") == 0


def test_released_by_a_signed_webhook(gateway, held):
    call, card = held("/customers/3")
    secret = (gateway.home / "state" / "integration-demo").read_text().strip()
    body = json.dumps(
        {
            "type": "approval.decision",
            "timestamp": "2026-01-01T00:00:00Z",
            "data": {
                "approval_id": card["id"],
                "digest": card["digest"],
                "effect": "approve",
                "reason": "Approved in the ticket",
                "person": "dev:bob",
            },
        }
    )
    when = int(time.time())
    from datetime import UTC, datetime

    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(when, UTC), body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(when), "webhook-signature": signature, "content-type": "application/json"}
    forged = {**headers, "webhook-signature": "v1," + base64.b64encode(b"\0" * 32).decode()}
    url = gateway.control + "/v1/webhooks/demo"
    assert gateway.request("POST", url, body=body.encode(), headers=forged).status == 401
    assert not call.done()
    assert gateway.request("POST", url, body=body.encode(), headers=headers).status == 204
    assert call.result(20).status == 204
    assert gateway.request("POST", url, body=body.encode(), headers=headers).status == 401  # once only


def test_released_by_a_signal_file(gateway, held):
    call, card = held("/customers/4")
    folder = gateway.home / "state" / "signals"
    (folder / "draft.tmp").write_text(json.dumps({"decision": "approve", "digest": card["digest"], "reason": "Seen and agreed, bob"}))
    (folder / "draft.tmp").chmod(0o640)
    (folder / "draft.tmp").rename(folder / f"{card['id']}.bob.json")
    assert call.result(20).status == 204
    assert deletes_seen(gateway, "/customers/4") == 1


def test_a_forged_signal_file_releases_nothing(gateway, held):
    call, card = held("/customers/5")
    folder = gateway.home / "state" / "signals"
    (folder / "x.tmp").write_text(
        json.dumps({"decision": "approve", "digest": "hmac-sha-256:" + "0" * 64, "reason": "Seen and agreed, bob"})
    )
    (folder / "x.tmp").chmod(0o640)
    (folder / "x.tmp").rename(folder / f"{card['id']}.bob.json")
    wait_until(lambda: any((folder / "refused").glob("*")), 10, "the file in refused/")
    assert not call.done() and pending(gateway, "/customers/5") is not None
    gateway.cli("approvals", "deny", card["id"], "--digest", card["digest"], "--reason", "Forged, so refused", token=gateway.token("bob"))
    assert call.result(20).status == 403
    assert deletes_seen(gateway, "/customers/5") == 0


def test_released_on_the_page(gateway, held):
    call, card = held("/customers/6")
    same = {"Origin": gateway.control, "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=gateway.control, verify=str(gateway.ca), follow_redirects=False) as browser:
        page = browser.get("/sign-in")
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)[1]
        signed_in = browser.post("/sign-in", data={"csrf": token, "token": gateway.token("bob")}, headers=same)
        assert signed_in.status_code == 303, signed_in.text
        page = browser.get(f"/approvals/{card['id']}")
        assert page.status_code == 200
        assert "DELETE /customers/6" in page.text and "planner" in page.text and "alice" in page.text
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)[1]
        form = {"csrf": token, "digest": card["digest"], "reason": "Agreed on the phone", "effect": "approve"}
        cross_site = browser.post(
            f"/approvals/{card['id']}", data=form, headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        )
        assert cross_site.status_code == 403 and not call.done()
        decided = browser.post(f"/approvals/{card['id']}", data=form, headers=same)
        assert decided.status_code == 303, decided.text
    assert call.result(20).status == 204


@pytest.mark.parametrize("person", ["alice", "planner"])
def test_nobody_releases_their_own(gateway, held, person):
    path = f"/customers/own-{person}"
    call, card = held(path)
    url = f"{gateway.control}/v1/approvals/{card['id']}/decision"
    body = json.dumps({"effect": "approve", "digest": card["digest"], "reason": "I say it is fine"}).encode()
    answer = gateway.request("POST", url, gateway.token(person), body, {"Content-Type": "application/json"})
    assert answer.status in (403, 404), answer.text
    assert not call.done()
    gateway.cli("approvals", "deny", card["id"], "--digest", card["digest"], "--reason", "Test is over, denied", token=gateway.token("bob"))
    assert call.result(20).status == 403


def test_a_caller_that_leaves_sends_nothing_and_finds_its_ticket(gateway):
    path = "/customers/7"
    left = gateway.request("DELETE", gateway.cleartext + path, gateway.token("planner"), headers=PURPOSE, timeout=2)
    assert left.status == 0  # the client's own time-out: it hung up while it was held
    wait_until(lambda: pending(gateway, path) is not None, 10, "the pending approval")
    card = pending(gateway, path)
    done = gateway.cli(
        "approvals", "approve", card["id"], "--digest", card["digest"], "--reason", "Agreed although they left", token=gateway.token("bob")
    )
    assert done.status == 0, done.headers["stderr"]
    assert deletes_seen(gateway, path) == 0
    assert delete(gateway, path).status == 204
    assert deletes_seen(gateway, path) == 1


def test_a_hundred_retries_of_one_approval_send_it_once(gateway):
    path = "/customers/8"
    ticket = delete(gateway, path, Prefer="respond-async")
    assert ticket.status == 202, ticket.text
    card = ticket.json
    gateway.cli(
        "approvals",
        "approve",
        card["approval_id"],
        "--digest",
        card["digest"],
        "--reason",
        "Agreed, run it once",
        token=gateway.token("bob"),
    )
    token = gateway.token("planner")

    def retry(_: int):
        return gateway.request("DELETE", gateway.cleartext + path, token, headers={**PURPOSE, "Prefer": "respond-async"}).status

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(retry, range(100)))
    assert statuses.count(204) == 1, sorted(statuses)
    assert deletes_seen(gateway, path) == 1


def test_the_ticket_says_what_to_do(gateway):
    answer = delete(gateway, "/customers/ticket", Prefer="wait=1")
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    ticket = answer.json
    assert ticket["code"] == "approval-pending" and ticket["approvals"] == {"have": 0, "need": 1}
    assert answer.headers["Guardhouse-Approval"] == ticket["approval_id"]
    mine = gateway.request("GET", ticket["status_url"], gateway.token("planner"))
    assert mine.status == 200 and mine.json["state"] == "pending"
    assert gateway.request("GET", ticket["status_url"]).status == 401
