"""`Prefer`: what is said to us is taken, what is said to the upstream stays."""

import pytest

from addons.core.approval.prefer import Preference, read


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Preference()),
        (["wait=10"], Preference(10.0)),
        (["Wait = 10"], Preference(10.0)),
        (['wait="10"'], Preference(10.0)),
        (["wait=10; x=y"], Preference(10.0)),
        (["wait=1, wait=2"], Preference(1.0)),
        (["wait=-1"], Preference()),
        (["wait=1e9"], Preference()),
        (["wait=٣"], Preference()),
        (["wait=inf"], Preference()),
        (["wait"], Preference()),
        (["respond-async"], Preference(None, True)),
        (["RESPOND-ASYNC, wait=5"], Preference(5.0, True)),
        (["return=minimal, wait=5"], Preference(5.0, False, ("return=minimal",))),
        (['x="a, wait=5"'], Preference(None, False, ('x="a, wait=5"',))),
        (["a", "b, respond-async"], Preference(None, True, ("a", "b"))),
        ([",,"], Preference()),
    ],
)
def test_what_is_taken_and_what_stays(values, expected):
    assert read(values) == expected
