"""The documents know every code, command, option and folder; what they say is there, is there."""

import re
from pathlib import Path

import pytest

from addons.cli.main import VERBS
from addons.core.errors import CODES

ROOT = Path(__file__).parents[2]
ADDONS = (ROOT / "addons" / "README.md").read_text()
SOURCES = [*(ROOT / "addons").rglob("*.py"), *(ROOT / "scripts").glob("*")]


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_documented_with_its_status(code):
    assert f"| `{code}` | {CODES[code].status} |" in ADDONS


def test_no_code_is_documented_that_does_not_exist():
    section = ADDONS.split("## Refusals")[1].split("## Commands")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \| \d", section, re.MULTILINE)) == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_raised_by_the_source_and_met_by_a_test(code):
    used = any(f'"{code}"' in path.read_text() for path in SOURCES if path.name not in ("errors.py",) and path.suffix == ".py")
    default = re.search(rf'default_code[^=\n]*= "{code}"', (ROOT / "addons/core/errors.py").read_text())
    assert used or default, "no source raises it"
    tested = any(code in path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.name != "test_docs.py")
    assert tested, "no test meets it"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_documented_and_there(verb):
    assert f"`guardhouse {verb}" in ADDONS
    modules = {"init": "init_site"}
    assert (ROOT / "addons" / "cli" / f"{modules.get(verb, verb)}.py").exists()


def test_every_environment_variable_is_documented():
    named = {name for path in SOURCES if path.is_file() for name in re.findall(r"GUARDHOUSE_[A-Z]+(?:_[A-Z]+)*", path.read_text())}
    internal = {"GUARDHOUSE_REPLAY_GATEWAY"}  # from one of our processes to its own child
    missing = {name for name in named - internal if f"`{name}`" not in ADDONS}
    assert not missing


@pytest.mark.parametrize("folder", ["addons", "policies", "recordings", "scripts", "tests"])
def test_every_top_folder_has_a_readme(folder):
    assert (ROOT / folder / "README.md").read_text().startswith(f"# {folder}/")


def test_links_of_the_readme_lead_somewhere():
    for page in ("README.md", "addons/README.md", "policies/README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            if "://" not in target:
                assert (ROOT / page).parent.joinpath(target).exists(), target


def test_there_is_no_other_top_folder():
    known = {"addons", "policies", "recordings", "scripts", "tests"}
    found = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith((".", "_")) and not path.name.endswith(".egg-info")
    }
    assert found <= known | {"build", "dist", "node_modules"}


def test_lock_files_name_no_address():
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text and "--index-url" not in text and "--find-links" not in text
        assert "--hash=sha256:" in text
