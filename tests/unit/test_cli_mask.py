"""`guardhouse mask`: findings, masked output, exit codes; no gateway runs."""

import json

import pytest
from click.testing import CliRunner

from addons.cli.mask import command

BODY = {"customer": {"first_name": "Ann", "email": "ann@corp.example", "note": "\U0001f600 call +1 212 555 0123"}, "password": "hunter2"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "body.json"
    path.write_text(json.dumps(BODY, ensure_ascii=False))
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDHOUSE_STATE", str(tmp_path / "state"))
    return lambda *arguments, **more: CliRunner().invoke(command, [str(one) for one in arguments], **more)


def test_findings_are_json_lines_with_code_points(run, file):
    done = run(file, "--findings")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["pointer"], one["start"], one["end"], one["info_type"], one["source"]) for one in found] == [
        ("/customer/email", 0, 16, "EMAIL_ADDRESS", "key"),
        ("/customer/first_name", 0, 3, "PERSON", "key"),
        ("/customer/note", 7, 22, "PHONE_NUMBER", "pattern"),
        ("/password", 0, 7, "SECRET", "key"),
    ]
    assert set(found[0]) == {"pointer", "start", "end", "info_type", "score", "source"}


def test_findings_in_text_have_no_pointer(run):
    done = run("-", "--findings", input="line one\nEmail: ann@corp.example\npassword=hunter2\n")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["pointer"], one["start"], one["end"], one["info_type"]) for one in found] == [
        ("", 16, 32, "EMAIL_ADDRESS"),
        ("", 42, 49, "SECRET"),
    ]


def test_a_profile_narrows_the_findings(run, file):
    done = run(file, "--findings", "--profile", "secrets")
    assert [json.loads(line)["info_type"] for line in done.stdout.splitlines()] == ["SECRET"]


def test_the_masked_body_goes_to_standard_output_and_the_rest_to_standard_error(run, file):
    done = run(file)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["customer"]["first_name"] == "Ann"
    assert document["customer"]["email"].endswith("@masked.invalid")
    assert document["password"].startswith("[MASKED:SECRET:")
    assert "key of this run" in done.stderr


def test_json_has_counts_and_receipt_and_no_value(run, file):
    done = run(file, "--json")
    answer = json.loads(done.stdout)
    assert answer["counts"]["EMAIL_ADDRESS"] == 1
    assert "ann@corp" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "content", "code"),
    [
        pytest.param(["-", "--media-type", "application/json"], "{broken", 1, id="not-maskable"),
        pytest.param(["-", "--profile", "nope"], "x", 2, id="no-such-profile"),
        pytest.param(["/nonexistent/file"], "", 3, id="no-such-file"),
        pytest.param(["-", "--policies", "/nonexistent"], "x", 3, id="no-such-policies"),
    ],
)
def test_exit_codes(run, arguments, content, code):
    assert run(*arguments, input=content).exit_code == code
