"""What `guardhouse doctor --canary` sends: planted values in every place of a request, and requests that are none.

Pure: a place and its values in, bytes out. One request holds the values of one place, so that a finding says where the
value came in.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

CODINGS = ("identity", "gzip", "deflate", "br", "zstd")
JSON = {"Content-Type": "application/json"}
MALFORMED = {
    "space in the target": "GET /a b{0} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "dots in the path": "GET /{0}/../x HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "bad header name": "GET / HTTP/1.1\r\nHost: {host}\r\nBad Header {0}: x\r\n\r\n",
    "underscore name": "GET / HTTP/1.1\r\nHost: {host}\r\nX_{0}: 1\r\n\r\n",
    "host": "GET / HTTP/1.1\r\nHost: {0}\r\n\r\n",
    "method": "{0} / HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "user information": "GET http://{0}@{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "connect": "CONNECT {0}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "chunk size": "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{0}\r\n",
    "no request": "{0}\r\n\r\n",
}


@dataclass(frozen=True, slots=True)
class Planted:
    """One request of one place. `values` are those that stand in it."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def raw(self, host: str, more: Mapping[str, str]) -> bytes:
        """The request as bytes of HTTP/1.1, for this host and with these headers beside its own."""
        fields = {"Host": host, "Connection": "close", **more, **self.headers}
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = str(len(self.body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{self.method} {self.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + self.body


PLACES = (
    "path", "query", "header", "user agent", "cookie", "purpose detail", "session", "trace state", "json", "json keys", "json escaped", "form", "text",
    "gzip", "binary", "broken json", "base64", "held", "denied",
)  # fmt: skip


def planted(place: str, path: str, values: Mapping[str, str]) -> Planted:
    """The request with these values in this place."""
    email, everything = values["email"], " ".join(values.values())
    body = _body(place, values)
    if body is not None:
        return Planted("POST", path, body[0], body[1])
    form = urlencode({"q" + kind: one for kind, one in values.items()})
    segments = "/".join(quote(one, safe="+@") for one in values.values())
    return {
        "path": Planted("GET", f"{path}/{segments}/x"),
        "query": Planted("GET", f"{path}?{form}"),
        "header": Planted("GET", path, {f"X-Note-{kind}": one for kind, one in values.items()}),
        "user agent": Planted("GET", path, {"User-Agent": everything, "Referer": f"https://canary.example/?m={quote(email)}"}),
        "cookie": Planted("GET", path, {"Cookie": "; ".join(f"{kind}={quote(one)}" for kind, one in values.items())}),
        "purpose detail": Planted("GET", path, {"X-Purpose-Detail": everything}),
        "session": Planted("GET", path, {"X-Session-Id": email}),
        "trace state": Planted("GET", path, {"baggage": f"note={quote(email)}", "tracestate": f"a={values['aws']}"}),
        "held": Planted("DELETE", f"{path}/{quote(email, safe='@')}?{form}", {"X-Note": everything, "X-Purpose-Detail": everything}),
        "denied": Planted("PATCH", f"{path}/{segments}", {**JSON, "X-Note": everything}, json.dumps(values).encode()),
    }[place]


def _body(place: str, values: Mapping[str, str]) -> tuple[dict[str, str], bytes] | None:
    """Headers and body, where the place is a body."""
    listed, everything = list(values.values()), " ".join(values.values())
    if place == "json":
        return JSON, json.dumps({"list": [{"note": one} for one in listed], "text": "; ".join(listed)}).encode()
    if place == "json keys":
        return JSON, json.dumps({"by": dict.fromkeys(listed, 1)}).encode()
    if place == "json escaped":
        escaped = ("".join(f"\\u{ord(char):04x}" for char in one) for one in listed)
        return JSON, ("[" + ", ".join(f'"{one}"' for one in escaped) + "]").encode()
    if place == "form":
        return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode({"q" + kind: one for kind, one in values.items()}).encode()
    if place == "text":
        return {"Content-Type": "text/plain"}, "\n".join(f"write {one} down" for one in listed).encode()
    if place == "gzip":
        return {**JSON, "Content-Encoding": "gzip"}, gzip.compress(json.dumps({"a": listed}).encode())
    if place == "binary":
        return {"Content-Type": "application/octet-stream"}, b"\xff\xfe\0" + everything.encode()
    if place == "broken json":
        return JSON, b'{"a": "' + everything.encode()
    if place == "base64":
        return JSON, json.dumps({"data": base64.b64encode(json.dumps(listed).encode()).decode()}).encode()
    return None


def coded(coding: str, path: str, values: Mapping[str, str]) -> Planted:
    """A request whose answer is asked for in one content coding; the example's /echo takes the query as an order."""
    return Planted(
        "POST", f"{path}?coding={coding}", {**JSON, "Accept-Encoding": coding}, json.dumps({"a": list(values.values())}).encode()
    )


def malformed(host: str, values: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """What never becomes a request that policy sees."""
    for name, shape in MALFORMED.items():
        for kind in ("email", "aws"):
            yield name, shape.format(values[kind], host=host).encode()
