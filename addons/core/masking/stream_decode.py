"""Content codings, undone piece by piece and bounded: what `encodings` does for a whole body, for one that has no end.

A decoder gives pieces of at most 64 KiB, so that a bomb is seen before it is large. A stream must end where its coding says;
all gzip members and zstd frames count.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import brotli  # type: ignore[import-untyped]  # no stubs
import zstandard

from addons.core.errors import Unmaskable
from addons.core.masking.encodings import PIECE, SMALL, ZSTD_PIECE


class Decoder(Protocol):
    """Undoes one coding. `feed` gives what can be read by now, `finish` raises Unmaskable(truncated) for a cut stream."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def finish(self) -> None: ...


class Identity:
    """No coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        return


class Inflate:
    """gzip with all its members, zlib, or the raw deflate that some servers send."""

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding in ("gzip", "x-gzip")
        self._machine: Any = None
        self._head = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        rest = self._head + data
        while rest:
            if self._machine is None:
                if not self._is_gzip and len(rest) < 2:
                    break  # the first two bytes say which deflate it is
                self._machine = zlib.decompressobj(self._window(rest))
            elif self._machine.eof and not self._is_gzip:
                raise Unmaskable("coding")
            rest = yield from self._member(rest)
        self._head = rest

    def _window(self, start: bytes) -> int:
        if self._is_gzip:
            return 16 + zlib.MAX_WBITS
        is_zlib = start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0
        return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS

    def _member(self, rest: bytes) -> Any:
        machine = self._machine
        try:
            while True:
                piece = machine.decompress(rest, PIECE)
                rest = machine.unconsumed_tail
                if piece:
                    yield piece
                if machine.eof or (not piece and not rest):
                    break
        except zlib.error as error:
            raise Unmaskable("coding") from error
        if machine.eof and self._is_gzip:
            self._machine = None
        return machine.unused_data if machine.eof else rest

    def finish(self) -> None:
        done = self._machine is None if self._is_gzip else self._machine is not None and self._machine.eof
        if self._head or not done:
            raise Unmaskable("truncated")


class Brotli:
    """br."""

    def __init__(self) -> None:
        self._machine = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        rest = data
        try:
            if self._machine.is_finished() and rest:
                raise Unmaskable("coding")
            while True:
                piece = self._machine.process(rest, output_buffer_limit=PIECE)
                rest = b""
                if piece:
                    yield piece
                if self._machine.is_finished() or (not piece and self._machine.can_accept_more_data()):
                    return
        except brotli.error as error:
            raise Unmaskable("coding") from error

    def finish(self) -> None:
        if not self._machine.is_finished():
            raise Unmaskable("truncated")


class Zstd:
    """zstd with all its frames."""

    def __init__(self) -> None:
        self._machine: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        rest = data
        try:
            while rest:
                if self._machine is None:
                    self._machine = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
                bite, rest = rest[:ZSTD_PIECE], rest[ZSTD_PIECE:]
                if piece := self._machine.decompress(bite):
                    yield piece
                if self._machine.eof:
                    rest = self._machine.unused_data + rest
                    self._machine = None
        except zstandard.ZstdError as error:
            raise Unmaskable("coding") from error

    def finish(self) -> None:
        if self._machine is not None:
            raise Unmaskable("truncated")


class Bounded:
    """A decoder that gives up on a bomb: by ratio, since a stream has no size."""

    def __init__(self, inner: Decoder, ratio: int) -> None:
        self._inner = inner
        self._ratio = ratio
        self._taken = self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._taken += len(data)
        for piece in self._inner.feed(data):
            self._given += len(piece)
            if self._given > SMALL and self._given > self._ratio * self._taken:
                raise Unmaskable("bomb")
            yield piece

    def finish(self) -> None:
        if self._taken:
            self._inner.finish()


def decoder_of(coding: str, ratio: int) -> Decoder:
    """The decoder of this coding (see `encodings.coding_of`). An unknown one: Unmaskable."""
    makers: dict[str, Callable[[], Decoder]] = {
        "identity": Identity,
        "gzip": lambda: Inflate(coding),
        "x-gzip": lambda: Inflate(coding),
        "deflate": lambda: Inflate(coding),
        "br": Brotli,
        "zstd": Zstd,
    }
    if coding not in makers:
        raise Unmaskable("coding")
    return Identity() if coding == "identity" else Bounded(makers[coding](), ratio)
