"""Only values of one strict form are kept as they are."""

import pytest

from addons.core.wire.plain_fields import is_plain


@pytest.mark.parametrize(
    ("name", "value", "is_it"),
    [
        pytest.param("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True, id="traceparent"),
        pytest.param("traceparent", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False, id="upper-case"),
        pytest.param("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", False, id="line-end"),
        pytest.param("traceparent", "erika@corp.example", False, id="a-value"),
        pytest.param("date", "Fri, 20 Nov 2026 22:00:00 GMT", True, id="date"),
        pytest.param("date", "Fri, 20 Nov 2026 22:00:00 GMT erika@corp.example", False, id="date-and-more"),
        pytest.param("content-length", "123", True, id="length"),
        pytest.param("content-length", "4111111111111111", False, id="a-card-as-length"),
        pytest.param("content-length", "١٢٣", False, id="digits-of-others"),
        pytest.param("x-request-id", "123", False, id="another-name"),
    ],
)
def test_a_plain_field_holds_nothing_but_its_form(name, value, is_it):
    assert is_plain(name, value) is is_it
