"""A further script, vouched for by `extra_scripts`, that breaks streamed answers when `X-Fault` says so: in a piece, at the end, or the guard itself."""

from mitmproxy import http

from addons.core.errors import AuditError
from addons.host import gate


class Faulty:
    """A pipe that raises in its k-th piece (`chunk-k`), at the end (`end`), or loses a piece quietly."""

    def __init__(self, pipe, fault: str) -> None:
        self.pipe, self.fault, self.count = pipe, fault, 0

    def feed(self, data: bytes) -> list[bytes]:
        self.count += 1
        if self.fault == f"chunk-{self.count}":
            raise RuntimeError("SECRET in an exception")
        return self.pipe.feed(data)

    def finish(self) -> list[bytes]:
        if self.fault == "end":
            raise RuntimeError("SECRET in an exception")
        return self.pipe.finish()


async def refuse(event):
    """As a log whose disk is full."""
    raise AuditError(detail="disk full")


class StreamFaults:
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        fault, stream = flow.request.headers.get("x-fault", ""), gate.of(flow).stream
        if stream is None or not fault:
            return
        if fault == "replaced":
            flow.response.stream = lambda data: [data] if data else []
        elif fault == "off":
            flow.response.stream = False
        elif fault == "unrecorded":
            stream.recorder = None
        elif fault == "store":
            stream.recorder._append = refuse
        else:
            stream._pipe = Faulty(stream._pipe, fault)


addons = [StreamFaults()]
