import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from addons.cli.policy import command

SHIPPED = Path(__file__).parents[3] / "policies"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "policies")
    return tmp_path / "policies"


def run(folder, *arguments):
    return CliRunner().invoke(
        command, [arguments[0], *arguments[1:], "--policies", str(folder)], env={"GUARDHOUSE_STATE": str(folder.parent / "state")}
    )


def edit(folder, old, new):
    file = folder / "rules.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_shipped_rules_are_sound(folder):
    done = run(folder, "check", "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["ok"], said["rules"], said["problems"]) == (True, 6, [])


def test_a_broken_condition_is_named_with_its_line(folder):
    edit(folder, "    effect: deny\n", '    effect: deny\n    when: "operation.attributes.namespace == 1"\n')
    done = run(folder, "check", "--json")
    assert done.exit_code == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["where"].startswith("rules.yaml:")
    assert "`namespace`" in problem["problem"]
    assert "namespace" in run(folder, "check").output


def test_a_missing_folder_is_3(tmp_path):
    assert run(tmp_path / "nosuch", "check").exit_code == 3


def test_the_shipped_cases_pass(folder):
    done = run(folder, "test")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "8 of 8 cases pass.")


def test_a_case_that_differs_is_1_and_says_how(folder):
    edit(folder, "effect: hold\n    approval: one-sre", "effect: deny")
    done = run(folder, "test", "--json")
    assert done.exit_code == 1
    failed = [json.loads(line) for line in done.stdout.splitlines() if not json.loads(line)["passed"]]
    assert [case["case"] for case in failed] == ["agent deletes"]
    assert "effect: expected hold, got deny" in failed[0]["differences"]


def test_no_cases_are_no_error(folder):
    shutil.rmtree(folder / "tests")
    assert run(folder, "test").exit_code == 0


def test_cases_that_cannot_be_read_are_3(folder, tmp_path):
    (tmp_path / "x.yaml").write_text("- {name: a, name: b}\n")
    assert run(folder, "test", str(tmp_path / "x.yaml")).exit_code == 3
    assert run(folder, "test", str(tmp_path / "nosuch.yaml")).exit_code == 3


ASKED = ["--service", "crm", "--as", "dev:alice", "--kind", "agent", "--purpose", "demo/tour"]


@pytest.mark.parametrize(
    ("method", "url", "effect", "rules", "code"),
    [("GET", "/customers/7", "allow", ["people-and-agents-read-customers"], 0), ("DELETE", "/customers/7", "hold", ["customer-deletes-are-held"], 1), ("GET", "/export/a", "deny", ["no-exports-for-agents"], 1)],
)  # fmt: skip
def test_one_request_is_explained(folder, method, url, effect, rules, code):
    done = run(folder, "explain", method, url, *ASKED, "--json")
    said = json.loads(done.stdout)
    assert (said["effect"], said["rules"], done.exit_code) == (effect, rules, code)
    assert {story["rule"] for story in said["considered"] if story["matched"]} >= set(rules)


def test_the_tree_shows_why_a_rule_does_not_match(folder):
    done = run(folder, "explain", "DELETE", "/customers/7", *ASKED)
    assert "does not match: people-and-agents-read-customers" in done.output
    assert "methods: GET or HEAD [but got DELETE]" in done.output


def test_an_ambiguous_request_is_refused_before_policy(folder):
    done = run(folder, "explain", "GET", "/a/../b", *ASKED)
    assert done.exit_code == 1
    assert "refused before policy with 400 request-malformed" in done.output
