"""StreamGuard: lists only, the first failure is latched, nothing leaves unrecorded, its clocks end it."""

import asyncio
import hashlib
import hmac

import pytest
from mitmproxy import http

from addons.core.errors import AuditError, MaskingError, Unmaskable
from addons.host import streams
from addons.host.streams import Pace, StreamGuard
from tests import harness

KEY = bytes(32)


class Pipe:
    """Passes pieces in capitals; fails where it is told to."""

    def __init__(self, fails_at=0, fails_at_end=False):
        self.count, self.fails_at, self.fails_at_end = 0, fails_at, fails_at_end

    def feed(self, data):
        self.count += 1
        if self.count == self.fails_at:
            raise ValueError("SECRET")
        return [] if data == b"hold" else [data.upper(), b""]

    def finish(self):
        if self.fails_at_end:
            raise Unmaskable("truncated")
        return [b"END"]


class Recorder:
    def __init__(self, fails=False):
        self.pieces, self.fails = [], fails

    def put(self, piece):
        if self.fails:
            raise AuditError(detail="behind")
        self.pieces.append(piece)

    async def room(self):
        return

    async def close(self):
        return {}

    def facts(self):
        return {}


def guard(pipe=None, recorder=None, begun=True, **clocks):
    flow = harness.live_flow(response=http.Response.make(200, b""))
    flow.response.data.content = None
    made = StreamGuard(flow, pipe or Pipe(), KEY, books=lambda record: None, stored=lambda: None)
    if begun:
        made.begin(recorder or Recorder(), **{"until": None, "idle": 1000.0, "now": 0.0, **clocks})
    return made


async def test_it_returns_lists_and_never_an_empty_piece():
    made = guard()
    assert made(b"abc") == [b"ABC"]
    assert made(b"hold") == []
    assert made(b"") == [b"END"]
    assert made.is_whole
    assert made(b"more") == []
    assert made.recorder.pieces == [b"ABC", b"END"]


async def test_it_measures_what_came_in_and_what_went_out():
    made = guard()
    for piece in (b"abc", b"hold", b""):
        made(piece)
    assert made.received.proof() == {"hmac": "hmac-sha-256:" + hmac.new(KEY, b"abchold", hashlib.sha256).hexdigest(), "bytes": 7}
    assert made.sent.proof() == {"hmac": "hmac-sha-256:" + hmac.new(KEY, b"ABCEND", hashlib.sha256).hexdigest(), "bytes": 6}


@pytest.mark.parametrize(
    ("pipe", "pieces", "left"),
    [
        pytest.param(Pipe(fails_at=1), [b"a", b"b", b""], [[], [], []], id="first-piece"),
        pytest.param(Pipe(fails_at=2), [b"a", b"b", b"c", b""], [[b"A"], [], [], []], id="second-piece"),
        pytest.param(Pipe(fails_at_end=True), [b"a", b"", b""], [[b"A"], [], []], id="end"),
    ],
)
async def test_the_first_failure_is_latched(pipe, pieces, left):
    made = guard(pipe)
    assert [made(piece) for piece in pieces] == left
    assert isinstance(made.error, MaskingError)
    assert "SECRET" not in str(made.error) + made.error.detail
    assert not made.is_whole
    assert made.flow.error.msg == made.flow.error.KILLED_MESSAGE


async def test_nothing_leaves_without_a_recorder():
    made = guard(begun=False)
    assert made(b"abc") == []
    assert made.error is not None


async def test_what_cannot_be_recorded_does_not_leave():
    made = guard(recorder=Recorder(fails=True))
    assert made(b"abc") == []
    assert made.error.code == "audit-unavailable"


async def test_it_ends_with_the_callers_credential():
    made = guard(until=100.0, now=100.0)
    await asyncio.sleep(0.01)
    assert made.error.code == "token-expired"
    assert made(b"abc") == []


async def test_it_ends_when_nothing_comes():
    made = guard(idle=0.01)
    await asyncio.sleep(0.05)
    assert made.error.code == "upstream-timeout"


async def test_what_comes_in_time_goes_on():
    made = guard(idle=0.2)
    for _ in range(4):
        await asyncio.sleep(0.1)
        assert made(b"x") == [b"X"]
    made(b"")
    assert made.error is None


async def test_a_paced_reader_reads_small_bites_while_a_stream_passes_and_waits_for_room():
    reader = asyncio.StreamReader()
    reader.feed_data(b"x" * 100_000)
    pace = Pace(reader)
    assert len(await pace.read(65535)) == 65535
    made = guard()
    room = asyncio.Event()
    made.recorder.room = room.wait
    pace.streams.add(made)
    waits = asyncio.create_task(pace.read(65535))
    await asyncio.sleep(0.01)
    assert not waits.done()
    room.set()
    assert len(await waits) == streams.READ
    made(b"")
    await pace.read(65535)
    assert len(pace.streams) == 0
