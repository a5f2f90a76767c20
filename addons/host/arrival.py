"""Arrival: the door in. No answer reaches a client that owed a mask and has no receipt for it.

Stands right after `masking.Apply` and mirrors departure. An answer without an end passes only through the StreamGuard that Apply
made for it. Here, too, ends what this gateway does not carry yet: a WebSocket, a raw relay after 101. Refusing is a legal
implementation; letting through is not.
"""

import hashlib
import hmac
import re
from typing import Any

from mitmproxy import http

from addons.core import exchange
from addons.core.errors import GuardhouseError, MaskingError, UpstreamError
from addons.core.services import websocket
from addons.host import gate, sockets
from addons.host.request_head import head_of
from addons.host.runtime import Runtime

ENDLESS_MEDIA = ("text/event-stream", "application/grpc", "multipart/x-mixed-replace")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VERSIONS = ("HTTP/1.0", "HTTP/1.1", "HTTP/2.0")
NO_STREAMS = "The upstream answers with a stream that Guardhouse cannot mask. Ask for a finite answer."
NO_UPGRADE = "The upstream wants to change the protocol, which nobody asked for."


class Arrival:
    """Refuses an answer that was not masked as it had to be."""

    name = "guardhouse-arrival"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        require_departed(flow)
        assert flow.response is not None
        if problem := unreadable(flow.response):
            raise UpstreamError(detail=problem)
        if flow.response.status_code == 101:
            open_socket(self.runtime, flow)
        strip_foreign(flow.response)
        stream = gate.of(flow).stream
        if flow.response.stream and flow.response.stream is not stream:
            raise MaskingError(code="masking-missing", detail="response streaming was turned on")
        if not flow.response.stream and is_endless(flow):
            raise MaskingError(NO_STREAMS, code="masking-missing", detail="an answer without an end, and nothing masks it")

    def response(self, flow: http.HTTPFlow) -> None:
        door = require_departed(flow)
        assert flow.response is not None
        is_stream = door.stream is not None and door.stream.is_whole and flow.response.stream is door.stream
        if flow.response.raw_content is None and not is_stream:
            raise MaskingError(code="masking-missing", detail="the answer has no body to look at")
        if not door.receipt:
            raise MaskingError(code="masking-missing", detail="no receipt from masking.Apply")
        if socket := sockets.find(flow):
            answer_handshake(flow, socket.subprotocol)
        if not is_stream or flow.client_conn.alpn != b"h2":
            drop_trailers(flow)


def open_socket(runtime: Runtime, flow: http.HTTPFlow) -> None:
    """A 101 must answer a WebSocket handshake of ours; any other would be a raw relay."""
    assert flow.response is not None
    snapshot = runtime.snapshot_of(flow)
    service, head = snapshot.gateway.services.get(exchange.read(flow.metadata).service or ""), head_of(flow)
    if service is None or service.websocket is None or not websocket.asks(head):
        raise GuardhouseError(NO_UPGRADE, code="not-supported", detail="101 from the upstream")
    chosen = websocket.check_answer(websocket.check(head, service), tuple(flow.response.headers.fields), service.websocket)
    sockets.put(flow, sockets.Socket(chosen, service.websocket[chosen], snapshot))


def answer_handshake(flow: http.HTTPFlow, subprotocol: str) -> None:
    """What opens the session is made here again, whatever masking thought of an answer that is a digest."""
    assert flow.response is not None
    headers = flow.response.headers
    headers["Upgrade"], headers["Connection"] = "websocket", "Upgrade"
    headers["Sec-WebSocket-Accept"] = websocket.accept_of(flow.request.headers[websocket.KEY].encode()).decode()
    headers.pop("Sec-WebSocket-Protocol", None)
    if subprotocol:
        headers["Sec-WebSocket-Protocol"] = subprotocol


def require_departed(flow: http.HTTPFlow) -> gate.Gate:
    """An answer to a request that never left is not the upstream's: somebody else made it."""
    door = gate.of(flow)
    if not door.departed:
        raise GuardhouseError(detail="an answer to a request that did not depart")
    if flow.response is None:
        raise UpstreamError(detail="no answer")
    return door


def unreadable(response: http.Response) -> str | None:
    """Say why two readers may read this answer differently. mitmproxy passes on any version, and any transfer coding with its bytes as they are."""
    if response.http_version not in VERSIONS:
        return "the answer is of an unknown version of HTTP"
    if not 200 <= response.status_code <= 599 and response.status_code != 101:
        return "the answer's status is no final one"
    for name, value in response.headers.fields:
        if not _TOKEN.fullmatch(name) or any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value):
            return "a header of the answer holds a control byte, or is none"
    codings = response.headers.get_all("transfer-encoding")
    if codings and [one.strip().lower() for one in codings] != ["chunked"]:
        return "the answer has a transfer coding other than chunked"
    return None


def strip_foreign(response: http.Response) -> None:
    """Take away what is not the upstream's to say: our own headers, and orders to whoever stands behind us (`Connection` may
    name any header, `Cache-Control: private` too, and it would be dropped there). `Connection: close` is for mitmproxy."""
    ours = [name for name in response.headers if name.lower().startswith("guardhouse-")]
    for name in (*dict.fromkeys(ours), "Proxy-Connection", "Keep-Alive"):
        response.headers.pop(name, None)
    tokens = {token.strip().lower() for value in response.headers.get_all("connection") for token in value.split(",")}
    if tokens:
        response.headers["Connection"] = "close" if "close" in tokens else "keep-alive"


def is_endless(flow: http.HTTPFlow) -> bool:
    """True for answers that would never reach `response`: the list of design/mitmproxy.md 5.6."""
    assert flow.response is not None
    media = flow.response.headers.get("content-type", "").split(";")[0].strip().lower()
    if any(media == name or media.startswith(name + "+") for name in ENDLESS_MEDIA):
        return True
    if "stream=watch" in flow.response.headers.get("content-type", "").replace(" ", "").lower():
        return True
    return asks_for_stream(flow) and "content-length" not in flow.response.headers


def asks_for_stream(flow: http.HTTPFlow) -> bool:
    """True when the request asks for an answer without an end (a Kubernetes watch, a log that is followed)."""
    asked = {name.lower(): value.lower() for name, value in flow.request.query.items(multi=True)}
    return any(asked.get(name) in ("true", "1") for name in ("watch", "follow"))


def drop_trailers(flow: http.HTTPFlow) -> None:
    """No trailer goes to a client behind a whole answer, or over HTTP/1: their names go into the record instead."""
    assert flow.response is not None
    if not flow.response.trailers:
        return
    record = exchange.read(flow.metadata)
    record.notes.extend("trailer-dropped:" + name.lower() for name in dict.fromkeys(flow.response.trailers.keys()))
    exchange.write(flow.metadata, record)
    flow.response.trailers = None


def note_received(runtime: Runtime, flow: http.HTTPFlow) -> None:
    """Keep a keyed digest and the length of the answer as it came in, before masking changes anything."""
    door = gate.of(flow)
    if door.received is not None or flow.response is None or runtime.keys is None:
        return
    door.received = received(runtime.keys.derive("evidence"), flow.response.raw_content or b"")


def received(key: bytes, raw: bytes) -> dict[str, Any]:
    """Return what the audit keeps of bytes that it must not store: their length and an HMAC under the label `evidence`."""
    return {"hmac": "hmac-sha-256:" + hmac.new(key, raw, hashlib.sha256).hexdigest(), "bytes": len(raw)}
