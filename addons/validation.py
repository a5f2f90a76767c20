"""Can two readers read this request differently? Then 400, before anybody looks at who asks.

Stands first, because everything after it (routing, policy, masking, the approval's digest) relies on there being one
reading. The rules are in `addons.core.services.canonical`; this module only moves bytes to them. It also takes away
headers that speak about the caller, and gives a body of HTTP/2 its length: without one, mitmproxy would write the body
to an HTTP/1.1 upstream unframed, and the upstream would read it as a second request.
"""

from mitmproxy import http

from addons.core import exchange
from addons.core.services import canonical
from addons.host.fail_closed import guard
from addons.host.request_head import head_of
from addons.host.runtime import Runtime


class Validation:
    name = "guardhouse-validation"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        gateway = self.runtime.snapshot_of(flow).gateway
        once = (gateway.purpose.header, gateway.session.header, "X-Purpose-Detail")
        found = canonical.check_head(head_of(flow), gateway.limits, once)
        strip(flow, found.strip)

    def request(self, flow: http.HTTPFlow) -> None:
        gateway = self.runtime.snapshot_of(flow).gateway
        service = gateway.services.get(exchange.read(flow.metadata).service or "")
        trailers = flow.request.trailers.fields if flow.request.trailers else ()
        canonical.check_trailers(trailers, service.request_trailers if service else (), flow.client_conn.alpn == b"h2")
        body = flow.request.raw_content or b""
        canonical.check_body_size(len(body), gateway.limits)
        if body and "content-length" not in flow.request.headers and "transfer-encoding" not in flow.request.headers:
            flow.request.headers["content-length"] = str(len(body))


def strip(flow: http.HTTPFlow, names: tuple[str, ...]) -> None:
    """Remove what is not the caller's to say, and note that it came."""
    if not names:
        return
    record = exchange.read(flow.metadata)
    for name in names:
        flow.request.headers.pop(name, None)
        record.notes.append(f"stripped:{name}")
    exchange.write(flow.metadata, record)


addons = [guard(Validation(Runtime()))]
