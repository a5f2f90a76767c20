"""Content codings and charsets, decoded by ourselves and bounded.

mitmproxy decodes without a limit, takes a truncated gzip stream as complete and drops every member after the first. Here
a stream must end where it says, all gzip members and zstd frames count, what is left over is an error, and neither the
size nor the ratio may pass the limits.
"""

import codecs
import zlib
from collections.abc import Callable, Generator, Iterator

import brotli  # type: ignore[import-untyped]  # no stubs
import zstandard

from addons.core.config.model import MaskLimits
from addons.core.errors import Unmaskable

PIECE = 64 << 10
ZSTD_PIECE = 256  # one RLE block of four bytes makes 128 KiB, so a larger bite could decode to gigabytes before we look
SMALL = 1 << 20  # below this no ratio is suspicious: an empty JSON list compresses well
CODINGS = ("identity", "gzip", "x-gzip", "deflate", "br", "zstd")


def coding_of(values: list[str]) -> str:
    """The one content coding of these header fields. Several, or an unknown one: Unmaskable."""
    names = [name.strip().lower() for value in values for name in value.split(",") if name.strip()]
    if not names or names == ["identity"]:
        return "identity"
    if len(names) > 1 or names[0] not in CODINGS:
        raise Unmaskable("coding")
    return names[0]


def decode(body: bytes, coding: str, limits: MaskLimits) -> bytes:
    """The decoded body. Raises Unmaskable: coding, truncated, bomb or size."""
    if coding == "identity":
        return body
    decoders: dict[str, Callable[[bytes], Iterator[bytes]]] = {
        "gzip": _gzip,
        "x-gzip": _gzip,
        "deflate": _deflate,
        "br": _brotli,
        "zstd": _zstd,
    }
    if coding not in decoders:
        raise Unmaskable("coding")
    if not body:
        return b""
    pieces: list[bytes] = []
    size = 0
    for piece in decoders[coding](body):
        size += len(piece)
        if size > limits.decoded or (size > SMALL and size > limits.ratio * len(body)):
            raise Unmaskable("bomb")
        pieces.append(piece)
    return b"".join(pieces)


def _gzip(body: bytes) -> Iterator[bytes]:
    rest = body
    while rest:
        rest = yield from _inflate(rest, 16 + zlib.MAX_WBITS)


def _deflate(body: bytes) -> Iterator[bytes]:
    """zlib as RFC 9110 says, or the raw stream that some servers send."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    rest = yield from _inflate(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
    if rest:
        raise Unmaskable("coding")


def _inflate(body: bytes, wbits: int) -> Generator[bytes, None, bytes]:
    machine = zlib.decompressobj(wbits)
    rest = body
    try:
        while not machine.eof:
            piece = machine.decompress(rest, PIECE)
            rest = machine.unconsumed_tail
            yield piece
            if not piece and not rest and not machine.eof:
                raise Unmaskable("truncated")
    except zlib.error as error:
        raise Unmaskable("coding") from error
    return machine.unused_data


def _brotli(body: bytes) -> Iterator[bytes]:
    machine = brotli.Decompressor()
    rest = body
    try:
        while not machine.is_finished():
            piece = machine.process(rest, output_buffer_limit=PIECE)
            rest = b""
            yield piece
            if not piece and not machine.is_finished() and machine.can_accept_more_data():
                raise Unmaskable("truncated")
    except brotli.error as error:
        raise Unmaskable("coding") from error


def _zstd(body: bytes) -> Iterator[bytes]:
    rest = body
    try:
        while rest:
            machine = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            for start in range(0, len(rest), ZSTD_PIECE):
                yield machine.decompress(rest[start : start + ZSTD_PIECE])
                if machine.eof:
                    rest = machine.unused_data + rest[start + ZSTD_PIECE :]
                    break
            else:
                raise Unmaskable("truncated")
    except zstandard.ZstdError as error:
        raise Unmaskable("coding") from error


def charset_of(body: bytes, declared: str | None) -> tuple[str, bytes]:
    """The charset to read a text with, and the byte order mark to keep. Unknown or contradictory: Unmaskable."""
    if body.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise Unmaskable("charset")  # its first two bytes are those of UTF-16
    for mark, name in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if body.startswith(mark):
            if declared not in (None, name, name.rpartition("-")[0] if name.startswith("utf-16") else name):
                raise Unmaskable("charset")
            return name, mark
    known = {
        None: "utf-8",
        "utf-8": "utf-8",
        "utf8": "utf-8",
        "us-ascii": "ascii",
        "ascii": "ascii",
        "iso-8859-1": "latin-1",
        "latin1": "latin-1",
    }
    if declared not in known:
        raise Unmaskable("charset")
    return known[declared], b""


def decode_text(body: bytes, declared: str | None) -> tuple[str, str, bytes]:
    """The text, its charset and its byte order mark. Raises Unmaskable(charset), also for a text that holds NUL: it is in
    another charset than it says (UTF-16 without a mark reads as UTF-8 with a NUL behind each letter)."""
    charset, mark = charset_of(body, declared)
    try:
        text = body[len(mark) :].decode(charset)
    except UnicodeDecodeError as error:
        raise Unmaskable("charset") from error
    if "\x00" in text:
        raise Unmaskable("charset")
    return text, charset, mark
