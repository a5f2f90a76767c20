"""`guardhouse identity check`: from standard input or the environment, never from an argument, never printed."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from addons.cli import identity
from addons.cli.main import main
from addons.core.clock import SystemClock
from addons.core.config import model
from addons.core.identity import api_keys
from tests.parts.identity import Provider, snapshot
from tests.parts.identity import issuer as terms


@pytest.fixture
def provider(tmp_path, monkeypatch):
    """A provider whose keys lie in a file, so that the command works without any network."""
    made = Provider(SystemClock())
    keys = tmp_path / "jwks.json"
    keys.write_bytes(made.fetch("/jwks", 1, 1))
    known = snapshot(replace(terms(), jwks=model.Jwks(file=keys)))
    monkeypatch.setattr(identity, "snapshot_of", lambda policies: known)
    return made


def run(*words, stdin=None, token=""):
    return CliRunner().invoke(main, ["identity", "check", *words], input=stdin, env={"GUARDHOUSE_TOKEN": token})


def test_a_good_token_says_who_it_would_be(provider):
    token = provider.token()
    answer = run("-", stdin=token + "\n")
    assert answer.exit_code == 0, answer.output
    assert "22      ok  act" in answer.stdout and "corp:alice" in answer.stdout and "corp:sre" in answer.stdout
    assert not [part for part in token.split(".") if part in answer.output]


def test_what_fails_is_named_with_what_is_expected(provider):
    answer = run(token="Bearer " + provider.token(aud="https://elsewhere.example/", cnf={"jkt": "x"}))
    assert answer.exit_code == 1
    assert "14   fails  aud: expected https://guardhouse.example/" in answer.stdout
    assert "21   fails  cnf: bound to a key" in answer.stdout
    assert "elsewhere" not in answer.output


def test_json(provider):
    answer = run("--json", token=provider.token(aud="x"))
    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["good"], told["principal"]) == (1, False, None)
    assert [row["row"] for row in told["checks"] if row["state"] == "fails"] == [14]
    assert json.loads(run("--json", token=provider.token()).stdout)["principal"]["principal"] == "corp:alice"


def test_a_token_on_the_command_line_is_refused_and_not_repeated(provider):
    token = provider.token()
    answer = run(token)
    assert (answer.exit_code, token in answer.output) == (2, False)


@pytest.mark.parametrize(("stdin", "token"), [("", ""), (None, ""), ("a b\n", "")], ids=["empty", "unset", "two"])
def test_nothing_to_look_at_is_a_usage_error(provider, stdin, token):
    assert run(*(["-"] if stdin is not None else []), stdin=stdin, token=token).exit_code == 2


def test_an_api_key_is_only_looked_at_for_typing_errors(provider):
    text, _ = api_keys.make()
    whole, cut = run("-", stdin=text), run("-", stdin=text[:-1])
    assert (whole.exit_code, cut.exit_code) == (0, 1)
    assert text not in whole.output and text[:-1] not in cut.output


def test_keys_that_cannot_be_had_are_exit_3(provider, tmp_path):
    (tmp_path / "jwks.json").unlink()
    answer = run(token=provider.token())
    assert (answer.exit_code, "10 unknown  key: the issuer's keys cannot be had" in answer.stdout) == (3, True)
