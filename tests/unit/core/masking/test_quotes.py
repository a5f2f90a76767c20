"""What stands around a value is the document's, and stays."""

import pytest

from tests.parts.masking import mask


@pytest.mark.parametrize("quote", ["'", '"', "*", "<", "`"])
def test_the_quotes_around_an_address_stay(quote):
    closing = ">" if quote == "<" else quote
    masked = mask(f"<a e={quote}ann@corp.example{closing} b/>".encode(), "text/plain").body.decode()
    assert masked.startswith(f"<a e={quote}p-") and masked.endswith(f"@masked.invalid{closing} b/>")
