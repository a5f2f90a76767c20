"""The head of a request as it came over the wire, for the pure rules of `addons.core.services`."""

from mitmproxy import http

from addons.core.services.canonical import Head


def head_of(flow: http.HTTPFlow) -> Head:
    """Return the raw head: the method before mitmproxy upper-cases it, the fields before it joins them."""
    data = flow.request.data
    return Head(
        method=data.method,
        target=data.path,
        version=data.http_version,
        headers=tuple(flow.request.headers.fields),
        authority=data.authority,
        http2=flow.client_conn.alpn == b"h2",
    )
