"""`guardhouse init`: a skeleton that loads, and no file of anybody's lost."""

import json

import pytest
from click.testing import CliRunner

from addons.cli.init_site import command
from addons.cli.skeleton import SITE
from addons.core.config.load import load

NOW = 1_700_000_000.0


def init(*args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def test_the_skeleton_loads_and_is_for_a_real_site(tmp_path):
    result = init(tmp_path / "site")
    assert result.exit_code == 0
    snapshot = load(tmp_path / "site" / "policies", clock_now=NOW, environ={"HOME": "/h"})
    assert snapshot.gateway.development is None
    assert snapshot.rules.default == "deny"
    assert snapshot.warnings == ("retention.yaml is checked, but retention is not built yet: nothing is removed",)
    assert all(listener.tls is not None for listener in snapshot.gateway.listeners)
    assert all(issuer.preset == "oidc" for issuer in snapshot.gateway.identity.issuers)
    assert "unsafe" not in "".join(SITE.values())
    assert sorted(path.name for path in (tmp_path / "site" / "policies").iterdir()) == sorted(SITE)


def test_it_says_what_comes_next(tmp_path):
    lines = init(tmp_path).output
    for word in ("Next:", "CHANGE", "guardhouse policy check", "mitmdump -s", "guardhouse doctor", str(tmp_path / "policies")):
        assert word in lines


def test_json_for_programs(tmp_path):
    told = json.loads(init(tmp_path, "--json").output)
    assert told["written"] == ["gateway.yaml", "rules.yaml", "masking.yaml", "approvals.yaml", "retention.yaml"]
    assert told["policies"] == str(tmp_path / "policies")
    assert len(told["next"]) == 5


@pytest.mark.parametrize("name", sorted(SITE))
def test_it_never_writes_over_a_file(name, tmp_path):
    path = tmp_path / "policies" / name
    path.parent.mkdir()
    path.write_text("mine")
    result = init(tmp_path)
    assert (result.exit_code, path.read_text()) == (1, "mine")
    assert name in result.output
    assert [item.name for item in path.parent.iterdir()] == [name]
    assert json.loads(init(tmp_path, "--json").output)["exists"] == [name]


def test_force_writes_over_but_never_through_a_link(tmp_path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (policies / "gateway.yaml").symlink_to(tmp_path / "elsewhere")
    assert init(tmp_path).exit_code == 1
    assert init(tmp_path, "--force").exit_code == 0
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert not (policies / "gateway.yaml").is_symlink()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    assert init(tmp_path / "file" / "below").exit_code == 3
