import pytest

from addons.core.config.model import Accept, Address, Service
from addons.core.errors import GuardhouseError, ValidationError
from addons.core.exchange import Access, Operation
from addons.core.services import http
from addons.core.services.canonical import METHODS

CRM = Service("crm", "http", "http", Address("127.0.0.1", 8446))
LOOSE = Service("crm", "http", "http", Address("127.0.0.1", 8446), accept=Accept(get_body=True, method_override=True, path_parameters=True))


def read(method="GET", path="/customers/7", query="", headers=(), body=b"", service=CRM):
    return http.operation(method, "http", "127.0.0.1", path, query, headers, body, service)


def test_a_plain_request():
    assert read("DELETE", headers=[("Accept", "*/*")]) == Operation(
        protocol="http",
        verb="DELETE",
        text="DELETE /customers/7",
        access=frozenset({Access.DELETE}),
        resources=("/customers/7",),
        attributes={
            "scheme": "http", "host": "127.0.0.1", "path": "/customers/7", "filters": [], "content_type": None, "has_body": False,
            "method_override": None, "path_parameters": [], "subprotocols": None, "grpc_service": None, "grpc_method": None,
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "access"),
    [
        ("GET", "read"),
        ("HEAD", "read"),
        ("OPTIONS", "read"),
        ("POST", "write"),
        ("PUT", "write"),
        ("PATCH", "write"),
        ("DELETE", "delete"),
        ("LINK", "unknown"),
    ],
)
def test_access_follows_from_the_method(method, access):
    assert read(method).access == {Access(access)}


def test_every_known_method_has_an_access():
    assert {method for method in METHODS if http.ACCESS.get(method) is None} == set()


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({}, id="bare"),
        pytest.param({"method": "POST", "body": b"{}", "headers": [("Content-Type", "application/json")], "query": "a=1"}, id="full"),
        pytest.param({"path": "/a;v=1", "service": LOOSE}, id="parameters"),
    ],
)
def test_all_declared_attributes_are_always_set_and_no_other(asked):
    assert set(read(**asked).attributes) == http.ATTRIBUTES


def test_the_body_and_its_type_are_attributes():
    operation = read("POST", headers=[("Content-Type", 'Application/JSON; charset="utf-8"')], body=b"{}")
    assert (operation.attributes["content_type"], operation.attributes["has_body"]) == ("application/json", True)


def test_policy_sees_the_decoded_path_and_people_the_path_as_sent():
    operation = read(path="/a%20b/%40c", query="x=1")
    assert (operation.resources, operation.text) == (("/a b/@c",), "GET /a%20b/%40c?x=1")


def test_an_accepted_override_is_a_nested_operation():
    operation = read("POST", headers=[("X-HTTP-Method-Override", "DELETE")], service=LOOSE)
    assert (operation.verb, operation.access, operation.attributes["method_override"]) == ("POST", {Access.WRITE}, "DELETE")
    assert [(child.verb, child.access, child.text) for child in operation.children] == [("DELETE", {Access.DELETE}, "DELETE /customers/7")]


@pytest.mark.parametrize(
    ("query", "headers", "body"),
    [
        pytest.param("_method=PUT", (), b"", id="in-the-query"),
        pytest.param("", [("Content-Type", "application/x-www-form-urlencoded")], b"a=1&_method=PUT", id="in-a-form"),
    ],
)
def test_an_override_may_stand_elsewhere(query, headers, body):
    assert read("POST", query=query, headers=headers, body=body, service=LOOSE).attributes["method_override"] == "PUT"


def test_an_override_to_the_same_method_is_none():
    assert read("POST", headers=[("X-HTTP-Method-Override", "POST")], service=LOOSE).children == ()


def test_one_in_a_multipart_form_is_refused_even_where_overrides_are_accepted():
    body = b'--x\r\nContent-Disposition: form-data; name="_method"\r\n\r\nDELETE\r\n--x--\r\n'
    with pytest.raises(ValidationError):
        read("POST", headers=[("Content-Type", "multipart/form-data; boundary=x")], body=body, service=LOOSE)


def test_accepted_path_parameters_are_cut_off_and_both_readings_are_resources():
    operation = read(path="/admin;v=1/x;y", service=LOOSE)
    assert operation.attributes["path"] == "/admin/x"
    assert operation.attributes["path_parameters"] == ["v=1", "y"]
    assert operation.resources == ("/admin/x", "/admin;v=1/x;y")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("email=x", ["email"]),
        ("filter[email]=x", ["email", "filter", "filter[email]"]),
        ("user.email=x", ["email", "user", "user.email"]),
        ("email__contains=x", ["email", "email__contains"]),
        ("email_like=x", ["email", "email_like"]),
        ("%65mail=x", ["email"]),
        ("sort=-email", ["email", "sort"]),
        ("sort=name,-email", ["email", "name", "sort"]),
        ("$orderby=email%20desc", ["$orderby", "desc", "email", "orderby"]),
        ("$filter=startswith(email,'a')", ["$filter", "a", "email", "filter", "startswith"]),
        ('filter={"user":{"email":"x"}}'.replace('"', "%22"), ["email", "filter", "user", "x"]),
        ("filter=%7B%22%5Cu0065mail%22:1%7D", ["email", "filter"]),
        ("$filter=email%20eq%20'alice@corp.example'", ["$filter", "email", "eq", "filter"]),
        ("filter=[[%22email%22,%22like%22,%22a@b.example%22]]", ["email", "filter", "like"]),
        ("where=a%3D'x%20y'%20or%20email%3D1", ["a", "email", "or", "where"]),
        ("q=email:alice", ["email", "q"]),
        ("q=alice", ["q"]),
        ("fieldSelector=metadata.name%3Dx", ["fieldSelector", "metadata", "metadata.name", "name", "x"]),
        ("page=2&page=3", ["page"]),
    ],
)
def test_names_that_are_filtered_sorted_or_selected_by(query, names):
    assert read(query=query).attributes["filters"] == names


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        pytest.param({"method": "POST", "path": "/customers/search", "body": b'{"query": {"email": "a"}}'}, ["a", "email", "query"], id="search-path"),
        pytest.param({"method": "POST", "path": "/customers", "body": b'{"email": "a"}'}, [], id="a-write-is-no-filter"),
        pytest.param({"body": b'{"email": "a"}', "service": LOOSE}, ["a", "email"], id="get-with-a-body"),
        pytest.param(
            {"method": "POST", "path": "/_search", "headers": [("Content-Type", "application/x-www-form-urlencoded")], "body": b"sort=email"}, ["email", "sort"], id="form"
        ),
        pytest.param({"method": "POST", "path": "/query", "body": b"email = 'a'"}, ["a", "email"], id="another-language"),
    ],
)  # fmt: skip
def test_a_query_in_a_body_counts_too(asked, names):
    assert read(**asked).attributes["filters"] == names


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        pytest.param({"query": "filter=%7B%22a%22:1,%22a%22:2,%22%5Cu0065%22:1%7D"}, "filter-json", id="a-key-twice-beside-an-escape"),
        pytest.param({"method": "POST", "path": "/search", "body": b"x" * 300_000}, "filter-size", id="too-large"),
        pytest.param({"method": "POST", "path": "/search", "body": b"\x1f\x8b", "headers": [("Content-Encoding", "gzip")]}, "body-coding", id="coded-query"),
        pytest.param(
            {"method": "POST", "body": b"\x1f\x8b", "headers": [("Content-Encoding", "gzip"), ("Content-Type", "application/x-www-form-urlencoded")]}, "body-coding", id="coded-form"
        ),
        pytest.param({"method": "POST", "path": "/search", "headers": [("Content-Type", "application/x-www-form-urlencoded")], "body": b"a=\xe9"}, "form", id="form-not-ascii"),
        pytest.param({"query": "&".join(f"a{n}=1" for n in range(1001))}, "query-names", id="too-many-names"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_read_is_refused(asked, rule):
    with pytest.raises(ValidationError) as refused:
        read(**asked)
    assert refused.value.detail == rule


@pytest.mark.parametrize("headers", [[("Upgrade", "WebSocket")], [("Upgrade", "foo, websocket")], [("Sec-WebSocket-Key", "x")]])
def test_websocket_is_not_carried_yet(headers):
    with pytest.raises(GuardhouseError) as refused:
        read(headers=headers)
    assert (refused.value.status, refused.value.code) == (501, "not-supported")
