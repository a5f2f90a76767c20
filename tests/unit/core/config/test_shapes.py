"""The table of keys: all of it documented, all of it used."""

import re
from pathlib import Path

import pytest

from addons.core.config import document
from addons.core.config.load import FILES
from addons.core.config.shapes import SHAPES

POLICIES = Path(__file__).parents[4] / "policies"


def chapter(file):
    """The part of policies/README.md about one file."""
    return (POLICIES / "README.md").read_text().split(f"\n## {file}.yaml\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_key_is_documented(shape):
    file = shape.partition(".")[0]
    text = chapter(file if file in FILES else "gateway")
    assert [key for key in SHAPES[shape] if not re.search(rf"[`{{ ]{key}[`:,}}]", text)] == []


def keys_in(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from keys_in(item)
    if isinstance(value, list):
        for item in value:
            yield from keys_in(item)


def test_every_section_is_read_by_somebody():
    source = "".join(path.read_text() for path in (POLICIES.parent / "addons" / "core" / "config").glob("*.py") if path.name != "shapes.py")
    assert [shape for shape in SHAPES if f'"{shape}"' not in source and shape not in FILES] == []


def test_the_example_shows_most_keys():
    shown = {key for file in FILES for key in keys_in(document.read_plain(POLICIES / f"{file}.yaml"))}
    known = {key for keys in SHAPES.values() for key in keys}
    assert len(known & shown) > 0.75 * len(known)
