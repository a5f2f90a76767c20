"""A folder of broken configurations, and what each must be told: tests/golden/config/*.yaml.

Each file says how the small valid site in tests/golden/config/base is changed and the whole text of the error that
follows. A new case is a new file; write the expected text by hand.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from addons.core.config.load import load
from addons.core.errors import ConfigError

GOLDEN = Path(__file__).parents[3] / "golden" / "config"
NOW = 1_700_000_000.0


def report(changes: Sequence[Mapping[str, str]]) -> str:
    """The error text of the base site after these changes."""
    with tempfile.TemporaryDirectory() as folder:
        policies = Path(folder) / "policies"
        shutil.copytree(GOLDEN / "base", policies)
        for change in changes:
            path = policies / change["file"]
            text = path.read_text()
            assert change["find"] in text, change["find"]
            path.write_text(text.replace(change["find"], change["write"], 1))
        try:
            load(policies, clock_now=NOW, environ={"HOME": folder})
        except ConfigError as error:
            return str(error)
    return ""


def test_the_base_is_valid():
    assert report([]) == ""


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_broken_configuration_is_told_in_full(path):
    case = YAML(typ="safe").load(path.read_text())
    assert report(case["change"]) == case["expect"].rstrip("\n")
    assert case["expect"].strip()
