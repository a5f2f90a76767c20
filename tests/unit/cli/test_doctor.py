"""doctor explains what is wrong, and is silent about nothing."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from addons.cli.main import main
from tests.parts.processes import free_ports
from tests.parts.served import served

ROOT = Path(__file__).parents[3]


@pytest.fixture
def site(tmp_path):
    """The shipped policies on free ports, with a state folder of their own."""
    folder = tmp_path / "site" / "policies"
    shutil.copytree(ROOT / "policies", folder)
    (folder.parent / "recordings").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    text = (folder / "gateway.yaml").read_text()
    for old, new in zip(("8442", "8443", "8444", "8445", "8446"), free_ports(5), strict=True):
        text = text.replace(f":{old}", f":{new}")
    (folder / "gateway.yaml").write_text(text)
    return folder


def doctor(site, **env):
    state = site.parent.parent / "state"
    told = {"GUARDHOUSE_POLICIES": str(site), "GUARDHOUSE_STATE": str(state), "GUARDHOUSE_TOKEN": "x", "SSLKEYLOGFILE": "", **env}
    answer = CliRunner().invoke(main, ["doctor", "--json"], env=told)
    return answer.exit_code, [json.loads(line) for line in answer.stdout.splitlines()]


def said(findings, what, state):
    return " ".join(one["says"] for one in findings if one["what"] == what and one["state"] == state)


def test_a_good_installation_has_nothing_bad(site):
    code, findings = doctor(site)
    assert (code, [one for one in findings if one["state"] == "bad"]) == (0, [])
    assert said(findings, "policies", "ok").startswith(f"{site} is valid (sha-256:")
    assert "retention" in " ".join(one["says"] for one in findings)
    assert "is not running" in said(findings, "gateway", "note")
    assert said(findings, "port", "ok").count("is free") == 3


def test_broken_policies_are_named_with_file_and_line(site):
    rules = site / "rules.yaml"
    rules.write_text(rules.read_text().replace("default: deny", "defualt: deny"))
    code, findings = doctor(site)
    assert code == 1
    assert "rules.yaml:" in said(findings, "policies", "bad")
    assert "defualt" in said(findings, "policies", "bad")


def test_a_missing_folder_is_said(site):
    code, findings = doctor(site, GUARDHOUSE_POLICIES=str(site / "nowhere"))
    assert (code, "there is no such folder" in said(findings, "policies", "bad")) == (1, True)


def test_a_key_that_others_can_read_is_bad(site):
    key = site.parent.parent / "state" / "root-key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o644)
    code, findings = doctor(site)
    assert code == 1
    assert f"{key}: mode 0644; chmod 0600 it" in said(findings, "state folder", "bad")


def test_a_state_folder_that_others_can_enter_is_bad(site):
    (site.parent.parent / "state").chmod(0o755)
    code, findings = doctor(site)
    assert (code, "chmod 0700 it" in said(findings, "state folder", "bad")) == (1, True)


def test_a_key_log_is_bad(site):
    code, findings = doctor(site, SSLKEYLOGFILE="/tmp/keys")
    assert (code, "SSLKEYLOGFILE is set" in said(findings, "environment", "bad")) == (1, True)


def test_a_taken_port_is_bad(site):
    port = int((site / "gateway.yaml").read_text().partition("bind: 127.0.0.1:")[2].partition("\n")[0])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        code, findings = doctor(site)
    assert code == 1
    assert f"127.0.0.1:{port} cannot be bound" in said(findings, "port", "bad")


def test_an_altered_mitmproxy_is_named_by_the_patch_that_misses_it(site, monkeypatch):
    from addons.host import patches

    monkeypatch.setattr(patches, "check", lambda: ["Trailers"])
    code, findings = doctor(site)
    assert (code, "Trailers" in said(findings, "patches", "bad")) == (1, True)


def test_another_mitmproxy_is_bad(site, monkeypatch):
    from addons.cli import doctor as module

    monkeypatch.setattr(module.importlib.metadata, "version", lambda name: "13.0.0")
    code, findings = doctor(site)
    assert (code, "pip install mitmproxy==12.2.3" in said(findings, "mitmproxy", "bad")) == (1, True)


def test_a_running_gateway_is_asked_how_it_is(site, tmp_path):
    from addons.core.web.services import Readiness

    with served(tmp_path / "other", readiness=Readiness(notes=("development",))) as (bench, _):
        control = bench.snapshot.gateway.control
        text = (site / "gateway.yaml").read_text()
        head, _, tail = text.partition("control:\n  bind: ")
        (site / "gateway.yaml").write_text(head + f"control:\n  bind: {control.bind}\n" + tail.partition("\n")[2].replace(
            tail.partition("public_url: ")[2].partition(" ")[0], control.public_url, 1
        ))  # fmt: skip
        shutil.copytree(tmp_path / "other" / "state" / "certificates", site.parent.parent / "state" / "certificates")
        code, findings = doctor(site)
        bench.readiness = Readiness(problems=("draining",))
        stopping, told = doctor(site)
    assert (code, said(findings, "gateway", "ok")) == (0, "runs and is ready (development)")
    assert (stopping, said(told, "gateway", "bad")) == (1, "runs and is not ready: draining")


def test_people_read_it_too(site):
    answer = CliRunner().invoke(main, ["doctor", "--policies", str(site)], env={"GUARDHOUSE_STATE": str(site.parent.parent / "state")})
    assert answer.exit_code == 0
    assert "     ok  mitmproxy: 12.2.3\n" in answer.stdout
