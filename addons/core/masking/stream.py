"""The way of one streamed answer through masking: undo the coding, remove the injected credential, mask, give out.

Pure and synchronous: bytes in, bytes out, whatever the socket gave. `StreamPipe.feed` returns what may leave by now, `finish` the
rest; both raise Unmaskable, and then nothing of the stream may leave any more. `host.streams.StreamGuard` is the one who calls.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from addons.core.masking.answer import scrub
from addons.core.masking.receipt import Tally
from addons.core.masking.stream_decode import Decoder
from addons.core.masking.transforms import Transformer

PIECE = 8 << 10  # detection runs in the event loop, there is no other place: one piece may cost 10 ms


class StreamMasker(Protocol):
    """Masks bytes in the order in which they come."""

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class Passing:
    """For what needs no mask: the service lists its media type, or no profile applies."""

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class Scrubber:
    """Replaces every spelling of the injected credential, also one that was cut in two. Holds back only what may be its beginning."""

    def __init__(self, values: tuple[bytes, ...], transformer: Transformer, tally: Tally) -> None:
        self._values = tuple(value for value in values if value)
        self._transformer, self._tally = transformer, tally
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The data without the credential, but for a tail that may be its beginning."""
        if not self._values:
            return data
        data = scrub(self._held + data, self._values, self._transformer, self._tally)
        keep = max(beginning(data, value) for value in self._values)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def finish(self) -> bytes:
        """The tail, which was no credential after all."""
        held, self._held = self._held, b""
        return held


@dataclass(slots=True)
class Budget:
    """The time for one piece: a stream has no end, so each piece has its own."""

    seconds: float
    make: Callable[[float], Callable[[], None]]  # MaskEngine.budget
    check: Callable[[], None] = field(default=lambda: None)

    def renew(self) -> None:
        """A new piece begins."""
        self.check = self.make(self.seconds)

    def __call__(self) -> None:
        self.check()


@dataclass(slots=True)
class StreamPipe:
    """One streamed answer. `tally` is what its receipt will say."""

    decoder: Decoder
    scrubber: Scrubber
    masker: StreamMasker
    tally: Tally
    budget: Budget

    def feed(self, data: bytes) -> list[bytes]:
        """What may leave now that these bytes have come. Never an empty piece: it would end a chunked body."""
        out: list[bytes] = []
        for start in range(0, len(data), PIECE):
            for plain in self.decoder.feed(data[start : start + PIECE]):
                for at in range(0, len(plain), PIECE):
                    self.budget.renew()
                    out.append(self.masker.feed(self.scrubber.feed(plain[at : at + PIECE])))
        return [piece for piece in out if piece]

    def finish(self) -> list[bytes]:
        """The rest. Raises Unmaskable for a stream that is not whole."""
        self.decoder.finish()
        self.budget.renew()
        rest = [self.masker.feed(self.scrubber.finish()), self.masker.finish()]
        return [piece for piece in rest if piece]


def beginning(data: bytes, value: bytes) -> int:
    """The length of the longest end of `data` that is a beginning of `value`."""
    for size in range(min(len(data), len(value) - 1), 0, -1):
        if data.endswith(value[:size]):
            return size
    return 0
