"""API keys against the real gateway: issued, used, rotated, revoked in mid-hold, and nowhere in its files."""

import json
import threading

import pytest

from tests.parts.processes import wait_until

pytestmark = pytest.mark.e2e
SAYS = {"Host": "crm.localhost", "X-Purpose": "support/4711"}


@pytest.fixture
def admin(gateway):
    token = gateway.token("carol")

    def call(*words, code=0):
        answer = gateway.cli("key", *words, token=token)
        assert answer.status == code, answer.text + answer.headers["stderr"]
        return answer.text.strip()

    return call


def create(admin, *words):
    return json.loads(
        admin("create", "planner", "--owner", "dev:alice", "--kind", "agent", "--expires", "1d", "--group", "readers", "--json", *words)
    )


def ask(gateway, text, method="GET", path="/customers/1", header="X-Api-Key"):
    credential = {"X-Api-Key": text} if header == "X-Api-Key" else {"Authorization": f"Bearer {text}"}
    return gateway.request(method, gateway.cleartext + path, headers={**SAYS, **credential})


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
def test_a_key_opens_the_data_path_masked_and_recorded_under_its_subject(gateway, admin, header):
    key = create(admin)
    answer = ask(gateway, key["key"], header=header)
    assert answer.status == 200, answer.text
    assert "[MASKED" in answer.text
    found = gateway.cli("search", f"principal:{key['subject']}", "stage:ResponseComplete", "--json", token=gateway.token("carol"))
    assert [json.loads(line)["status"] for line in found.text.splitlines()] == [200]
    assert gateway.request("GET", gateway.control + "/v1/search", key["key"]).status == 401


def test_what_is_no_living_key_is_refused_alike(gateway, admin):
    key, elsewhere = create(admin), create(admin, "--network", "192.0.2.0/24")
    turned = json.loads(admin("rotate", key["id"], "--json"))
    admin("revoke", turned["id"])
    unknown = "gh_aaaaaaaaaaaa_" + key["key"].split("_", 2)[2]
    refused = [ask(gateway, text) for text in (key["key"], turned["key"], elsewhere["key"], unknown, key["key"][:-1])]
    assert [answer.status for answer in refused] == [401] * 5
    assert {answer.json["code"] for answer in refused} == {"key-unknown"}
    assert {answer.headers["WWW-Authenticate"] for answer in refused} == {refused[0].headers["WWW-Authenticate"]}
    assert 'error="invalid_token"' in refused[0].headers["WWW-Authenticate"]


def test_a_key_that_is_revoked_while_its_request_is_held_does_not_depart(gateway, admin):
    key, answers = create(admin), []
    thread = threading.Thread(target=lambda: answers.append(ask(gateway, key["key"], "DELETE", "/customers/2")))
    thread.start()
    bob = gateway.token("bob")
    subject = key["subject"].partition(":")[2]

    def waiting():
        listed = gateway.request("GET", gateway.control + "/v1/approvals?state=pending", bob).json["approvals"]
        return next((card for card in listed if card["principal"]["subject"] == subject), None)

    wait_until(waiting, 20, "a card")
    card = waiting()
    admin("revoke", key["id"])
    said = {"effect": "approve", "digest": card["digest"], "reason": "agreed in the change board", "grant": {"kind": "one_time"}}
    body = json.dumps(said).encode()
    gateway.request("POST", f"{gateway.control}/v1/approvals/{card['id']}/decision", bob, body, {"Content-Type": "application/json"})
    thread.join(30)
    assert [answer.status for answer in answers] == [401]
    assert gateway.request("GET", gateway.upstream + "/customers/2").status != 404


def test_no_file_of_the_gateway_holds_a_key(gateway, admin):
    key = create(admin)
    ask(gateway, key["key"])
    ask(gateway, key["key"][:-1] + "x")
    secret = key["key"].split("_", 2)[2].rsplit("_", 1)[0].encode()
    found = [path for path in gateway.home.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert found == []
