"""The canary's requests, doors and files, without a gateway."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from addons.cli import canary_look, canary_requests, canary_wire
from addons.cli.main import main
from addons.core.config.load import load
from addons.core.masking import canary
from tests.parts.processes import free_ports

ROOT = Path(__file__).parents[3]
VALUES = {value.kind: value.text for value in canary.make("here", bytes(range(32)))}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return load(ROOT / "policies", clock_now=0.0, environ={"GUARDHOUSE_STATE": str(tmp_path_factory.mktemp("state"))})


@pytest.mark.parametrize("place", canary_requests.PLACES)
def test_every_place_holds_a_planted_value(place):
    search = canary.Search()
    search.plant("here", bytes(range(32)))
    raw = canary_requests.planted(place, "/echo", VALUES).raw("a.example", {"X-Purpose": "demo/x"})
    assert raw.startswith((b"GET /echo", b"POST /echo", b"DELETE /echo", b"PATCH /echo"))
    assert "email" in {hit.kind for hit in search.hits(raw)}


def test_a_request_says_how_long_its_body_is():
    raw = canary_requests.planted("gzip", "/echo", VALUES).raw("a.example", {})
    head, _, body = raw.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(gzip.decompress(body)) == {"a": list(VALUES.values())}


def test_doors_are_every_service_behind_every_listener(snapshot):
    found = [(door.name, door.host, door.path, door.said, door.tls is not None) for door in canary_wire.doors(snapshot, "")]
    purpose = {"X-Purpose": "support/canary"}
    assert found == [
        ("local/crm", "127.0.0.1:8443", "/echo", purpose, True),
        ("local/echo", "echo.localhost:8443", "/echo", purpose, True),
        ("local-cleartext/crm", "127.0.0.1:8442", "/echo", purpose, False),
    ]


@pytest.mark.parametrize("at", [0, 100, canary_look.PIECE - 10, canary_look.PIECE, 2 * canary_look.PIECE - 3])
def test_a_value_anywhere_in_a_file_is_found(snapshot, tmp_path, at):
    run = canary_look.Run(snapshot)
    value = run.search.plant("here", bytes(range(32)))[0]
    (tmp_path / "gateway.log").write_bytes(b"." * at + value.text.encode() + b"." * 50)
    canary_look.at_file(run, "logs", tmp_path / "gateway.log", "gateway.log")
    assert run.leaks == {canary_look.Leak("gateway.log", "", "EMAIL_ADDRESS", "plain", "here")}


def test_what_stood_in_a_log_before_is_not_read(snapshot, tmp_path):
    run = canary_look.Run(snapshot)
    value = run.search.plant("here", bytes(range(32)))[0]
    (tmp_path / "gateway.log").write_text(value.text + "\nmore\n")
    canary_look.at_file(run, "logs", tmp_path / "gateway.log", "gateway.log", len(value.text))
    assert run.leaks == set()


def canary_run(tmp_path, *arguments, edit=lambda text: text, token="x"):
    folder = tmp_path / "site" / "policies"
    shutil.copytree(ROOT / "policies", folder)
    text = (folder / "gateway.yaml").read_text()
    for old, new in zip(("8442", "8443", "8444", "8445", "8446"), free_ports(5), strict=True):
        text = text.replace(f":{old}", f":{new}")
    (folder / "gateway.yaml").write_text(edit(text))
    told = {"GUARDHOUSE_POLICIES": str(folder), "GUARDHOUSE_STATE": str(tmp_path / "state"), "GUARDHOUSE_TOKEN": token}
    return CliRunner().invoke(main, ["doctor", "--canary", *arguments], env=told)


def test_a_gateway_that_does_not_run_cannot_be_reached(tmp_path):
    answer = canary_run(tmp_path)
    assert answer.exit_code == 3
    assert "cannot reach the control plane" in answer.output


def test_it_needs_a_token(tmp_path):
    answer = canary_run(tmp_path, token="")
    assert answer.exit_code == 2
    assert "GUARDHOUSE_TOKEN" in answer.output


def test_an_unknown_service_is_a_wrong_argument(tmp_path):
    answer = canary_run(tmp_path, "--service", "nowhere")
    assert answer.exit_code == 2
    assert "nowhere" in answer.output
