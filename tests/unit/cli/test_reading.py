"""search, show, sessions and export, on a bare file and through the control plane."""

import asyncio
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from mitmproxy.io import FlowReader

from addons.cli.main import main
from addons.core.audit import events
from tests.parts.control import Bench, person
from tests.parts.served import served
from tests.unit.core.web.test_reading import FLOW, opened, write_a_flow

EVIL = b"/customers/\x1b]0;owned\x07\xe2\x80\xaegpj"


async def make_store(folder):
    bench = Bench()
    log = await opened(folder, bench.clock)
    await write_a_flow(log)
    core = {"flow": "018bcfe5-6800-7000-8000-000000000002", "service": "crm", "verb": "GET", "effect": "deny", "status": 403}
    await log.append(events.make("Denied", "http", core, {"path": EVIL, "reason": b"no\x1b[2Jthing"}))
    await log.append(
        events.make("Mark", "session", {"verb": "opened", "session": "s-1"}, {"principal": b'{"issuer":"i","subject":"alice"}'})
    )
    await log.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    asyncio.run(make_store(folder))
    return folder / "audit.db"


def run(*words, env=None):
    return CliRunner().invoke(main, [str(word) for word in words], env={"GUARDHOUSE_TOKEN": "", **(env or {})})


def test_a_bare_file_is_searched_and_says_that_nothing_is_recorded(store):
    answer = run("search", "--db", store, "stage:ResponseComplete")
    assert (answer.exit_code, answer.stderr) == (0, "Reading audit.db directly: this is not recorded anywhere.\n")
    for part in ("ResponseComplete", "dev:alice", "crm DELETE", "hold 200", "1 PERSON", "customer-deletes-are-held", "2023-11-14"):
        assert part in answer.stdout


def test_json_is_one_object_a_line(store):
    answer = run("search", "--db", store, "--json", "kind:http")
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [(row["stage"], row.get("status")) for row in rows] == [("Denied", 403), ("ResponseComplete", 200), ("RequestReceived", None)]


@pytest.mark.parametrize("words", [("search", "effect:deny"), ("show", "018bcfe5-6800-7000-8000-000000000002")], ids=["search", "show"])
def test_recorded_content_cannot_speak_to_the_terminal(store, words):
    answer = run(words[0], "--db", store, words[1])
    assert answer.exit_code == 0
    assert not [char for char in answer.stdout if char in "\x1b\x07\u202e"]
    assert "\\x1b]0;owned\\x07\\u202egpj" in answer.stdout.replace("\n", "")


def test_one_flow_is_shown_with_who_why_decision_masks_and_answer(store):
    answer = run("show", "--db", store, FLOW)
    assert answer.exit_code == 0
    for part in (
        f"{FLOW}  ResponseComplete", "dev:alice (agent)", "support/4711 (header)", "DELETE /customers/7", "hold by customer-deletes-are-held", "1 PERSON",
        "200, 36 bytes, 12.5 ms", '"name": "[MASKED:PERSON]"', '"city": "Zürich"', "RequestReceived",
    ):  # fmt: skip
        assert part in answer.stdout
    assert json.loads(run("show", "--db", store, "--json", FLOW).stdout)["id"] == FLOW


def test_sessions_are_listed(store):
    answer = run("sessions", "--db", store, "--json")
    assert [json.loads(line)["principal"] for line in answer.stdout.splitlines()] == ["i:alice"]
    assert "i:alice" in run("sessions", "--db", store).stdout


def test_an_export_of_events(store, tmp_path):
    target = tmp_path / "all.jsonl"
    answer = run("export", "--db", store, "kind:http", "-o", target)
    assert (answer.exit_code, answer.stdout) == (0, f"Wrote 3 events to {target}.\n")
    assert [json.loads(line)["core"]["stage"] for line in target.read_text().splitlines()] == [
        "Denied",
        "ResponseComplete",
        "RequestReceived",
    ]
    assert target.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["all.jsonl"]


def test_an_export_of_flows_opens_in_mitmproxy(store, tmp_path):
    target = tmp_path / "case.flows"
    answer = run("export", "--db", store, "--format", "flows", "-o", target, "--json")
    assert (answer.exit_code, json.loads(answer.stdout)) == (0, {"file": str(target), "format": "flows", "count": 1, "skipped": []})
    with target.open("rb") as file:
        (flow,) = FlowReader(file).stream()
    assert (flow.id, flow.request.method, flow.response.status_code) == (FLOW, "DELETE", 200)
    assert flow.response.json() == {"name": "[MASKED:PERSON]", "city": "Zürich"}


def test_an_export_as_an_archive(store, tmp_path):
    target = tmp_path / "case.har"
    answer = run("export", "--db", store, "--format", "har", "-o", target, "--json")
    assert (answer.exit_code, json.loads(answer.stdout)) == (0, {"file": str(target), "format": "har", "count": 1, "skipped": []})
    (entry,) = json.loads(target.read_text())["log"]["entries"]
    assert (entry["request"]["method"], entry["response"]["status"]) == ("DELETE", 200)
    assert json.loads(entry["response"]["content"]["text"]) == {"name": "[MASKED:PERSON]", "city": "Zürich"}
    assert entry["_guardhouse"]["principal"] == "dev:alice"
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param(("search", "colour:red"), 2, "There is no facet 'colour'", id="unknown-facet"),
        pytest.param(("search", "--limit", "0"), 2, "0 is not in the range", id="limit"),
        pytest.param(("show",), 2, "Missing argument", id="no-id"),
        pytest.param(("show", "../etc"), 2, "An ID is", id="not-an-id"),
        pytest.param(("show", "999999"), 1, "There is no event", id="not-there"),
        pytest.param(("export", "kind:http"), 2, "Missing option", id="no-output"),
        pytest.param(("export", "--format", "flows", "-o", "-"), 2, "not to standard output", id="flows-to-a-pipe"),
        pytest.param(("export", "--format", "har", "-o", "-"), 2, "not to standard output", id="har-to-a-pipe"),
        pytest.param(("export", "verb:NOTHING", "-o", "x"), 1, "Nothing matches", id="empty-export"),
        pytest.param(("export", "--format", "pdf", "-o", "x"), 2, "Invalid value", id="unknown-format"),
    ],
)
def test_wrong_arguments_and_noes_have_their_exit_codes(store, words, code, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run(words[0], "--db", store, *words[1:])
    assert answer.exit_code == code
    assert says in answer.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_exit_3(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    answer = run("search", "--db", other)
    assert (answer.exit_code, "not a readable audit store" in answer.output) == (3, True)


def test_a_file_is_not_replaced_unless_told(store, tmp_path):
    target = tmp_path / "x.jsonl"
    target.write_text("mine")
    refused = run("export", "--db", store, "-o", target)
    done = run("export", "--db", store, "-o", target, "--force")
    assert (refused.exit_code, done.exit_code) == (2, 0)
    assert target.read_text() != "mine"


@pytest.fixture(scope="module")
def gateway(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    with served(folder, database=store) as (bench, env):
        yield bench, env | {"GUARDHOUSE_TOKEN": "carol"}


def test_through_the_control_plane_the_answer_is_the_same_and_recorded(gateway, store):
    bench, env = gateway
    remote = run("search", "--json", "--reason", "CASE-1", "kind:http", env=env)
    assert (remote.exit_code, remote.stdout) == (0, run("search", "--json", "--db", store, "kind:http").stdout)
    assert bench.store.appended[-1].fields["reason"] == b"CASE-1"
    assert "not recorded" not in remote.stderr


def test_an_export_through_the_control_plane(gateway, tmp_path):
    _, env = gateway
    target = tmp_path / "case.flows"
    answer = run("export", "--format", "flows", "service:crm", "-o", target, env=env)
    assert (answer.exit_code, answer.stdout) == (0, f"Wrote 1 flows to {target}.\n")


@pytest.mark.parametrize(
    ("token", "words", "code", "says"),
    [
        pytest.param("bob", ("search",), 1, "investigator", id="no-role"),
        pytest.param("nobody", ("search",), 1, "not accepted", id="bad-token"),
        pytest.param("", ("search",), 2, "GUARDHOUSE_TOKEN is not set", id="no-token"),
        pytest.param("carol", ("search", "colour:red"), 2, "no facet", id="unknown-facet"),
        pytest.param("carol", ("show", "999999"), 1, "There is no such thing", id="not-there"),
        pytest.param("alice", ("reload",), 1, "admin", id="reload-no-role"),
        pytest.param("carol", ("search", "--url", "http://gateway.example/"), 2, "not an https", id="cleartext"),
        pytest.param("carol", ("search", "--url", "https://127.0.0.1:1"), 3, "cannot reach", id="nobody-there"),
    ],
)
def test_refusals_through_the_control_plane_have_their_exit_codes(gateway, token, words, code, says):
    _, env = gateway
    answer = run(*words, env=env | {"GUARDHOUSE_TOKEN": token})
    assert answer.exit_code == code
    assert says in answer.output


def test_a_certificate_of_somebody_else_is_not_trusted(gateway, tmp_path):
    from addons.host import certificates

    _, env = gateway
    other = certificates.ensure(tmp_path / "other", "x", ["127.0.0.1"])
    answer = run("search", env=env | {"GUARDHOUSE_CA": str(other.ca_path)})
    assert answer.exit_code == 3
    assert "certificate is not trusted" in answer.output


def test_a_reload_prints_the_digest(gateway):
    bench, env = gateway
    answer = run("reload", env=env)
    assert (answer.exit_code, answer.stdout) == (0, f"Reloaded: {bench.snapshot.digest}\n")
    assert json.loads(run("reload", "--json", env=env).stdout) == {"reloaded": True, "digest": bench.snapshot.digest, "warnings": []}


def test_a_refused_reload_prints_every_problem(gateway):
    from addons.core.errors import ConfigError, ConfigProblem

    async def broken():
        raise ConfigError(
            [ConfigProblem("rules.yaml:7", "unknown key `efect`", "effect"), ConfigProblem("gateway.yaml:3", "bad \x1b[2J", "")]
        )

    bench, env = gateway
    bench.reload = broken
    try:
        answer = run("reload", env=env)
    finally:
        bench.reload = None
    assert answer.exit_code == 1
    assert "rules.yaml:7: unknown key `efect` (effect)\ngateway.yaml:3: bad \\x1b[2J" in answer.output


def test_an_investigator_who_is_no_person_of_the_store_is_a_person_of_the_token(gateway):
    bench, env = gateway
    bench.identity.add("erin", replace(person("erin", "dev:investigators")))
    run("search", env=env | {"GUARDHOUSE_TOKEN": "erin"})
    assert json.loads(bench.store.appended[-1].fields["principal"])["subject"] == "erin"
