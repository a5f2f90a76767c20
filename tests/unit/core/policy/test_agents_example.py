"""The example of policies/README.md decides as it says."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from addons.core.config.load import load
from addons.core.policy.cases import cases_from, run
from addons.core.policy.check import problems
from tests.parts import agents_example

SHIPPED = Path(__file__).parents[4] / "policies"
NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The shipped example with the part for agents."""
    home = tmp_path_factory.mktemp("agents")
    (home / "policies").mkdir()
    for source in SHIPPED.glob("*.yaml"):
        (home / "policies" / source.name).write_text(agents_example.added_to(source.name, source.read_text()))
    return load(home / "policies", checks=(problems,), clock_now=NOW, environ={"HOME": str(home)})


CASES = YAML(typ="safe").load(agents_example.cases())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_written_case_holds(example, case):
    (read,) = cases_from([case], {"dev": "http://127.0.0.1:8445"})
    assert run(example, read, NOW).differences == ()


def test_the_tools_are_an_mcp_server(example):
    tools = example.gateway.services["tools"]
    assert (tools.kind, tools.mcp.path, tools.mcp.tools) == ("mcp", "/mcp", {"delete_customer": ("delete",)})
