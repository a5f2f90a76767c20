"""Names of header fields are stored as they are when they are names, and masked when they may be values."""

import pytest

from addons.core.wire.field_names import stored_name


def mask(text: str) -> str:
    return "***" if "@" in text or text.startswith("AKIA") else text


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        pytest.param("content-type", "content-type", id="registered"),
        pytest.param("X-Request-Id2", "X-Request-Id2", id="small-number"),
        pytest.param("x_request_id", "x_request_id", id="underscores"),
        pytest.param("bad ann@corp.example", "***", id="e-mail"),
        pytest.param("AKIA2345234523452345", "***", id="key"),
        pytest.param("X_AKIA2345234523452345", "X_***", id="key-behind-a-joint"),
        pytest.param("a" * 65, "a" * 65, id="long"),
    ],
)
def test_a_name_that_may_be_a_value_is_masked(name, stored):
    assert stored_name(name, mask) == stored


def test_a_plain_name_costs_no_mask():
    assert stored_name("accept-encoding", lambda text: pytest.fail("asked")) == "accept-encoding"
