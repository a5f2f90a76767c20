"""Pieces of a stream are recorded in time, masked, up to the cap; and a log that is behind stops the stream."""

import asyncio
import hashlib
import json

import pytest

from addons.core.audit import chunks
from addons.core.audit.chunks import ChunkRecorder
from addons.core.errors import AuditError

CORE = {"flow": "018bcfe5-6800-7000-8000-000000000001", "verb": "chunk"}


class Log:
    """Keeps events; waits for `gate`, fails when told to."""

    def __init__(self):
        self.events, self.fails = [], False
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, event):
        await self.gate.wait()
        if self.fails:
            raise AuditError(detail="disk full")
        self.events.append(event)
        return len(self.events)


class Upper:
    """A storage mask that holds one piece back."""

    def __init__(self):
        self.held = b""

    def feed(self, data):
        out, self.held = self.held, data.upper()
        return out

    def finish(self):
        return self.held


class Broken(Upper):
    def feed(self, data):
        raise ValueError("SECRET")


def recorder(log, content=None, cap=1 << 20, told=None):
    return ChunkRecorder(log.append, CORE, content, cap, (told if told is not None else []).append)


def stored(log):
    return b"".join(event.fields.get("chunk", b"") for event in log.events)


async def test_everything_is_stored_masked_and_digested():
    log = Log()
    made = recorder(log, Upper())
    for piece in (b"one ", b"two ", b"three"):
        made.put(piece)
    facts = await made.close()
    assert stored(log) == b"ONE TWO THREE"
    assert (facts["sha256"], facts["length"]) == (hashlib.sha256(b"one two three").hexdigest(), 13)
    assert "truncated" not in facts and "withheld" not in facts
    assert {event.stage for event in log.events} == {"Mark"} and {event.kind for event in log.events} == {"chunk"}
    last = json.loads(log.events[-1].fields["response.digest"])
    assert last == {"sha256": facts["sha256"], "length": 13}


async def test_a_large_stream_is_cut_into_chunks():
    log = Log()
    made = recorder(log, Upper())
    for _ in range(12):
        made.put(b"x" * 10_000)
    await made.close()
    assert [event.core["bytes"] for event in log.events] == [30_000, 60_000, 90_000, 120_000, 120_000]


async def test_nothing_beyond_the_cap_is_stored_and_the_digest_is_of_all():
    log = Log()
    made = recorder(log, Upper(), cap=5)
    made.put(b"abc")
    made.put(b"defghi")
    facts = await made.close()
    assert stored(log) == b"ABCDE"
    assert (facts["length"], facts["truncated"]) == (9, True)


@pytest.mark.parametrize("content", [None, Broken()], ids=["no-mask", "a-mask-that-raises"])
async def test_what_cannot_be_masked_is_never_stored(content):
    log = Log()
    made = recorder(log, content)
    made.put(b"secret")
    facts = await made.close()
    assert stored(log) == b""
    assert facts["length"] == 6
    assert facts.get("withheld") or facts.get("truncated")


async def test_a_log_that_is_behind_refuses_more():
    log = Log()
    log.gate.clear()
    made = recorder(log)
    for _ in range(chunks.WINDOW // 1024):
        made.put(b"x" * 1024)
    with pytest.raises(AuditError):
        made.put(b"x")
    log.gate.set()
    await made.close()


async def test_reading_waits_for_room():
    log = Log()
    log.gate.clear()
    made = recorder(log)
    await asyncio.wait_for(made.room(), 1)
    made.put(b"x" * chunks.ENOUGH)
    waits = asyncio.create_task(made.room())
    await asyncio.sleep(0)
    assert not waits.done()
    log.gate.set()
    await asyncio.wait_for(waits, 1)
    await made.close()


async def test_a_log_that_fails_is_told_and_refuses_for_ever():
    log, told = Log(), []
    log.fails = True
    made = recorder(log, told=told)
    made.put(b"x")
    with pytest.raises(AuditError):
        await made.close()
    assert [type(error) for error in told] == [AuditError]
    with pytest.raises(AuditError):
        made.put(b"y")
