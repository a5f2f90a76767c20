"""`guardhouse tree`, on a bare file and through the control plane."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from addons.cli.main import main
from addons.core.audit.events import json_field, make
from tests.harness import FakeClock
from tests.parts import audit
from tests.parts.served import served
from tests.unit.core.audit.test_tree import ALICE, FLOW, MALLORY, PLANNER, TRACE, span


def written(n, who, parent=None, path=b"/things"):
    told = {"flow": FLOW.format(n), "trace": TRACE, "span": span(n), "parent": parent, "session": "s1", "service": "crm", "verb": "GET"}
    told |= {"effect": "allow", "rules": ["agents-read-crm"]}
    fields = {"principal": json_field(who), "path": path, "purpose": json_field({"label": "support/4711"})}
    yield make("RequestReceived", "http", told, fields)
    yield make(
        "ResponseComplete", "http", {**told, "status": 200, "dur_us": 4200, "masked": {"PERSON": 2}}, {"principal": fields["principal"]}
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")

    async def fill():
        log = await audit.open_log(folder, FakeClock(1_700_000_000.0))
        evil = b"/\x1b]0;owned\x07\xe2\x80\xaegpj"
        for events in (written(1, ALICE), written(2, PLANNER, span(1)), written(3, MALLORY, span(2), evil)):
            for event in events:
                await log.append(event, reserve=event.is_begin, release=event.is_terminal)
        await log.close()

    asyncio.run(fill())
    return folder / "audit.db"


def run(*words, env=None):
    return CliRunner().invoke(main, [str(word) for word in words], env={"GUARDHOUSE_TOKEN": "", **(env or {})})


def test_the_tree_is_drawn_and_what_does_not_fit_is_marked(store):
    answer = run("tree", "--db", store, "s1")
    assert (answer.exit_code, answer.stderr) == (0, "Reading audit.db directly: this is not recorded anywhere.\n")
    lines = answer.stdout.splitlines()
    assert lines[:4] == ["session s1", "└── session s1", "    └── purpose support/4711", f"        └── trace {TRACE}"]
    shown = lines[4].strip().split("  ")
    assert shown[0] == "└── 2023-11-14 22:13:20 dev:alice (human)"
    assert shown[1:5] == ["crm GET /things", "allow by agents-read-crm", "masked 2 PERSON", "ResponseComplete 200 4.2 ms"]
    assert "dev:planner for dev:alice (human)" in lines[5]
    assert "┄ 2023-11-14 22:13:20 dev:mallory (human)" in lines[6]
    assert lines[6].endswith("[unverified-child] [identity-change]")
    assert [line.index("└──") for line in lines[4:]] == [12, 16, 20]


def test_recorded_content_cannot_speak_to_the_terminal(store):
    answer = run("tree", "--db", store, "s1")
    assert not [char for char in answer.stdout if char in "\x1b\x07\u202e"]
    assert "\\x1b]0;owned\\x07\\u202egpj" in answer.stdout


def test_json_is_the_forest(store):
    answer = run("tree", "--db", store, "--json", TRACE)
    forest = json.loads(answer.stdout)
    assert (forest["what"], forest["missing"]) == ("trace", 0)
    assert [(row["depth"], row["is_dashed"]) for row in forest["branches"][0]["rows"]] == [(0, False), (1, False), (2, True)]


def test_nothing_there_is_a_no(store):
    answer = run("tree", "--db", store, "nothing")
    assert (answer.exit_code, "no trace, session or flow" in answer.stderr) == (1, True)


def test_it_asks_the_gateway(tmp_path, store):
    with served(tmp_path, database=store) as (_, env):
        answer = run("tree", FLOW.format(2), "--json", env={**env, "GUARDHOUSE_TOKEN": "carol"})
        assert (answer.exit_code, json.loads(answer.stdout)["what"]) == (0, "flow")
        assert run("tree", "s1", env={**env, "GUARDHOUSE_TOKEN": "bob"}).exit_code == 1
