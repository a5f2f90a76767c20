"""Requests that two readers read differently: one row for each way of design/mitmproxy.md 7.1, for HTTP/1.1 and HTTP/2.

`rule` is the slug that the refusal carries for the audit. `http1`/`http2` say where the row can be written at all: what
the framing of HTTP/2 cannot express has no row there.
"""

from dataclasses import dataclass

from addons.core.services.canonical import Head

Fields = tuple[tuple[bytes, bytes], ...]
HOST = b"crm.test"


@dataclass(frozen=True)
class Row:
    id: str
    rule: str
    method: bytes = b"GET"
    target: bytes = b"/customers"
    headers: Fields = ()
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    host: bytes | None = HOST
    trailers: Fields = ()
    http1: bool = True
    http2: bool = True
    stage: str = "head"  # head | terms | body | trailers: which check refuses it

    def fields(self) -> Fields:
        return (() if self.host is None else ((b"Host", self.host),)) + self.headers

    def head(self) -> Head:
        """The row as the HTTP/1.1 reader hands it over."""
        return Head(self.method, self.target, self.version, self.fields())

    def head2(self) -> Head:
        """The row as the HTTP/2 reader hands it over."""
        lowered = tuple((name.lower(), value) for name, value in self.headers)
        return Head(self.method, self.target, b"HTTP/2.0", lowered, authority=self.host or b"", http2=True)

    def raw(self) -> bytes:
        lines = [b"%s %s %s" % (self.method, self.target, self.version), *(b"%s: %s" % field for field in self.fields())]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body

    def frames(self) -> list[tuple[bytes, bytes]]:
        pseudo = [(b":method", self.method), (b":scheme", b"https"), (b":path", self.target)]
        if self.host is not None:
            pseudo.append((b":authority", self.host))
        return pseudo + [(name.lower(), value) for name, value in self.headers]


def _target(id: str, rule: str, target: bytes, **more: object) -> Row:
    return Row(f"target-{id}", rule, target=target, **more)  # type: ignore[arg-type]


def _header(id: str, rule: str, *headers: tuple[bytes, bytes], **more: object) -> Row:
    return Row(f"header-{id}", rule, headers=headers, **more)  # type: ignore[arg-type]


CHUNKED = b"0\r\n\r\n"
TARGETS = (
    _target("double-slash", "path-empty-segment", b"/customers//7"),
    _target("leading-double-slash", "path-empty-segment", b"//evil.test/customers"),
    _target("dot", "path-dot-segment", b"/customers/./7"),
    _target("dot-dot", "path-dot-segment", b"/customers/../export"),
    _target("dot-dot-at-end", "path-dot-segment", b"/customers/.."),
    _target("encoded-dot-dot", "path-needless-escape", b"/customers/%2e%2e/export"),
    _target("half-encoded-dot-dot", "path-needless-escape", b"/customers/.%2E/export"),
    _target("encoded-slash", "path-encoded-separator", b"/customers%2f7"),
    _target("encoded-slash-upper", "path-encoded-separator", b"/customers%2F7"),
    _target("encoded-backslash", "path-encoded-separator", b"/customers%5c7"),
    _target("encoded-question-mark", "path-encoded-separator", b"/customers%3f7"),
    _target("encoded-nul", "path-control", b"/customers/7%00.json"),
    _target("encoded-line-feed", "path-control", b"/customers/7%0a"),
    _target("encoded-c1", "path-control", b"/customers/%c2%85"),
    _target("backslash", "target-backslash", b"/customers\\7"),
    _target("needless-letter", "path-needless-escape", b"/%63ustomers"),
    _target("needless-digit", "path-needless-escape", b"/customers/%37"),
    _target("needless-tilde", "path-needless-escape", b"/customers/%7e"),
    _target("needless-underscore", "path-needless-escape", b"/customers/%5F"),
    _target("double-encoding", "path-double-encoding", b"/customers/%252e"),
    _target("broken-escape", "target-escape", b"/customers/%zz"),
    _target("cut-escape", "target-escape", b"/customers/%4"),
    _target("non-ascii", "target-non-ascii", b"/customers/\xc3\xa9"),
    _target("overlong-utf8", "path-utf8", b"/customers/%c0%af"),
    _target("latin-1-escape", "path-utf8", b"/customers/%e9"),
    _target("control", "target-control", b"/customers/\x01"),
    _target("delete-byte", "target-control", b"/customers/\x7f"),
    _target("bare-carriage-return", "target-control", b"/customers\rx", http1=False),
    _target("space", "target-control", b"/customers/a b", http1=False),
    _target("fragment", "target-fragment", b"/customers#x"),
    _target("unsafe-character", "path-characters", b"/customers/<7>"),
    _target("parameters", "path-parameters", b"/customers;v=1/7", stage="terms"),
    _target("encoded-parameters", "path-parameters", b"/customers%3bv=1/7", stage="terms"),
    _target("query-semicolon", "path-parameters", b"/customers?a=1;b=2", stage="terms"),
    _target("dot-dot-parameters", "path-dot-segment", b"/customers/..;/export"),
    _target("absolute", "target-absolute", b"http://crm.test/customers", http2=False),
    _target("absolute-in-path", "target-form", b"http://crm.test/customers", http1=False),
    _target("asterisk", "target-asterisk", b"*", method=b"OPTIONS"),
    _target("no-slash", "target-form", b"customers", http1=False),
    _target("query-broken-escape", "target-escape", b"/customers?a=%g1"),
    _target("query-nul", "query-control", b"/customers?a=%00"),
    _target("query-space", "target-control", b"/customers?a=b c", http1=False),
    _target("query-backslash", "target-backslash", b"/customers?a=\\"),
    _target("query-quote", "query-characters", b'/customers?a="x"'),
    _target("query-name-not-utf8", "query-utf8", b"/customers?%e9=1"),
    _target("query-name-twice-encoded", "query-name-encoding", b"/customers?%2565mail=1"),
    _target("query-duplicate-of-a-read-name", "query-duplicate", b"/customers?sort=name&sort=email", stage="body"),
    _target("query-duplicate-by-case", "query-duplicate", b"/customers?sort=name&SORT=email", stage="body"),
)
METHODS = (
    Row("method-lower-case", "method-token", method=b"get"),
    Row("method-mixed-case", "method-token", method=b"Get"),
    Row("method-not-a-token", "method-token", method=b"GE(T"),
    Row("method-unknown", "method-unknown", method=b"FETCH"),
    Row("method-trace", "method-unknown", method=b"TRACE"),
    Row("method-connect", "method-unknown", method=b"CONNECT", target=b"crm.test:443"),
    Row("method-override", "method-override", method=b"POST", headers=((b"X-HTTP-Method-Override", b"DELETE"),), stage="terms"),
    Row("method-override-kin", "method-override", method=b"POST", headers=((b"X-Method-Override", b"DELETE"),), stage="terms"),
    Row("method-override-in-query", "method-override", method=b"POST", target=b"/customers?_method=DELETE", stage="terms"),
    Row("method-override-in-form", "method-override", method=b"POST", headers=((b"Content-Type", b"application/x-www-form-urlencoded"), (b"Content-Length", b"17")), body=b"a=1&%5fmethod=PUT", stage="body"),
    Row("get-with-a-body", "get-body", headers=((b"Content-Length", b"2"),), body=b"{}", stage="terms"),
    Row("head-with-a-body", "get-body", method=b"HEAD", headers=((b"Content-Length", b"2"),), body=b"{}", stage="terms"),
    Row("get-with-chunks", "get-body", headers=((b"Transfer-Encoding", b"chunked"),), body=CHUNKED, http2=False, stage="terms"),
    Row("version-1.0", "version", version=b"HTTP/1.0", http2=False),
    Row("version-2-in-text", "version", version=b"HTTP/2.0", http2=False),
    Row("version-3-in-text", "version", version=b"HTTP/3.0", http2=False),
    Row("upgrade-h2c", "upgrade-h2c", headers=((b"Connection", b"Upgrade"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AAMAAABkAAQAoAAAAAIAAAAA")), http2=False),
    Row("upgrade-h2c-in-a-list", "upgrade-h2c", headers=((b"Connection", b"Upgrade"), (b"Upgrade", b"foo, h2c")), http2=False),
)  # fmt: skip
HEADERS = (
    _header("bare-carriage-return", "header-control", (b"X-A", b"a\rb")),
    _header("nul", "header-control", (b"X-A", b"a\x00b")),
    _header("control", "header-control", (b"X-A", b"a\x08b")),
    _header("delete-byte", "header-control", (b"X-A", b"a\x7fb")),
    _header("line-feed", "header-control", (b"X-A", b"a\nX-B: b"), http1=False),
    _header("fold", "header-fold", (b"X-A", b"a\r\n b"), http2=False),
    _header("underscore", "header-underscore", (b"X_Remote_User", b"root")),
    _header("space-in-name", "header-name", (b"X A", b"1")),
    _header("space-before-colon", "header-name", (b"X-A ", b"1")),
    _header("non-ascii-name", "header-name", (b"X-\xe9", b"1")),
    _header("too-many", "header-count", *((b"X-%d" % number, b"1") for number in range(130))),
    _header("too-large", "header-size", (b"X-A", b"a" * 40000), (b"X-B", b"b" * 30000)),
    _header("two-hosts", "header-duplicate", (b"Host", b"echo.test"), http2=False),
    _header("host-against-authority", "host-conflict", (b"Host", b"echo.test"), http1=False),
    _header("two-credentials", "header-duplicate", (b"Authorization", b"Bearer a"), (b"Authorization", b"Bearer b")),
    _header("two-content-types", "header-duplicate", (b"Content-Type", b"text/plain"), (b"Content-Type", b"application/json")),
    _header("two-traceparents", "header-duplicate", (b"traceparent", b"a"), (b"Traceparent", b"b")),
    _header("two-purposes", "header-duplicate", (b"X-Purpose", b"demo/a"), (b"X-Purpose", b"demo/b")),
    _header("two-sessions", "header-duplicate", (b"X-Session-Id", b"a"), (b"X-Session-Id", b"b")),
    _header("two-replays", "header-duplicate", (b"Guardhouse-Replay-Of", b"a"), (b"Guardhouse-Replay-Of", b"b")),
    _header("two-lengths", "header-duplicate", (b"Content-Length", b"2"), (b"Content-Length", b"2"), method=b"POST", body=b"{}"),
    _header("differing-lengths", "header-duplicate", (b"Content-Length", b"2"), (b"Content-Length", b"0"), method=b"POST", body=b"{}"),
    _header("length-list", "framing", (b"Content-Length", b"2, 2"), method=b"POST", body=b"{}"),
    _header("signed-length", "framing", (b"Content-Length", b"+2"), method=b"POST", body=b"{}"),
    _header("length-and-coding", "framing", (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked"), method=b"POST", body=CHUNKED, http2=False),
    _header("other-coding", "framing", (b"Transfer-Encoding", b"gzip, chunked"), method=b"POST", body=CHUNKED, http2=False),
    _header("unknown-coding", "framing", (b"Transfer-Encoding", b"xchunked"), method=b"POST", body=CHUNKED, http2=False),
    _header("coding-identity", "framing", (b"Transfer-Encoding", b"identity"), method=b"POST", body=CHUNKED, http2=False),
    _header("two-codings", "header-duplicate", (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked"), method=b"POST", body=CHUNKED, http2=False),
    _header("coding-on-http2", "header-connection-specific", (b"Transfer-Encoding", b"chunked"), method=b"POST", body=b"{}", http1=False),
    _header("connection-on-http2", "header-connection-specific", (b"Connection", b"close"), http1=False),
    _header("connection-strips", "connection", (b"Connection", b"close, Authorization"), http2=False),
    _header("unknown-expectation", "expect", (b"Expect", b"nothing"), method=b"POST"),
)  # fmt: skip
HOSTS = (
    Row("host-missing", "host", host=None),
    Row("host-empty", "host", host=b"", http2=False),
    Row("host-with-user", "host", host=b"a@crm.test"),
    Row("host-with-path", "host", host=b"crm.test/x"),
    Row("host-trailing-dot", "host", host=b"crm.test."),
    Row("host-bad-port", "host", host=b"crm.test:99999"),
    Row("host-non-ascii", "host", host=b"crm.t\xc3\xa9st"),
)
TRAILERS = (
    Row("trailers", "trailers", method=b"POST", headers=((b"Transfer-Encoding", b"chunked"),), body=b"2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n", trailers=((b"x-late", b"1"),), http2=False, stage="trailers"),
    Row("trailers-http2", "trailers", method=b"POST", body=b"{}", trailers=((b"x-late", b"1"),), http1=False, stage="trailers"),
)  # fmt: skip
ROWS = TARGETS + METHODS + HEADERS + HOSTS + TRAILERS
STRIPPED = (
    b"Guardhouse-Approval", b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Real-IP", b"X-Remote-User", b"X-Remote-Group", b"X-Original-URL",
)  # fmt: skip
