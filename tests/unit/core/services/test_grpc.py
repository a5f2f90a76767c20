"""gRPC is decided by service and method, inside the POST that carries it."""

import pytest

from addons.core.config.model import Address, Service
from addons.core.errors import ValidationError
from addons.core.exchange import Access
from addons.core.services import http

SERVICE = Service("bank", "http", "https", Address("127.0.0.1", 1))


def operation(path="/bank.v1.Accounts/Close", method="POST", content_type="application/grpc", query="", body=b"\0\0\0\0\1x", **more):
    headers = [("content-type", content_type), *((name.replace("_", "-"), value) for name, value in more.items())]
    return http.operation(method, "https", "127.0.0.1", path, query, headers, body, SERVICE)


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "Application/GRPC; x=y"])
def test_a_call_is_a_nested_operation(content_type):
    found = operation(content_type=content_type)
    assert (found.protocol, found.verb, found.access) == ("http", "POST", frozenset({Access.WRITE}))
    (call,) = found.children
    assert (call.protocol, call.verb, call.text) == ("grpc", "Close", "bank.v1.Accounts/Close")
    assert call.access == frozenset({Access.EXECUTE})
    assert call.resources == ("/bank.v1.Accounts/Close", "bank.v1.Accounts")
    assert call.attributes["grpc_service"] == "bank.v1.Accounts"
    assert set(call.attributes) == http.ATTRIBUTES


def test_anything_else_is_none():
    found = operation(path="/customers", content_type="application/json", body=b"{}")
    assert found.children == ()
    assert found.attributes["grpc_method"] is None


def test_a_method_called_query_has_no_query_in_its_messages():
    assert operation(path="/bank.Search/Query", body=b'\0\0\0\0\2\\"').attributes["filters"] == []


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"path": "/customers"}, id="one-segment"),
        pytest.param({"path": "/a/b/c"}, id="three-segments"),
        pytest.param({"query": "x=1"}, id="query"),
        pytest.param({"method": "PUT"}, id="put"),
        pytest.param({"grpc_encoding": "gzip"}, id="compressed"),
    ],
)
def test_what_is_no_proper_call_is_refused(more):
    with pytest.raises(ValidationError):
        operation(**more)
