"""A secret pasted into a policy file, wherever a reference belongs, does not reach the error text (which reaches the log)."""

import json
import re
import shutil
from pathlib import Path

import pytest

from addons.core.config import document
from addons.core.config.load import FILES, load
from addons.core.errors import ConfigError

BASE = Path(__file__).parents[2] / "golden" / "config" / "base"
CANARY = "c4n4ry-0af1-very-secret"
REFERENCE = re.compile(r"auto|(env|file|state):.+")
NOT_SECRET = {"dir", "file", "name"}  # a folder, the witness file, a header: any text will do there, and it is no secret
SECRET_PLACES = {"keys", "credential", "secrets"}


def places(value, path=()):
    """Every value that is a reference, or lies where secrets are named."""
    if SECRET_PLACES & set(path) or (isinstance(value, str) and REFERENCE.fullmatch(value)):
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def put(value, path, new):
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put(value[path[0]], path[1:], new)
    return copied


PLACES = [
    (file, path)
    for file in FILES
    if file != "masking"
    for path in places(document.read_plain(BASE / f"{file}.yaml"))
    if path[-1] not in NOT_SECRET
]


def test_the_places_are_found():
    assert len(PLACES) >= 15


@pytest.mark.parametrize(
    "pasted",
    [CANARY, f"Bearer {CANARY}", f"exec:{CANARY}", f"env:{CANARY} x", f"https://u:{CANARY}@h", f"${{{CANARY}}}", {CANARY: 1}, [CANARY]],
)
@pytest.mark.parametrize(("file", "path"), PLACES, ids=lambda value: value if isinstance(value, str) else ".".join(map(str, value)))
def test_it_is_not_quoted(file, path, pasted, tmp_path):
    folder = tmp_path / "policies"
    shutil.copytree(BASE, folder)
    plain = document.read_plain(folder / f"{file}.yaml")
    (folder / f"{file}.yaml").write_text(json.dumps(put(plain, path, pasted)))
    with pytest.raises(ConfigError) as caught:
        load(folder, clock_now=0.0, environ={"HOME": "/nowhere"})
    assert CANARY not in str(caught.value)
