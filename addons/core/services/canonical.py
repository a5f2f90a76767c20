"""Can two readers read this request differently? Then 400 (design/mitmproxy.md 7.1).

Works on the bytes of the wire, knows no service and no policy: what a service may declare in `accept:` is judged in
`terms`, once the service is known. Nothing is repaired. The only change it asks for is to strip names that speak about
the caller (forwarding headers, `X-Remote-*`, our own `Guardhouse-*`): they are ours to say, not the caller's.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from addons.core.config.model import Limits
from addons.core.errors import ValidationError
from addons.core.services.target import check_target, malformed

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})  # TRACE would echo the injected credential
REPLAY_OF = b"guardhouse-replay-of"  # the one header of ours that a caller may send: identity reads and removes it
_TOKEN = re.compile(rb"[!#$%&'*+\-.^`|~0-9A-Za-z]+")  # RFC 9110 token without `_`: CGI and WSGI read `_` as `-`
_UPPER = re.compile(rb"[A-Z]+")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?!-)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)(?::(?P<port>[0-9]{1,5}))?")
_DIGITS = re.compile(rb"0|[1-9][0-9]*")
_CONNECTION = frozenset({b"keep-alive", b"close", b"upgrade"})
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_ONCE = frozenset(
    {b"host", b"authorization", b"content-type", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"traceparent"}
    | {b"content-encoding", b"x-http-method-override", b"x-http-method", b"x-method-override", REPLAY_OF}
)  # fmt: skip
STRIPPED = frozenset(
    name.encode()
    for name in [
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "client-ip",
        "proxy",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-original-host",
        "x-original-forwarded-for",
        "x-host",
        "x-proxyuser-ip",
        "x-arr-ssl",
        "x-envoy-external-address",
    ]
)
STRIPPED_PREFIXES = (b"guardhouse-", b"x-forwarded", b"x-remote-")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request as it came: bytes, nothing joined, nothing lowered."""

    method: bytes
    target: bytes
    version: bytes  # b"HTTP/1.1" or b"HTTP/2.0", as the reader of the connection says
    headers: Sequence[tuple[bytes, bytes]]
    authority: bytes = b""  # `:authority` of HTTP/2; the authority of an absolute-form target of HTTP/1.1
    http2: bool = False  # what the connection really speaks (ALPN), whatever the request line claims

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of this (lower-case) header, in order."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, slots=True)
class Canonical:
    """What is left when there is only one way to read the request."""

    method: str
    path: str  # decoded; what policy matches on
    host: str  # lower case, without port; an IPv6 literal without brackets
    strip: tuple[str, ...]  # lower-case names of headers to be removed, sorted


def check_head(head: Head, limits: Limits = Limits(), once: Sequence[str] = ()) -> Canonical:  # noqa: B008 (frozen)
    """Return what the head says in one reading, or raise. `once` names further headers that may come only once."""
    method = check_method(head.method)
    _check_version(head)
    _check_size(head, limits)
    for name, value in head.headers:
        _check_field(name, value, head.http2)
    _check_duplicates(head, once)
    _check_framing(head, limits)
    _check_connection(head)
    host = host_of(head)
    path = check_target(head.target)
    return Canonical(method, path, host, stripped(name for name, _ in head.headers))


def check_method(method: bytes) -> str:
    """Return the method, read from the wire: mitmproxy shows `get` as `GET` and forwards `get`."""
    if not _UPPER.fullmatch(method):
        raise malformed("method-token", "The method must be a plain upper-case word. Send it as GET, POST and so on.")
    if method.decode() not in METHODS:
        raise malformed("method-unknown", f"This method is not known here. Send one of {', '.join(sorted(METHODS))}.")
    return method.decode()


def check_trailers(trailers: Sequence[tuple[bytes, bytes]], allowed: Sequence[str], http2: bool = False) -> None:
    """Refuse any request trailer that the service does not list, and a listed one that would be no proper header."""
    listed = {name.lower() for name in allowed}
    names = [name for name, _ in trailers]
    for name, value in trailers:
        _check_field(name, value, http2)
        if name.lower().decode("latin-1") not in listed:
            raise malformed(
                "trailers", "The request has trailers. Send these fields as headers, or list them in the service's `request_trailers`."
            )
    if len({name.lower() for name in names}) != len(names):
        raise malformed("trailers", "A request trailer came twice. Send it once.")


def check_body_size(size: int, limits: Limits) -> None:
    """Refuse a body over the cap; request bodies are always held whole."""
    if size > limits.body:
        raise ValidationError(
            f"The request body is larger than {limits.body} bytes. Send it in smaller pieces.", code="request-too-large", detail="body-size"
        )


def stripped(names: Iterable[bytes]) -> tuple[str, ...]:
    """Return the names that are ours to say and not the caller's, lower case, each once."""
    lowered = {name.lower() for name in names}
    return tuple(
        sorted(name.decode() for name in lowered if name != REPLAY_OF and (name in STRIPPED or name.startswith(STRIPPED_PREFIXES)))
    )


def _check_version(head: Head) -> None:
    if head.version != (b"HTTP/2.0" if head.http2 else b"HTTP/1.1"):
        raise malformed("version", "Only HTTP/1.1 and HTTP/2 (over TLS) are spoken here. Send the request as one of them.")


def _check_size(head: Head, limits: Limits) -> None:
    if len(head.headers) > limits.header_count:
        raise malformed("header-count", f"The request has more than {limits.header_count} headers. Send fewer.")
    size = len(head.target) + len(head.authority) + sum(len(name) + len(value) + 4 for name, value in head.headers)
    if size > limits.headers:
        raise malformed("header-size", f"Target and headers are larger than {limits.headers} bytes. Send less.")


def _check_field(name: bytes, value: bytes, http2: bool) -> None:
    if b"_" in name:
        raise malformed("header-underscore", "A header name holds `_`, which some servers read as `-`. Use `-`.")
    if not _TOKEN.fullmatch(name) or (http2 and name != name.lower()):
        raise malformed("header-name", "A header name holds a character that is not allowed in one.")
    if b"\r\n " in value or b"\r\n\t" in value:
        raise malformed("header-fold", "A header value is folded over two lines. Send it on one line.")
    if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value):
        raise malformed("header-control", "A header value holds a control byte. Leave it out.")
    if http2 and name in _HOP_BY_HOP:
        raise malformed("header-connection-specific", "HTTP/2 knows no connection-specific headers. Leave `connection` and its kin out.")


def _check_duplicates(head: Head, once: Sequence[str]) -> None:
    single = _ONCE | {name.lower().encode() for name in once}
    counted = Counter(name.lower() for name, _ in head.headers)
    for name, count in counted.items():
        if count > 1 and name in single:
            raise malformed("header-duplicate", f"The header `{name.decode()}` came {count} times. Send it once.")


def _check_framing(head: Head, limits: Limits) -> None:
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if lengths and codings:
        raise malformed("framing", "Content-Length and Transfer-Encoding came together. Send one of them.")
    if codings and codings[0].lower() != b"chunked":
        raise malformed("framing", "The only Transfer-Encoding accepted is `chunked`.")
    if lengths and not _DIGITS.fullmatch(lengths[0]):
        raise malformed("framing", "Content-Length must be one plain number.")
    if lengths:
        check_body_size(int(lengths[0][:18]), limits)
    expected = head.values(b"expect")
    if expected and expected[0].lower() != b"100-continue":
        raise malformed("expect", "The only expectation known here is `100-continue`.")


def _check_connection(head: Head) -> None:
    for value in head.values(b"connection"):
        tokens = {token.strip().lower() for token in value.split(b",")}
        if not tokens <= _CONNECTION:
            raise malformed(
                "connection", "`Connection` may list only keep-alive, close and upgrade: other names would strip headers on the way."
            )
    protocols = {token.strip().lower() for value in head.values(b"upgrade") for token in value.split(b",")}
    if any(token.split(b"/")[0] in (b"h2c", b"h2") for token in protocols) or head.values(b"http2-settings"):
        raise malformed("upgrade-h2c", "An upgrade to cleartext HTTP/2 is not accepted. Use TLS with ALPN, or HTTP/1.1.")


def host_of(head: Head) -> str:
    """Return the one host that the request names."""
    hosts = head.values(b"host")
    if not head.http2 and head.authority:
        raise malformed("target-absolute", "The request target is an absolute URL. Send the path alone and the host in `Host`.")
    if head.http2 and head.authority:
        if any(host != head.authority for host in hosts):
            raise malformed("host-conflict", "`:authority` and `Host` differ. Send one host.")
        hosts = [head.authority]
    if len(hosts) != 1:
        raise malformed("host", "Exactly one Host is needed.")
    return canonical_host(hosts[0])


def canonical_host(value: bytes) -> str:
    """Return the host in lower case, without port and brackets; no user, no trailing dot, no name that a resolver repairs."""
    found = _HOST.fullmatch(value.decode("latin-1"))
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise malformed("host", "The Host is not a host name or address with an optional port.")
    return found["host"].lower().strip("[]")
