import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.core.wire import strict_json

VALUES = st.recursive(
    st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(['[[["', '\\"{', "}\\\\"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab[{\"\\", max_size=3), inner, max_size=2),
    max_leaves=20,
)  # fmt: skip


def depth_of(value):
    """How deep a document nests, counted on the document and not on its text."""
    if isinstance(value, dict | list):
        return 1 + max((depth_of(item) for item in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0


@given(VALUES, st.integers(0, 4), st.booleans())
def test_depth_is_that_of_the_document_whatever_its_strings_hold(value, limit, ascii_only):
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    if depth_of(value) > limit:
        with pytest.raises(strict_json.StrictJsonError):
            strict_json.loads(body, max_depth=limit)
    else:
        assert strict_json.loads(body, max_depth=limit) == value


@given(st.text('[]{}":,\\a1 ', max_size=40))
def test_what_is_taken_is_json(text):
    try:
        found = strict_json.loads(text.encode())
    except strict_json.StrictJsonError:
        return
    assert found == json.loads(text)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a": 1, "a": 1}', id="twice"),
        pytest.param(b'{"a": 1, "\\u0061": 1}', id="twice-escaped"),
        pytest.param(b"\xef\xbb\xbf{}", id="mark"),
        pytest.param('"\u00e4"'.encode("latin-1"), id="latin-1"),
        pytest.param(b"NaN", id="nan"),
        pytest.param(b"[-Infinity]", id="infinity"),
        pytest.param(b'["\\ud800"]', id="lone-surrogate"),
        pytest.param(b'{"\\udfff": 1}', id="lone-surrogate-in-a-key"),
        pytest.param(b"[" * 17 + b"]" * 17, id="deep"),
        pytest.param(b'["', id="cut"),
        pytest.param(b'"\\', id="cut-in-an-escape"),
        pytest.param(b"{} {}", id="two"),
    ],
)
def test_what_is_refused(body):
    with pytest.raises(strict_json.StrictJsonError):
        strict_json.loads(body)


def test_an_unclosed_string_of_many_quotes_costs_no_more_than_its_length():
    assert strict_json._too_deep('"' + '\\"' * 2_000_000, 1) is False  # a backtracking reader would never return
