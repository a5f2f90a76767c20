"""A reason that nobody can read is none."""

import pytest

from addons.core.approval.decide import check_reason
from addons.core.errors import DecisionError


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param("", id="none"),
        pytest.param(" " * 40, id="spaces"),
        pytest.param("\u200b" * 40, id="zero-width"),
        pytest.param("ok" + "\u2060\u00ad\ufeff" * 10, id="two-letters-and-what-nobody-sees"),
        pytest.param("\u202e" * 40, id="directions"),
        pytest.param("\x00\x1b" * 20, id="controls"),
    ],
)
def test_what_nobody_sees_is_no_reason(reason):
    with pytest.raises(DecisionError) as raised:
        check_reason(reason, True)
    assert raised.value.status == 422


@pytest.mark.parametrize(
    "reason", ["CHG-4711 agreed", "Zo\u00eb sagt: gel\u00f6scht", "\u627f\u8a8d\u3057\u307e\u3057\u305f\u3001\u54e1\u4f1a\u3067"]
)
def test_what_people_write_counts(reason):
    assert check_reason(reason, True) == reason
