"""Frames that no proper peer sends, from either side: nothing passes unseen, nothing crashes, the session ends once at most."""

import struct

import pytest
import wsproto
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy.proxy import events

from addons.host import patch, patches_websocket
from tests import harness
from tests.unit.host.test_sockets import Session, Stars, closes, heard, see_all

BLOCKED = [HealthCheck.function_scoped_fixture]


@pytest.fixture(autouse=True)
def patched():
    runtime = harness.runtime()
    runtime.redactor = Stars()
    patches_websocket.WebSocketControl().install(runtime)
    yield
    patch.restore()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, length: bytes | None = None) -> bytes:
    head = bytes([(0x80 if fin else 0) | (rsv << 4) | opcode])
    size = length if length is not None else bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload))
    if not masked:
        return head + size + payload
    return head + bytes([size[0] | 0x80]) + size[1:] + b"\x00\x00\x00\x00" + payload


BROKEN = [
    pytest.param(frame(1, b"\xff\xfe"), id="text-that-is-no-utf-8"),
    pytest.param(frame(1, b"\xed\xa0\x80"), id="a-lone-surrogate"),
    pytest.param(frame(1, b"SECRET", masked=False), id="a-client-that-does-not-mask"),
    pytest.param(frame(1, b"SECRET", rsv=4), id="compressed-though-nobody-agreed"),
    pytest.param(frame(1, b"SECRET", rsv=1), id="a-reserved-bit"),
    pytest.param(frame(3, b"SECRET"), id="a-reserved-opcode"),
    pytest.param(frame(11, b"SECRET"), id="a-reserved-control-opcode"),
    pytest.param(frame(0, b"SECRET"), id="a-continuation-of-nothing"),
    pytest.param(frame(1, b"SEC", fin=False) + frame(1, b"RET"), id="a-text-inside-a-text"),
    pytest.param(frame(9, b"SECRET", fin=False), id="a-ping-in-pieces"),
    pytest.param(frame(9, b"S" * 126), id="a-long-ping"),
    pytest.param(frame(8, b"\x03"), id="a-close-of-one-byte"),
    pytest.param(frame(8, b"\x03\xe8\xff"), id="a-reason-that-is-no-utf-8"),
    pytest.param(frame(8, struct.pack("!H", 1005)), id="a-code-that-is-never-sent"),
    pytest.param(frame(8, struct.pack("!H", 0)), id="code-0"),
    pytest.param(frame(1, b"", length=b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), id="a-negative-length"),
    pytest.param(frame(1, b"x", length=b"\x7e\x00\x01"), id="a-length-written-too-long"),
]


@pytest.mark.parametrize("data", BROKEN)
async def test_a_frame_that_breaks_the_protocol_ends_the_session(data):
    session = Session()
    session.run(events.DataReceived(session.context.client, data))
    session.run(events.ConnectionClosed(session.context.client))
    assert heard(session.to_server) == []
    assert session.hooks.count("websocket_end") == 1
    assert all("SECRET" not in str(line) for line in session.log)
    assert all("SECRET" not in (reason or "") for _, reason in closes(session.to_server))


@given(st.lists(st.binary(max_size=80), max_size=6), st.booleans())
@settings(suppress_health_check=BLOCKED, max_examples=150, deadline=None)
async def test_any_bytes_at_all_pass_nothing_that_nobody_saw(pieces, from_client):
    session = Session(hook=lambda flow: None)
    for piece in pieces:
        session.run(events.DataReceived(session.context.client if from_client else session.context.server, piece))
    assert heard(session.to_server) == heard(session.to_client) == []
    assert session.hooks.count("websocket_end") <= 1


FRAMES = st.builds(
    frame,
    st.sampled_from([0, 1, 2, 8, 9, 10, 3]),
    st.binary(max_size=130),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0, 4]),
)


@given(st.lists(FRAMES, max_size=12))
@settings(suppress_health_check=BLOCKED, max_examples=200, deadline=None)
async def test_well_formed_frames_in_any_order_never_crash_the_layer(frames):
    session = Session(see_all)
    for one in frames:
        session.run(events.DataReceived(session.context.client, one))
    session.run(events.ConnectionClosed(session.context.client))
    assert session.hooks.count("websocket_end") == 1
    assert not any(isinstance(event, wsproto.events.Ping) and event.payload for event in session.to_server)
