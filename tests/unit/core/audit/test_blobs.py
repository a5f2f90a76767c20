"""Stored bodies: one whole frame of the size that the row says, or nothing."""

import pytest
import zstandard

from addons.core.audit import blobs
from addons.core.audit.blobs import BlobError

BODY = b'{"name": "<PERSON>"}' * 50


def test_the_address_depends_on_the_key_and_not_only_on_the_body():
    assert blobs.put(b"one", BODY).address != blobs.put(b"two", BODY).address
    assert blobs.put(b"one", BODY).address == blobs.put(b"one", BODY).address


@pytest.mark.parametrize(
    ("size", "encoding", "body"),
    [
        pytest.param(len(BODY) + 1, 1, zstandard.compress(BODY), id="another-size"),
        pytest.param(len(BODY), 1, zstandard.compress(BODY)[:-3], id="cut"),
        pytest.param(len(BODY), 1, zstandard.compress(BODY) + b"x", id="more-behind-it"),
        pytest.param(len(BODY), 1, zstandard.compress(BODY) * 2, id="two-frames"),
        pytest.param(len(BODY), 1, BODY, id="not-compressed"),
        pytest.param(len(BODY), 0, BODY + b"x", id="raw-of-another-size"),
        pytest.param(len(BODY), 7, BODY, id="unknown-encoding"),
        pytest.param(1 << 40, 1, zstandard.compress(BODY), id="bomb"),
        pytest.param(-1, 1, zstandard.compress(BODY), id="negative"),
        pytest.param(0, 1, b"", id="nothing"),
    ],
)
def test_what_is_not_one_whole_frame_is_refused(size, encoding, body):
    with pytest.raises(BlobError):
        blobs.get(size, encoding, body)


def test_small_bodies_are_not_compressed_and_large_ones_are_cut():
    assert blobs.put(b"k", b"tiny").encoding == blobs.Encoding.RAW
    assert blobs.capped(b"a" * 100, 50) == (b"a" * 100, True)
    kept, cut = blobs.capped(b"a" * (9 << 20), 8 << 20)
    assert (len(kept), cut) == (64 << 10, True)
    assert blobs.capped(b"a" * 50, 50) == (b"a" * 50, False)
