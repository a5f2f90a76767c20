"""Bodies: masked, capped, compressed, and kept once however often they come.

The address is an HMAC under a key of the tenant, not a plain hash, so a reader of the file cannot confirm a guessed body.
The leaf holds a salted commitment over what is stored (the masked body before compression).
"""

import hashlib
import hmac
import threading
from dataclasses import dataclass
from enum import IntEnum

import zstandard

LEVEL = 3
MIN_COMPRESSED = 128  # below that a zstd frame is as large as its content
TRUNCATED_SIZE = 64 << 10  # what is kept of a body over the cap
NAMES = frozenset(
    {"request.body", "request.trailers", "response.body", "response.trailers", "chunk"}
)  # what comes again; a skeleton never does
INLINE_SIZE = 4 << 10  # a larger value goes to the blobs under any name, so that rows stay small
MAX_SIZE = 64 << 20


_LOCAL = threading.local()


class BlobError(ValueError):
    """The stored bytes are not what was put there."""


class Encoding(IntEnum):
    RAW = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class Blob:
    """One stored body. `size` is its size before compression."""

    address: bytes
    size: int
    encoding: Encoding
    body: bytes


def belongs(name: str, value: bytes) -> bool:
    """True when a field's value is kept as a blob instead of in its row."""
    return name in NAMES or name.startswith("sealed.") or len(value) > INLINE_SIZE


def put(key: bytes, value: bytes) -> Blob:
    """Return the stored form of a value."""
    address = hmac.digest(key, value, hashlib.sha256)
    if len(value) < MIN_COMPRESSED or value.startswith(zstandard.FRAME_HEADER):  # a skeleton is a frame already
        return Blob(address, len(value), Encoding.RAW, value)
    return Blob(address, len(value), Encoding.ZSTD, _compressor().compress(value))


def get(size: int, encoding: int, body: bytes) -> bytes:
    """Return the value of a stored blob. Raises BlobError when it is not exactly one whole frame of this size."""
    if encoding == Encoding.RAW:
        value = body
    elif encoding == Encoding.ZSTD:
        value = _inflate(size, body)
    else:
        raise BlobError("unknown encoding")
    if len(value) != size:
        raise BlobError("the size differs")
    return value


def _compressor() -> zstandard.ZstdCompressor:
    """One for each thread: making it costs more than a small body, and two threads must not share it."""
    made: zstandard.ZstdCompressor | None = getattr(_LOCAL, "compressor", None)
    if made is None:
        made = _LOCAL.compressor = zstandard.ZstdCompressor(level=LEVEL)
    return made


def _decompressor() -> zstandard.ZstdDecompressor:
    made: zstandard.ZstdDecompressor | None = getattr(_LOCAL, "decompressor", None)
    if made is None:
        made = _LOCAL.decompressor = zstandard.ZstdDecompressor()
    return made


def capped(body: bytes, cap: int) -> tuple[bytes, bool]:
    """Return what is kept of a body, and whether it was cut."""
    return (body, False) if len(body) <= cap else (body[:TRUNCATED_SIZE], True)


def _inflate(size: int, body: bytes) -> bytes:
    if not 0 <= size <= MAX_SIZE:
        raise BlobError("the size is out of range")
    try:
        if zstandard.frame_content_size(body) != size:
            raise BlobError("the size differs")
        return _decompressor().decompress(body, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BlobError("not one whole zstd frame") from error
