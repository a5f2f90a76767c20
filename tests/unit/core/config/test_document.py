"""YAML as one reader reads it: YAML 1.2 scalars, one document, every line known."""

import pytest

from addons.core.config import document
from addons.core.errors import ConfigError


def parse(text):
    told = []
    node = document.parse(text, lambda line, problem, hint: told.append((line, problem)))
    return node, told


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("7", 7), ("-7", -7), ("+7", 7), ("007", 7), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("true", True), ("False", False), ("null", None), ("~", None),
        ("", None), ("yes", "yes"), ("no", "no"), ("on", "on"), ("2026-03-31", "2026-03-31"), ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("0x1f", "0x1f"),
        (".inf", ".inf"), (".nan", ".nan"), ("1.2.3", "1.2.3"), ("'7'", "7"), ('"true"', "true"), ("''", ""), ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("12345678901234567890", 12345678901234567890.0), ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(written, value):
    node, told = parse(f"key: {written}")
    assert told == []
    found = node.value["key"].value
    assert (found, type(found)) == (value, type(value))


def test_every_value_knows_the_line_a_person_would_look_at():
    node, _ = parse("# comment\na:\n  b:\n    - 1\n    - c: 2\nd: [3,\n  4]\n")
    a, d = node.value["a"], node.value["d"]
    assert (a.line, a.value["b"].line, [item.line for item in a.value["b"].value]) == (2, 3, [4, 5])
    assert (d.line, [item.line for item in d.value]) == (6, [6, 7])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("a: 1\na: 2", [(2, "duplicate key `a`, first on line 1")], id="duplicate"),
        pytest.param("a: {b: 1, 'b': 2}", [(1, "duplicate key `b`, first on line 1")], id="duplicate-in-quotes"),
        pytest.param("? [a]\n: 1", [(1, "a key that is not a plain text")], id="list-as-key"),
        pytest.param("a: &x 1", [(1, "anchors (&name) are not used in these files")], id="anchor"),
        pytest.param("a: *x", [(1, "aliases (*name) are not used in these files")], id="alias"),
        pytest.param("a: !!python/object:os.system 1", [(1, "tags (!name) are not used in these files")], id="tag"),
        pytest.param("<<: {a: 1}", [(1, "merge keys (<<) are not used in these files")], id="merge"),
        pytest.param("a: 1\n---\nb: 2", [(2, "a second document begins here, expected one document in a file")], id="second-document"),
        pytest.param("a: \u202etxt", [(1, "a character that changes the direction of text is not allowed here")], id="bidi"),
        pytest.param("a: 'x\x07'", [(1, "not YAML: a character that is not allowed")], id="control-character"),
        pytest.param("a: x${B}", [(1, "`${` in a value: nothing is interpolated in these files")], id="interpolation"),
    ],
)
def test_what_two_readers_could_read_differently_is_told(text, told):
    assert parse(text)[1] == told


def test_however_deep_it_goes():
    _, told = parse("a: " + "[" * 200 + "]" * 200)
    assert told == [(1, "nested deeper than 24")]


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "cases.yaml"
    path.write_bytes(b"# " + b"x" * document.MAX_FILE)
    with pytest.raises(ConfigError, match=r"cases.yaml:1: the file has 1048578 bytes, expected at most 1048576"):
        document.read_plain(path)
