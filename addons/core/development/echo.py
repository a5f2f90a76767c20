"""`/echo` of the example service: says what arrived, header by header as it came, so that a caller sees what the gateway let through.

`?coding=gzip` orders the answer in one content coding, whatever the request accepts: a service that does as it likes is
what masking has to cope with (`guardhouse doctor --canary` asks for each).
"""

import gzip
import zlib
from collections.abc import Callable, Mapping

import brotli  # type: ignore[import-untyped]  # no stubs
import zstandard
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

CODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


async def answer(request: Request) -> Response:
    """The request as JSON."""
    body = await request.body()
    response = JSONResponse(
        {
            "method": request.method,
            "target": request.scope["raw_path"].decode("latin-1") + ("?" + request.url.query if request.url.query else ""),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw],
            "body": body.decode("utf-8", "replace"),
        }
    )
    coding = request.query_params.get("coding", "")
    if coding not in CODINGS:
        return response
    return Response(CODINGS[coding](bytes(response.body)), media_type="application/json", headers={"Content-Encoding": coding})
