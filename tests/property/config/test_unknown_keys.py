"""An unknown key anywhere in a valid file refuses all of it, and says where."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.config import document
from addons.core.config.load import FILES, load
from addons.core.errors import ConfigError

ROOT = Path(__file__).parents[3]
NOW = 1_700_000_000.0
# Mappings whose keys are names of the site's own: a new key there is a new name, not an unknown key.
FREE = {
    "attributes", "claim_mappings", "bound_claims", "approvers", "subprotocols", "entities", "profiles", "agents", "nlp_engine",
}  # fmt: skip
FREE_AT_TOP = {
    ("masking", "services"),
    ("approvals", "approvals"),
    ("approvals", "people"),
    ("approvals", "integrations"),
    ("approvals", "notifications"),
}


def tell_nothing(line, problem, hint):
    raise AssertionError(problem)


def sections(file, node, path=()):
    """Every mapping of a document that has fixed keys, by its path."""
    if isinstance(node.value, dict):
        name = path[-1] if path else ""
        free = name in FREE or (len(path) == 1 and (file, name) in FREE_AT_TOP) or path == ("unsafe_development", "people")
        if not free:
            yield path
        for key, item in node.value.items():
            yield from sections(file, item, (*path, key))
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from sections(file, item, (*path, index))


def all_sections(folder):
    return [(folder, file, path) for file in FILES for path in sections(file, document.read(folder / f"{file}.yaml", tell_nothing))]


SECTIONS = [*all_sections(ROOT / "policies"), *all_sections(ROOT / "tests" / "golden" / "config" / "base")]
KEYS = st.from_regex(r"[a-z_]{1,20}", fullmatch=True).map(lambda text: "zz_" + text)


def as_flow(value, insert, path, here=()):
    """The document on one line, with one more key in the mapping at `path`; a line break stands before the new key."""
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {as_flow(item, insert, path, (*here, key))}" for key, item in value.items()]
        if here == path:
            parts.append(f"\n  {json.dumps(insert)}: 1")
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_flow(item, insert, path, (*here, index)) for index, item in enumerate(value)) + "]"
    return json.dumps(value)


def test_there_are_many_places():
    assert len(SECTIONS) > 120


@settings(max_examples=60, deadline=None)
@given(place=st.sampled_from(SECTIONS), key=KEYS)
def test_an_unknown_key_anywhere_is_told_with_file_and_line(place, key, tmp_path_factory):
    source, file, path = place
    folder = tmp_path_factory.mktemp("site") / "policies"
    shutil.copytree(source, folder)
    plain = document.read_plain(folder / f"{file}.yaml")
    (folder / f"{file}.yaml").write_text(as_flow(plain, key, path) + "\n")
    with pytest.raises(ConfigError) as caught:
        load(folder, clock_now=NOW, environ={"HOME": "/nowhere"})
    told = [(problem.where, problem.problem) for problem in caught.value.problems]
    assert any(
        where == f"{file}.yaml:2" and problem.startswith(("unknown key in ", f"unknown key `{key}` in ")) for where, problem in told
    ), told
    assert len(told) == 1, told


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200))
def test_no_text_makes_the_parser_raise(text):
    told = []
    node = document.parse(text, lambda line, problem, hint: told.append(line))
    assert node is None or isinstance(node, document.Node)
    assert all(line >= 1 for line in told)
