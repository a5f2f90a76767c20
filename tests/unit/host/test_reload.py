"""A reload is taken by every step, or by none."""

import re
from pathlib import Path

import pytest

from addons.core.config.load import load
from addons.core.errors import GuardhouseError
from addons.host import reload
from tests import harness

SHIPPED = Path(__file__).parents[3] / "policies"


@pytest.fixture
def site(tmp_path: Path):
    """A running configuration in a folder that the test may edit."""
    folder = tmp_path / "policies"
    folder.mkdir()
    for source in SHIPPED.glob("*.yaml"):
        (folder / source.name).write_text(source.read_text())
    environment = {"GUARDHOUSE_STATE": str(tmp_path / "state")}
    runtime = harness.runtime(load(folder, clock_now=1_700_000_000.0, environ=environment))
    return runtime, folder


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDHOUSE_STATE", str(tmp_path / "state"))


def edit(folder: Path, name: str, pattern: str, text: str) -> None:
    path = folder / name
    changed = re.sub(pattern, text, path.read_text(), count=1)
    assert changed != path.read_text()
    path.write_text(changed)


async def test_every_step_is_told_of_the_new_files(site):
    runtime, folder = site
    told = []
    runtime.reloaders.append(told.append)
    edit(folder, "gateway.yaml", r"header_count: 128", "header_count: 99")
    fresh = await reload.reload(runtime)
    assert runtime.snapshot is fresh and told == [fresh]
    assert fresh.gateway.limits.header_count == 99


async def test_a_step_that_cannot_take_them_leaves_everybody_with_the_old(site):
    runtime, folder = site
    old, told = runtime.snapshot, []

    def fails(snapshot) -> None:
        if snapshot is not old:
            raise ValueError("no room")

    runtime.reloaders += [told.append, fails]
    edit(folder, "gateway.yaml", r"header_count: 128", "header_count: 99")
    with pytest.raises(GuardhouseError) as refused:
        await reload.reload(runtime)
    assert "the old ones stay" in str(refused.value)
    assert runtime.snapshot is old
    assert told[-1] is old
