"""The log as its callers see it: durable or refused, one end per flow, sessions, silence (acceptance row 1 and more)."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from addons.core.audit.events import make
from addons.core.audit.log import AuditLog
from addons.core.clock import SystemClock, uuid7
from addons.core.errors import AuditError
from addons.core.moves import Insert, Update
from tests.harness import FakeClock
from tests.parts import audit

FLOW = "018bcfe5-6800-7000-8000-00000000000{}"


def ids(events):
    return [(event.stage, event.kind, event.core.get("verb")) for event in events]


async def every(log):
    return await log._read(lambda reader: reader.events("seq > ?", (0,)))


async def test_an_event_is_durable_when_append_returns(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock())
    seq = await log.append(audit.begin(FLOW.format(1)), reserve=True)
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        assert db.execute("SELECT max(size) FROM checkpoint").fetchone() == (seq,)
    (event,) = await log.events(flow=FLOW.format(1))
    assert event.core["flow"] == FLOW.format(1)
    assert (
        event.core.items() >= {"v": 1, "stage": "RequestReceived", "kind": "http", "replica": "r1", "ts_us": 1_700_000_000_000_000}.items()
    )
    assert event.fields["request.body"] == b'{"name":"<PERSON>"}'
    await log.close()


async def test_a_tampered_event_is_not_read_back(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock())
    await log.append(make("Mark", "approval", {"approval": "ap_1", "verb": "requested"}))
    with audit.Attack(tmp_path).open() as db:
        db.execute("UPDATE event SET core = CAST(replace(CAST(core AS TEXT), 'requested', 'approved_') AS BLOB) WHERE approval = 'ap_1'")
    with pytest.raises(AuditError) as caught:
        await log.events(approval="ap_1")
    assert "leaf differs" in caught.value.detail
    await log.close()


async def test_of_many_moves_from_one_state_exactly_one_wins(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock())
    opened = make("Mark", "approval", {"approval": "ap_1", "verb": "requested"})
    assert await log.commit(opened, [Insert("approval", {"id": "ap_1", "state": "pending", "version": 1})]) is not None
    move = Update("approval", {"state": "approved", "version": 2}, {"id": "ap_1", "state": "pending", "version": 1})
    decided = make("Mark", "approval", {"approval": "ap_1", "verb": "approved"})
    won = await asyncio.gather(*(log.commit(decided, [move]) for _ in range(32)))
    assert len([seq for seq in won if seq is not None]) == 1
    assert len(await log.events(approval="ap_1")) == 2
    assert [row["state"] for row in await log.rows("approval", {"id": "ap_1"})] == ["approved"]
    await log.close()


async def test_an_id_is_claimed_once(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock())
    assert sorted(await asyncio.gather(*(log.claim_once("jti", "a", 5) for _ in range(8)))) == [False] * 7 + [True]
    assert await log.claim_once("assertion", "a", 5)
    await log.close()


@pytest.mark.parametrize(
    ("event", "why"),
    [
        pytest.param(("Mark", "log", {"verb": 1.5}, {}), "float", id="float"),
        pytest.param(("Mark", "log", {"Verb": "x"}, {}), "key", id="upper-case-key"),
        pytest.param(("Mark", "log", {"verb": "\ud800"}, {}), "encoding", id="lone-surrogate"),
        pytest.param(("Mark", "log", {"bytes": 1 << 53}, {}), "2^53", id="large-integer"),
        pytest.param(("Mark", "nothing", {}, {}), "kind", id="unknown-kind"),
        pytest.param(("Started", "log", {}, {}), "stage", id="unknown-stage"),
        pytest.param(("Denied", "http", {}, {}), "flow", id="no-flow"),
        pytest.param(("Mark", "log", {"verb": "x" * 70_000}, {}), "large", id="large-core"),
        pytest.param(("Mark", "log", {}, {"note": "text"}), "bytes", id="field-of-text"),
    ],
)
async def test_what_has_no_exact_encoding_is_refused(tmp_path, event, why):
    from addons.core.audit.events import Event

    log = await audit.open_log(tmp_path, FakeClock())
    with pytest.raises(AuditError) as caught:
        await log.append(Event(*event))
    assert why in caught.value.detail
    await log.close()
    assert audit.verdict(tmp_path).exit_code == 0


@pytest.mark.parametrize(
    "value", [b"\x00\x01NUL", b"\xff\xfe not UTF-8", b"[" * 5000, b"x" * (10 << 20)], ids=["nul", "not-utf8", "deep", "10MB"]
)
async def test_hostile_fields_are_stored_and_verify(tmp_path, value):
    log = await audit.open_log(tmp_path, FakeClock())
    await log.append(
        make(
            "Denied", "http", {"flow": FLOW.format(1), "status": 400}, {"path": value[:3000], "request.headers": value, "principal": value}
        )
    )
    (event,) = await log.events(flow=FLOW.format(1))
    assert event.fields["request.headers"] == value
    await log.close()
    assert audit.verdict(tmp_path).exit_code == 0


async def test_a_flow_cannot_begin_twice_or_without_room_for_its_end(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock(), queue_events=4)
    for at in range(3):
        await log.append(audit.begin(FLOW.format(at)), reserve=True)
    with pytest.raises(AuditError, match="recorded"):
        await log.append(audit.begin(FLOW.format(4)), reserve=True)
    for at in range(3):
        await log.append(audit.end(FLOW.format(at)), release=True)
    await log.append(audit.begin(FLOW.format(4)), reserve=True)
    with pytest.raises(AuditError):
        await log.append(audit.begin(FLOW.format(4)), reserve=True)
    await log.close()
    assert audit.verdict(tmp_path).exit_code == 0


async def test_only_one_end_is_written(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock())
    await log.append(audit.begin(FLOW.format(1)), reserve=True)
    first = await log.append(audit.end(FLOW.format(1)), release=True)
    assert await log.append(audit.end(FLOW.format(1), stage="Interrupted"), release=True) == first
    assert [event.stage for event in await log.events(flow=FLOW.format(1))] == ["RequestReceived", "ResponseComplete"]
    await log.close()


async def test_a_hung_disk_refuses_and_heals(tmp_path):
    log = await audit.open_log(tmp_path, SystemClock(), store=audit.HungStore, queue_deadline=0.2)
    store = log._store
    store.works.clear()
    flows = [uuid7(SystemClock()) for _ in range(5)]
    results = await asyncio.gather(*(log.append(audit.begin(flow), reserve=True) for flow in flows), return_exceptions=True)
    assert {type(result) for result in results} == {AuditError}
    with pytest.raises(AuditError) as caught:
        await log.append(audit.begin(uuid7(SystemClock())), reserve=True)
    assert "does not answer" in caught.value.detail
    store.works.set()
    while log.health()["queue"] or log._writer._busy_since is not None:
        await asyncio.sleep(0.01)
    await audit.one_flow(log)
    await log.close()
    report = audit.verdict(tmp_path)
    assert (report.exit_code, report.findings) == (0, [])
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        assert {row[0] for row in db.execute("SELECT stage FROM event WHERE stage < 8")} <= {1, 3, 5}


async def test_a_full_disk_refuses_and_heals(tmp_path):
    log = await audit.open_log(tmp_path, SystemClock(), store=audit.FullStore)
    await asyncio.to_thread(log._store.fill_up)
    failed = 0
    for _ in range(40):
        try:
            await log.append(make("Mark", "log", {"verb": "x" * 2000}))
        except AuditError as error:
            failed += 1
            assert "full" in error.detail
    assert failed
    assert not log.health()["ok"]
    assert not (tmp_path / "audit.db.ballast").exists()  # freed for the last words
    await asyncio.to_thread(log._store.make_room)
    await audit.one_flow(log)
    assert log.health()["ok"]
    await log.close()
    report = audit.verdict(tmp_path)
    assert (report.exit_code, report.findings) == (0, [])


async def test_a_locked_file_refuses_and_heals(tmp_path):
    log = await audit.open_log(tmp_path, SystemClock(), queue_deadline=0.2)
    other = sqlite3.connect(tmp_path / "audit.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AuditError):
        await log.append(audit.begin(FLOW.format(1)), reserve=True)
    other.execute("ROLLBACK")
    other.close()
    while log.health()["queue"] or log._writer._busy_since is not None:
        await asyncio.sleep(0.01)
    await audit.one_flow(log)
    await log.close()
    assert audit.verdict(tmp_path).exit_code == 0


async def test_an_end_that_could_not_be_written_is_written_when_the_disk_heals(tmp_path):
    clock = FakeClock()
    log = await audit.open_log(tmp_path, clock)
    await log.append(audit.begin(FLOW.format(1)), reserve=True)
    log.lose(FLOW.format(1), "the end could not be written")
    await clock.advance(1.5)
    await audit.one_flow(log)  # the tick's event stands before it in the queue
    events = await log.events(flow=FLOW.format(1))
    assert [(event.stage, event.fields.get("reason")) for event in events] == [
        ("RequestReceived", None),
        ("Interrupted", b"the end could not be written"),
    ]
    await log.close()


async def test_a_session_is_opened_once_and_closed_when_it_is_quiet(tmp_path):
    clock = FakeClock()
    log = await audit.open_log(tmp_path, clock, quiet=60.0, heartbeat=1e9, anchor_every=1e9)
    for _ in range(3):
        await audit.one_flow(log, session="s1")
    await clock.advance(70)
    await asyncio.sleep(0.05)
    await audit.one_flow(log, session="s1")
    await log.close()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        verbs = [verb for (verb,) in db.execute("SELECT verb FROM event WHERE kind = 5 ORDER BY seq")]
    assert verbs == ["opened", "closed", "opened", "closed"]
    again = await audit.open_log(tmp_path, clock)
    closed = [e for e in await every(again) if e.core.get("verb") == "closed"]
    assert [e.fields["reason"] for e in closed] == [b"quiet", b"stop"]
    assert b'"flows":3' in closed[0].fields["note"]
    await again.close()


async def test_silence_is_signed_and_anchored(tmp_path):
    clock = FakeClock()
    log = await audit.open_log(tmp_path, clock)
    for _ in range(3):
        await clock.advance(11)
        await asyncio.sleep(0.05)
    beats = [e for e in await every(log) if e.kind == "heartbeat"]
    assert len(beats) >= 2
    await asyncio.sleep(0.05)
    assert log.health()["anchor_lag_seconds"] <= 12
    await log.close()
    assert audit.verdict(tmp_path).anchors >= 3


async def test_a_witness_that_cannot_be_written_does_not_stop_traffic(tmp_path):
    (tmp_path / "nowhere").write_text("a file where a folder should be")
    log = await audit.open_log(tmp_path, FakeClock(), anchor_files=(tmp_path / "nowhere" / "w.notes", tmp_path / "witness.notes"))
    await audit.one_flow(log)
    assert log.health()["anchor_failures"]
    await log.close()
    assert (tmp_path / "witness.notes").exists()


async def test_a_clock_that_steps_back_is_on_record(tmp_path):
    clock = FakeClock()
    log = await audit.open_log(tmp_path, clock)
    clock.wall -= 3600
    await audit.one_flow(log)
    await log.close()
    report = audit.verdict(tmp_path)
    assert (report.exit_code, [f.level for f in report.findings]) == (0, ["note"])


async def test_a_closed_log_refuses(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock())
    await log.close()
    await log.close()
    with pytest.raises(AuditError):
        await log.append(make("Mark", "log", {"verb": "late"}))


async def test_a_second_writer_is_refused(tmp_path):
    log = await audit.open_log(tmp_path, FakeClock())
    with pytest.raises(AuditError) as caught:
        await audit.open_log(tmp_path, FakeClock())
    assert "another process" in caught.value.detail
    await log.close()


async def test_unauthenticated_events_leave_room_for_the_others(tmp_path):
    log = await audit.open_log(tmp_path, SystemClock(), store=audit.HungStore, queue_events=10, queue_deadline=3.0)
    log._store.works.clear()
    waiting = [asyncio.ensure_future(log.append(make("Mark", "log", {"verb": "first"})))]
    await asyncio.sleep(0.5)  # the writer has taken it and hangs
    junk = [asyncio.ensure_future(log.append(make("Denied", "http", {"flow": FLOW.format(at)}))) for at in range(9)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refused = [task for task in junk if task.done() and task.exception()]
    assert len(refused) == 2  # 7 of 10 places are for anybody
    good = asyncio.ensure_future(log.append(audit.begin(uuid7(SystemClock())), reserve=True))
    await asyncio.sleep(0)
    assert not good.done()
    log._store.works.set()
    await asyncio.gather(*waiting, *junk, good, return_exceptions=True)
    assert not good.exception()
    await log.close()


def test_the_log_is_what_the_contract_says():
    assert {"open", "append", "commit", "rows", "events", "claim_once", "health", "close"} <= set(dir(AuditLog))
