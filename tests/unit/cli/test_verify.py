"""`guardhouse verify` and `guardhouse witness pin`: exit codes that a script can use."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from addons.cli import verify, witness
from addons.core.audit import keys
from tests.parts import audit


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    asyncio.run(audit.fill(folder, flows=3))
    return folder


def run(*args, **values):
    return CliRunner().invoke(verify.command, [str(arg) for arg in args], env={"GUARDHOUSE_POLICIES": "/nonexistent"}, **values)


def whole(log):
    return log / "audit.db", "--pin", log / "state" / keys.PIN_FILE, "--anchor", log / "witness.notes"


def test_a_sound_log_exits_0(log):
    result = run(*whole(log), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["verdict"] == "sound"


def test_one_edited_byte_exits_1_and_names_the_event(log):
    data = (log / "audit.db").read_bytes()
    at = data.index(b"/customers/42")
    (log / "audit.db").write_bytes(data[:at] + b"X" + data[at + 1 :])
    result = run(*whole(log))
    assert result.exit_code == 1
    assert "tampered" in result.stdout


@pytest.mark.parametrize("left_out", ["--pin", "--anchor"])
def test_without_pin_or_witness_it_exits_2(log, left_out):
    args = list(whole(log))
    del args[args.index(left_out) : args.index(left_out) + 2]
    result = run(*args)
    assert result.exit_code == 2
    assert "not provably complete" in result.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_what_cannot_be_read_exits_3(tmp_path, as_json):
    result = run(tmp_path / "nothing.db", *(["--json"] if as_json else []))
    assert result.exit_code == 3
    assert not as_json or json.loads(result.stdout)["exit_code"] == 3


def test_without_policies_and_without_a_file_it_exits_3():
    assert run().exit_code == 3


@pytest.mark.parametrize("args", [["--no-such-option"], ["a", "b"], ["--against-bytes"]])
def test_a_usage_error_exits_64(args):
    assert run(*args).exit_code == 64


def pin(*args):
    return CliRunner().invoke(witness.command, ["pin", *[str(arg) for arg in args]], env={"GUARDHOUSE_POLICIES": "/nonexistent"})


def test_the_pin_is_printed_and_imported(log, tmp_path):
    printed = pin("--state", log / "state")
    assert printed.exit_code == 0
    assert printed.stdout == (log / "state" / keys.PIN_FILE).read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert pin("--state", elsewhere).exit_code == 3
    assert pin("--state", elsewhere, "--import", log / "state" / keys.PIN_FILE).exit_code == 0
    assert (elsewhere / keys.PIN_FILE).read_text() == printed.stdout


def test_a_pin_of_another_log_exits_1_and_nonsense_exits_3(log, tmp_path):
    other = tmp_path / "other.pin"
    other.write_text(keys.signer_from(b"\x01" * 32, "guardhouse.example/other/r1").key.text() + "\n")
    assert pin("--state", log / "state", "--import", other).exit_code == 1
    other.write_text("nonsense\n")
    assert pin("--state", log / "state", "--import", other).exit_code == 3


def test_the_pin_as_json(log):
    told = json.loads(pin("--state", log / "state", "--json").stdout)
    assert told["origin"] == audit.ORIGIN
    assert told["pin"] == (log / "state" / keys.PIN_FILE).read_text().strip()
