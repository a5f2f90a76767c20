"""The verb `approvals`: the card is seen before anything is decided, and the digest goes back whole."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from addons.cli import approvals
from addons.cli.client import Refused
from addons.core.approval.decide import Vote
from addons.core.errors import ApprovalError, DecisionError, problem_of
from tests.parts.approval import Room, person

RUNNER = CliRunner()


class Direct:
    """The control plane's routes for approvals, without the wire."""

    def __init__(self, room, voter):
        self.room = room
        self.voter = voter

    def get(self, path, **query):
        if path == "/v1/approvals":
            cards = self._run(self.room.desk.cards(self.voter, state=query["state"], service=query["service"], mine=bool(query["mine"])))
            return {"approvals": [json.loads(json.dumps(card.plain())) for card in cards]}
        card = self._run(self.room.desk.card(path.removeprefix("/v1/approvals/"), self.voter))
        return json.loads(json.dumps(card.plain()))

    def post(self, path, body):
        ident = path.removeprefix("/v1/approvals/").removesuffix("/decision")
        vote = Vote(ident, body["digest"], body["effect"], body["reason"], self.voter, "rest")
        return json.loads(json.dumps(self._run(self.room.desk.decide(vote)).plain()))

    def _run(self, work):
        try:
            return asyncio.run(work)
        except DecisionError as error:
            raise Refused(error.status, problem_of(error).body) from error


@pytest.fixture
def held(monkeypatch):
    room = Room()
    with pytest.raises(ApprovalError):
        asyncio.run(room.desk.hold(room.asked(at_once=True), room.alive()))
    monkeypatch.setattr(approvals, "connect", lambda url, ca, policies: Direct(room, person("bob")))
    return room


def run(*args, said=None):
    return RUNNER.invoke(approvals.command, list(args), input=said)


REASON = ("--reason", "agreed in the change board")


def test_list_shows_what_is_held(held):
    result = run("list")
    assert result.exit_code == 0
    assert "DELETE /customers/7" in result.output and "dev:alice (agent) through planner" in result.output
    assert run("list", "--state", "approved").output == "Nothing is held.\n"
    assert json.loads(run("list", "--json").output)["id"] == held.only["id"]


def test_show_says_everything_of_a_card(held):
    output = run("show", held.only["id"]).output
    for part in (
        "pending",
        "demo/tour (claimed by header)",
        "0 of 1 of dev:sre",
        "Deleting a customer cannot be undone.",
        held.only["digest"],
    ):
        assert part in output


def test_the_card_is_shown_and_its_digest_confirmed(held):
    result = run("approve", held.only["id"], *REASON, said="y\n")
    assert (result.exit_code, held.only["state"]) == (0, "approved")
    assert "DELETE /customers/7" in result.output and "is approved now." in result.output


@pytest.mark.parametrize("said", ["n\n", "\n", ""])
def test_whoever_does_not_confirm_decides_nothing(held, said):
    assert run("approve", held.only["id"], *REASON, said=said).exit_code == 1
    assert held.only["state"] == "pending"


def test_a_digest_that_is_given_is_not_asked_for(held):
    result = run("deny", held.only["id"], *REASON, "--digest", held.only["digest"], "--json")
    assert (result.exit_code, json.loads(result.output)["state"], held.only["state"]) == (0, "denied", "denied")


def test_another_digest_is_refused(held):
    result = run("approve", held.only["id"], *REASON, "--digest", "hmac-sha-256:0")
    assert (result.exit_code, held.only["state"]) == (1, "pending")
    assert "digest" in result.output


def test_json_asks_nothing(held):
    assert run("approve", held.only["id"], *REASON, "--json").exit_code == 2
    assert held.only["state"] == "pending"


def test_an_unknown_approval_is_a_no(held):
    assert run("show", "ap_none").exit_code == 1
    assert run("show", "../flows/x").exit_code == 2
