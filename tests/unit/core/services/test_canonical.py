import pytest

from addons.core.config.model import Accept, Address, Limits, Service
from addons.core.errors import ValidationError
from addons.core.services import canonical, http, terms
from addons.core.services.canonical import Canonical, Head
from addons.core.services.target import canonical_path, check_target
from tests.parts.raw_requests import ROWS, STRIPPED, Row

SERVICE = Service("crm", "http", "http", Address("127.0.0.1", 8446))
ONCE = ("X-Purpose", "X-Session-Id")


def judge(head: Head, row: Row) -> None:
    """The checks in the order of the shells: head, the service's terms, trailers, then the operation with the body."""
    canonical.check_head(head, Limits(), ONCE)
    terms.check_terms(head, SERVICE.accept)
    canonical.check_trailers(row.trailers, SERVICE.request_trailers)
    path, _, query = head.target.decode().partition("?")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    http.operation(head.method.decode(), "http", "127.0.0.1", path, query, headers, row.body, SERVICE)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.http1])
def test_over_http1_what_two_readers_read_differently_is_refused(row):
    with pytest.raises(ValidationError) as refused:
        judge(row.head(), row)
    # an absolute target reaches us cut into authority and path; the pure check sees that in a test of its own
    assert refused.value.detail == ("target-form" if row.id == "target-absolute" else row.rule)
    assert (refused.value.status, refused.value.code) == (400, "request-malformed")


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.http2])
def test_over_http2_what_two_readers_read_differently_is_refused(row):
    with pytest.raises(ValidationError) as refused:
        judge(row.head2(), row)
    assert (refused.value.detail, refused.value.status) == (row.rule, 400)


def test_an_absolute_target_is_refused_also_when_mitmproxy_has_cut_it():
    head = Head(b"GET", b"/customers", b"HTTP/1.1", ((b"Host", b"crm.test"),), authority=b"crm.test")
    with pytest.raises(ValidationError) as refused:
        canonical.check_head(head)
    assert refused.value.detail == "target-absolute"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param(b"/", "/", id="root"),
        pytest.param(b"/customers/7", "/customers/7", id="plain"),
        pytest.param(b"/customers/7/", "/customers/7/", id="trailing-slash-stays"),
        pytest.param(b"/customers/a%20b", "/customers/a b", id="space"),
        pytest.param(b"/customers/%40me", "/customers/@me", id="an-escape-of-a-reserved-character-is-the-character"),
        pytest.param(b"/customers/@me", "/customers/@me", id="and-the-character-itself"),
        pytest.param(b"/customers/%C3%A9", "/customers/é", id="utf-8"),
        pytest.param(b"/100%25", "/100%", id="percent"),
        pytest.param(b"/a..b/...", "/a..b/...", id="dots-within-a-segment"),
        pytest.param(b"/~me/_x-1.2", "/~me/_x-1.2", id="unreserved"),
        pytest.param(b"/customers?next=//evil/../%2f%41%7e&a[]=1|2", "/customers", id="the-query-has-its-own-grammar"),
    ],
)
def test_what_is_left_has_one_canonical_path(target, path):
    assert check_target(target) == path


def test_every_escape_of_one_byte_is_the_character_or_refused():
    """All 256 escapes: what passes decodes to itself, and nothing unreserved, no separator and no control byte passes."""
    passed = {}
    for byte in range(256):
        try:
            passed[byte] = canonical_path(b"/a%%%02Xb" % byte)
        except ValidationError:
            continue
    assert passed == {ord(char): f"/a{char}b" for char in " !\"$%&'()*+,:;<=>@[]^`{|}"}


@pytest.mark.parametrize("name", [pytest.param(name, id=name.decode()) for name in STRIPPED])
@pytest.mark.parametrize("spelling", [bytes, bytes.lower, bytes.upper])
def test_names_that_speak_about_the_caller_are_stripped(name, spelling):
    found = canonical.check_head(Head(b"GET", b"/", b"HTTP/1.1", ((b"Host", b"crm.test"), (spelling(name), b"1"))))
    assert found.strip == (name.decode().lower(),)


def test_the_replay_header_is_left_for_identity_and_ordinary_headers_stay():
    fields = ((b"Host", b"crm.test"), (b"Guardhouse-Replay-Of", b"x"), (b"Accept", b"*/*"), (b"Via", b"1.1 a"))
    assert canonical.check_head(Head(b"GET", b"/", b"HTTP/1.1", fields)).strip == ()


def test_one_reading():
    head = Head(
        b"PATCH",
        b"/customers/7?x=1",
        b"HTTP/1.1",
        ((b"Host", b"CRM.Test:8443"), (b"Connection", b"keep-alive, Upgrade"), (b"Expect", b"100-Continue")),
    )
    assert canonical.check_head(head) == Canonical("PATCH", "/customers/7", "crm.test", ())


@pytest.mark.parametrize(
    ("sent", "host"),
    [
        pytest.param(b"127.0.0.1:8443", "127.0.0.1", id="address"),
        pytest.param(b"[::1]:8443", "::1", id="ipv6"),
        pytest.param(b"a-b.example", "a-b.example", id="name"),
    ],
)
def test_a_host_is_a_name_or_an_address(sent, host):
    assert canonical.canonical_host(sent) == host


def test_http2_may_send_the_same_host_twice():
    head = Head(b"GET", b"/", b"HTTP/2.0", ((b"host", b"crm.test"),), authority=b"crm.test", http2=True)
    assert canonical.check_head(head).host == "crm.test"


def test_a_request_line_that_claims_http2_is_no_http2():
    with pytest.raises(ValidationError, match=r"Only HTTP/1\.1 and HTTP/2"):
        canonical.check_head(Head(b"GET", b"/", b"HTTP/2.0", ((b"Host", b"crm.test"),)))


def test_a_declared_body_over_the_cap_is_413_before_it_comes():
    head = Head(b"POST", b"/", b"HTTP/1.1", ((b"Host", b"crm.test"), (b"Content-Length", b"9" * 40)))
    with pytest.raises(ValidationError) as refused:
        canonical.check_head(head, Limits(body=10))
    assert (refused.value.status, refused.value.code) == (413, "request-too-large")


@pytest.mark.parametrize(
    ("row", "accept", "key"),
    [
        pytest.param(Row("a", "", headers=((b"Content-Length", b"2"),), body=b"{}"), Accept(get_body=True), "get_body", id="get-body"),
        pytest.param(Row("a", "", method=b"POST", headers=((b"X-HTTP-Method-Override", b"DELETE"),)), Accept(method_override=True), "method_override", id="override"),
        pytest.param(Row("a", "", target=b"/a;v=1/b"), Accept(path_parameters=True), "path_parameters", id="parameters"),
    ],
)  # fmt: skip
def test_a_service_may_declare_what_it_can_live_with_and_the_refusal_names_the_key(row, accept, key):
    with pytest.raises(ValidationError, match=rf"accept: {{{key}: true}}"):
        terms.check_terms(row.head(), Accept(), row.body)
    terms.check_terms(row.head(), accept, row.body)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(((b"X-HTTP-Method-Override", b"PURGE"),), id="unknown-method"),
        pytest.param(((b"X-HTTP-Method-Override", b"DELETE"), (b"X-HTTP-Method", b"PUT")), id="two-that-differ"),
    ],
)
def test_an_accepted_override_still_names_one_known_method(headers):
    with pytest.raises(ValidationError):
        terms.check_terms(Row("a", "", method=b"POST", headers=headers).head(), Accept(method_override=True), b"")


def test_a_listed_trailer_passes_and_a_malformed_one_does_not():
    canonical.check_trailers([(b"Grpc-Timeout", b"1")], ("grpc-timeout",))
    with pytest.raises(ValidationError):
        canonical.check_trailers([(b"Grpc-Timeout", b"1\r\n")], ("grpc-timeout",))
