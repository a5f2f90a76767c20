"""StreamGuard: the only thing that is ever put into `flow.response.stream`.

mitmproxy calls it for every piece of an answer that passes as a stream, and once with nothing at the end. An exception in such
a callable would lose the piece and end the answer cleanly; a bare `b""` would end it in the middle. So: it returns lists,
the first failure is latched, the flow is killed, its connections are cut, and from then on nothing more leaves. The client sees a
broken transfer, never a clean end with bytes missing.

It knows nothing of masks: the pipe that it is given does. What leaves is handed to the recorder first, which refuses when too much of it
is not yet durable; without a recorder nothing leaves.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import connection, ctx, http
from mitmproxy import flow as mitmflow

from addons.core.errors import AuthenticationError, GuardhouseError, MaskingError, UpstreamError
from addons.core.exchange import Exchange
from addons.host import gate, patches_clock
from addons.host.refusals import abort_client, settled

logger = logging.getLogger(__name__)

READ = 8 << 10  # of the upstream's socket at once: between two reads the event loop serves everybody else
UNSENT = 256 << 10  # that may wait for a slow client of HTTP/2
LOOK = 0.02  # seconds between two looks at it
ROOM_SECONDS = 5.0  # that reading waits for the recorder; its own limits strike earlier


class Pipe(Protocol):
    """Makes what may leave of what came in; raises, and then nothing more may leave (`addons.core.masking.stream`)."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def finish(self) -> list[bytes]: ...


class Recorder(Protocol):
    """Writes down what leaves (`addons.core.audit.chunks`)."""

    def put(self, piece: bytes) -> None:
        """Raises AuditError when too much is not durable yet."""

    async def room(self) -> None:
        """Returns when more may come."""

    async def close(self) -> dict[str, Any]:
        """Write the rest; return what is said of the whole. Raises AuditError."""

    def facts(self) -> dict[str, Any]:
        """What is said of the whole as far as it was recorded."""


class Measure:
    """A keyed digest and a length of bytes that are not kept."""

    def __init__(self, key: bytes) -> None:
        self._hmac = hmac.new(key, digestmod=hashlib.sha256)
        self.size = 0

    def add(self, data: bytes) -> None:
        self._hmac.update(data)
        self.size += len(data)

    def proof(self) -> dict[str, Any]:
        return {"hmac": "hmac-sha-256:" + self._hmac.hexdigest(), "bytes": self.size}


class StreamGuard:
    """One streamed answer. `books` writes what was masked into the record, when the flow ends however it ends; `stored` makes the
    storage mask of what leaves, None when it has none."""

    def __init__(
        self,
        flow: http.HTTPFlow,
        pipe: Pipe,
        key: bytes,
        *,
        books: Callable[[Exchange], None],
        stored: Callable[[], Any],
        endless: bool = False,
    ) -> None:
        self.flow, self.books, self.stored, self.endless = flow, books, stored, endless
        self.error: GuardhouseError | None = None
        self.is_whole = False  # the end came, and everything that it asked for has left
        self.received, self.sent = Measure(key), Measure(key)
        self.recorder: Recorder | None = None
        self.last = 0.0  # loop time of the last piece
        self._pipe = pipe
        self._timers: list[asyncio.TimerHandle] = []
        self.has_recorder = asyncio.Event()
        self.unsent: Callable[[], int] = lambda: 0  # bytes that wait for a client that does not read (patch EarlyAnswers)
        if (known := _PACES.get(flow.server_conn)) is not None:
            known.streams.add(self)

    def __call__(self, data: bytes) -> list[bytes]:
        """What leaves now. `b""` is the end of the answer."""
        if self.error is not None or self.is_whole:
            return []
        try:
            return self._pass(data)
        except GuardhouseError as error:
            self.cut(error)
        except Exception as error:
            logger.warning("a stream was cut: %s", type(error).__name__, exc_info=error)
            self.cut(MaskingError(detail=f"a stream: {type(error).__name__}"))
        return []

    def _pass(self, data: bytes) -> list[bytes]:
        if self.recorder is None:
            raise GuardhouseError(detail="nobody records this stream")
        self.received.add(data)
        self.last = asyncio.get_running_loop().time()
        out = [piece for piece in (self._pipe.feed(data) if data else self._pipe.finish()) if piece]
        for piece in out:
            self.recorder.put(piece)
            self.sent.add(piece)
        if not data:
            self.is_whole = True
            self.stop_clocks()
        return out

    @property
    def has_begun(self) -> bool:
        """True when the head of this answer has left. One without a body never begins, though it was meant to stream."""
        return self.recorder is not None and (self.flow.response is None or self.flow.response.raw_content is None)

    def cut(self, error: GuardhouseError) -> None:
        """End this answer in the middle, visibly. The first reason is the one that is recorded."""
        if self.error is not None:
            return
        self.error = error
        self.stop_clocks()
        self.has_recorder.set()
        self.flow.error = mitmflow.Error(mitmflow.Error.KILLED_MESSAGE)  # `flow.kill` would keep the audit's hooks away
        if not patches_clock.inject(patches_clock.Cut(0, self.flow)):
            abort_client(self.flow.client_conn)

    def begin(self, recorder: Recorder, *, until: float | None, idle: float, now: float) -> None:
        """Let it pass: a recorder is there. It ends with the caller's credential, and when nothing comes for too long."""
        self.recorder = recorder
        loop = asyncio.get_running_loop()
        self.last = loop.time()
        if until is not None:
            self._timers.append(loop.call_later(max(0.0, until - now), self.cut, AuthenticationError(code="token-expired")))
        self._timers.append(loop.call_later(idle, self._look, idle))
        self.has_recorder.set()

    def stop_clocks(self) -> None:
        """Nothing strikes any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _look(self, idle: float) -> None:
        """Ends what has been silent for too long."""
        rest = self.last + idle - asyncio.get_running_loop().time()
        if rest <= 0:
            self.cut(UpstreamError(code="upstream-timeout", detail="a stream was silent for too long"))
            return
        self._timers.append(asyncio.get_running_loop().call_later(rest, self._look, idle))


def of_stream(flow: http.HTTPFlow, guard: Any) -> bool:
    """True when this answer passes through this very guard, and nothing was put in its place."""
    return guard is not None and flow.response is not None and flow.response.stream is guard


class Pace:
    """How an upstream connection is read: whoever may be flooded gets a breath between two reads.

    mitmproxy queues whatever comes while a hook waits, and calls a stream without ever waiting for it. So a large read is followed by a
    turn of the event loop, and while streams pass on this connection it is read in small bites, and not before their recorders have room.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.streams: WeakSet[StreamGuard] = WeakSet()
        self._read = reader.read
        self._was_large = False

    async def read(self, size: int = -1) -> bytes:
        """In place of `StreamReader.read`."""
        if self._was_large or self.streams:
            await asyncio.sleep(0)
            for guard in list(self.streams):
                await self._wait_for(guard)
        data = await self._read(READ if self.streams else size)
        self._was_large = len(data) > READ
        return data

    async def _wait_for(self, guard: "StreamGuard") -> None:
        if guard.error is not None or guard.is_whole or not guard.flow.live or settled(guard.flow):
            self.streams.discard(guard)
            return
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                await guard.has_recorder.wait()
                if guard.recorder is not None:
                    await guard.recorder.room()
        except TimeoutError:
            return  # the recorder's own limits strike
        while guard.unsent() > UNSENT and guard.error is None and guard.flow.live and guard.flow.client_conn.connected:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)  # mitmproxy keeps it all, and tells nobody when it could send


def pace(client: connection.Client, server: connection.Server) -> None:
    """Read this upstream connection at a pace that the gateway can keep. Called before its first byte is read."""
    proxyserver = ctx.master.addons.get("proxyserver") if hasattr(ctx, "master") else None
    handler = proxyserver.connections.get(client.id) if proxyserver is not None else None
    io = handler.transports.get(server) if handler is not None else None
    if io is not None and io.reader is not None:
        paced = _PACES[server] = Pace(io.reader)
        io.reader.read = paced.read


_PACES: WeakKeyDictionary[connection.Server, Pace] = WeakKeyDictionary()


def cut_endless(flows: WeakSet[mitmflow.Flow]) -> None:
    """Cut what would never end by itself: the gateway stops."""
    for flow in list(flows):
        door = gate.find(flow) if flow.live else None
        stream = door.stream if door is not None else None
        if stream is not None and stream.endless and stream.has_begun and not stream.is_whole:
            stream.cut(GuardhouseError("Guardhouse is stopping.", code="shutting-down"))
