"""Content codings that lie: broken, cut, concatenated, swollen and mislabelled, for each coding."""

import gzip
import random
import zlib

import brotli
import pytest
import zstandard

from addons.core.config.model import MaskLimits
from addons.core.errors import Unmaskable
from addons.core.masking.encodings import coding_of, decode

LIMITS = MaskLimits(decoded=8 << 20, ratio=200)
PLAIN = b'{"email": "ann@corp.example"}' * 50


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()


ENCODERS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate-raw": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "zstd-no-size": ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress),
    "identity": ("identity", lambda data: data),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [0, 1, len(PLAIN), 300_000])
def test_every_coding_is_read_whole(name, size):
    coding, encode = ENCODERS[name]
    plain = random.Random(7).randbytes(size) if size > len(PLAIN) else PLAIN[:size]
    assert decode(encode(plain), coding, LIMITS) == plain


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "identity"])
def test_a_stream_cut_at_any_byte_is_refused(name):
    coding, encode = ENCODERS[name]
    whole = encode(PLAIN)
    for size in range(1, len(whole)):
        with pytest.raises(Unmaskable) as caught:
            decode(whole[:size], coding, LIMITS)
        assert caught.value.reason in ("truncated", "coding")


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "identity"])
def test_bytes_after_the_end_are_refused(name):
    coding, encode = ENCODERS[name]
    with pytest.raises(Unmaskable) as caught:
        decode(encode(PLAIN) + b"ann@corp.example", coding, LIMITS)
    assert caught.value.reason in ("coding", "truncated")


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "zstd", "zstd-no-size"])
def test_every_member_and_frame_counts(name):
    coding, encode = ENCODERS[name]
    assert decode(encode(b"one ") + encode(b"ann@corp.example") + encode(b""), coding, LIMITS) == b"one ann@corp.example"


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "identity"])
def test_a_bomb_is_refused_before_it_unfolds(name):
    coding, encode = ENCODERS[name]
    with pytest.raises(Unmaskable) as caught:
        decode(encode(b"\0" * (12 << 20)), coding, LIMITS)
    assert caught.value.reason == "bomb"


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "identity"])
@pytest.mark.parametrize("label", ["gzip", "deflate", "br", "zstd"])
def test_a_wrong_label_never_yields_text(name, label):
    coding, encode = ENCODERS[name]
    if coding.removeprefix("x-") == label:
        return
    with pytest.raises(Unmaskable):
        decode(encode(PLAIN), label, LIMITS)


@pytest.mark.parametrize(
    "values",
    [["bz2"], ["hex"], ["rot13"], ["gzip, gzip"], ["gzip", "br"], ["compress"], ["aws-chunked"], ["gzip;q=1"], ["identity, gzip"], ["dcb"]],
    ids=lambda values: "+".join(values),
)
def test_unknown_and_several_codings_are_refused(values):
    with pytest.raises(Unmaskable, match="coding"):
        coding_of(values)


@pytest.mark.parametrize("values", [[], [""], ["identity"], [" IDENTITY "]], ids=repr)
def test_no_coding_is_identity(values):
    assert coding_of(values) == "identity"


def test_a_zstd_window_larger_than_we_hold_is_refused():
    encoder = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=30, compression_level=1))
    machine = encoder.compressobj()
    with pytest.raises(Unmaskable):
        decode(machine.compress(b"x" * 100_000) + machine.flush(), "zstd", LIMITS)
