"""The request's fingerprint: what must not change between `masking.Prepare` and the door.

The guard takes it right after `Prepare`, departure compares it. The body is not hashed: mitmproxy keeps it anyway, so
the gate holds a reference and compares the bytes.
"""

import hashlib
from collections.abc import Mapping

from mitmproxy import http


def fingerprint(flow: http.HTTPFlow, injected: Mapping[str, str]) -> bytes:
    """Return a digest of the request as it will be written, without its body and without what `credentials` injected."""
    data = flow.request.data
    digest = hashlib.sha256()
    for part in (data.method, data.scheme, data.authority, str(data.host).encode(), b"%d" % data.port, data.path, data.http_version):
        digest.update(b"%d:" % len(part) + part)
    skip = {name.lower().encode() for name in injected}
    for kind, headers in ((b"h", data.headers), (b"t", data.trailers)):
        for name, value in headers.fields if headers else ():
            if kind == b"h" and name.lower() in skip:
                continue
            digest.update(b"%s%d:%s%d:%s" % (kind, len(name), name, len(value), value))
    return digest.digest()
