"""Which service is meant, and what the request does there: the `Operation`.

At the head: listener and host name the service, and the request is pointed at its upstream (a reverse listener's own
target is never routable). With the body: the operation, on which policy, masking, approval and audit agree. The
decisions are in `addons.core.services`; a refusal here names the listener or the `accept:` key, never another service.
"""

from mitmproxy import http

from addons.core import exchange
from addons.core.config.model import Service
from addons.core.services import canonical, extract, routing, websocket
from addons.core.services.target import split
from addons.core.services.terms import check_terms
from addons.host import socket_steps
from addons.host.fail_closed import guard
from addons.host.request_head import head_of
from addons.host.runtime import Runtime


class Routing:
    name = "guardhouse-routing"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        gateway = self.runtime.snapshot_of(flow).gateway
        host, port = flow.client_conn.sockname[:2]
        listener = routing.find_listener(gateway, host, port)
        routing.check_transport(listener, flow.client_conn.tls_established)
        head = head_of(flow)
        named = canonical.host_of(head)
        routing.check_name(listener, flow.client_conn.sni, named)
        service = routing.find_service(gateway, listener, named)
        record = exchange.read(flow.metadata)
        record.service = service.name
        exchange.write(flow.metadata, record)
        if websocket.asks(head):
            websocket.check(head, service)
        check_terms(head, service.accept)
        drop_upgrade(flow)
        point_at(flow, service)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        socket_steps.read(flow)

    def request(self, flow: http.HTTPFlow) -> None:
        record = exchange.read(flow.metadata)
        service = self.runtime.snapshot_of(flow).gateway.services[record.service or ""]
        offer_websocket(flow)
        path, query = split(flow.request.data.path)
        record.operation = extract.operation(
            flow.request.data.method.decode(),
            service.scheme,
            service.address.host,
            path.decode(),
            query.decode(),
            list(flow.request.headers.items(multi=True)),
            flow.request.raw_content or b"",
            service,
        )
        exchange.write(flow.metadata, record)


def offer_websocket(flow: http.HTTPFlow) -> None:
    """`Upgrade` is a matter of each connection, so it was taken out with the rest; a handshake that was read is ours to make again."""
    headers = flow.request.headers
    if websocket.KEY not in headers:
        return
    headers.pop(websocket.EXTENSIONS, None)
    headers["Connection"], headers["Upgrade"] = "Upgrade", "websocket"


def drop_upgrade(flow: http.HTTPFlow) -> None:
    """An upgrade nobody here knows is not offered upstream: its 101 would become a relay without policy."""
    if flow.request.headers.pop("Upgrade", None) is None:
        return
    kept = [token for token in flow.request.headers.get("Connection", "").split(",") if token.strip().lower() not in ("upgrade", "")]
    flow.request.headers.pop("Connection", None)
    if kept:
        flow.request.headers["Connection"] = ",".join(kept)
    record = exchange.read(flow.metadata)
    record.notes.append("stripped:upgrade")
    exchange.write(flow.metadata, record)


def point_at(flow: http.HTTPFlow, service: Service) -> None:
    """Dial the service, and show it the Host that its configuration says."""
    request = flow.request
    shown = routing.host_header(service, request.host_header or "")
    request.scheme, request.host, request.port = service.scheme, service.address.host, service.address.port
    if flow.client_conn.alpn == b"h2":
        request.headers.pop("Host", None)
        request.authority = shown
        return
    request.headers["Host"] = shown
    request.authority = ""


addons = [guard(Routing(Runtime()))]
