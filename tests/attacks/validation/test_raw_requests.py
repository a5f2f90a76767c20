"""Each row of design/mitmproxy.md 7.1, sent raw to a real mitmdump: refused, and the upstream saw nothing."""

import json

import pytest

from tests.attacks.validation.conftest import Stack
from tests.parts import raw_client
from tests.parts.raw_requests import ROWS, Row

pytestmark = pytest.mark.e2e

# mitmproxy's own reader refuses these before any hook, with its own 400; the rule is then nobody's to name
STOCK_HTTP1 = frozenset("method-connect version-2-in-text".split())
SILENT_HTTP1 = frozenset({"trailers"})  # stock mitmproxy's reader crashes on them (fact 4); the patch in host hands them over


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.http1])
def test_over_http1_it_is_refused_and_the_upstream_saw_nothing(stack: Stack, row: Row) -> None:
    stack.upstream.forget()
    answer = raw_client.http1(stack.cleartext, row.raw(), timeout=1 if row.id in SILENT_HTTP1 else 5)
    assert stack.upstream.raw == []
    assert answer.status == (0 if row.id in SILENT_HTTP1 else 400)
    if "x-rule" in answer.headers:
        assert answer.headers["x-rule"] == ("target-absolute" if row.id == "target-absolute" else row.rule)
        assert json.loads(answer.body)["code"] == "request-malformed"


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.http2])
def test_over_http2_it_is_refused_and_the_upstream_saw_nothing(stack: Stack, row: Row) -> None:
    stack.upstream.forget()
    answer = raw_client.http2(stack.tls, row.frames(), row.body, list(row.trailers))
    assert stack.upstream.raw == []
    assert answer.status in (0, 400)  # 0: the reader of HTTP/2 ended the connection (fact 24)
    if "x-rule" in answer.headers:
        assert answer.headers["x-rule"] == row.rule
