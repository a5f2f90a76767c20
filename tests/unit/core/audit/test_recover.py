"""What a start refuses, and what it closes (acceptance row 3 for the WAL)."""

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from addons.core.audit import keys
from addons.core.audit.reader import Reader
from addons.core.clock import SystemClock
from addons.core.errors import AuditError
from tests.harness import FakeClock
from tests.parts import audit

FLOW = "018bcfe5-6800-7000-8000-00000000000{}"


def refused(folder, **values):
    async def again():
        log = await audit.open_log(folder, FakeClock(1_700_001_000.0), **values)
        await log.close()

    with pytest.raises(AuditError) as caught:
        asyncio.run(again())
    return caught.value.detail


@pytest.fixture
def log(tmp_path):
    asyncio.run(audit.fill(tmp_path, flows=4))
    return tmp_path


def test_another_origin_is_refused(log):
    assert "gateway.yaml says" in refused(log, origin="guardhouse.example/other/r1")


def test_another_key_file_is_refused(log):
    (log / "state" / keys.KEY_FILE).write_bytes(b"\x07" * 32)
    assert "not the key this log was last signed with" in refused(log)


def test_a_store_that_is_gone_while_the_witness_remembers_it_is_refused(log):
    for path in log.glob("audit.db*"):
        path.unlink()
    assert "cut back" in refused(log)


def test_an_older_copy_is_refused(log):
    shutil.copy(log / "audit.db", log / "old.db")

    async def more():
        opened = await audit.open_log(log, FakeClock(1_700_000_500.0))
        await opened.close()

    asyncio.run(more())
    shutil.copy(log / "old.db", log / "audit.db")
    assert "cut back" in refused(log)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        pytest.param("UPDATE event SET leaf = zeroblob(32) WHERE seq = (SELECT max(seq) FROM event)", "leaf differs", id="leaf"),
        pytest.param("UPDATE checkpoint SET sig = zeroblob(64)", "not signed", id="signature"),
        pytest.param("UPDATE checkpoint SET root = zeroblob(32)", "root of its frontier", id="root"),
        pytest.param("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)", "gaps|newest event", id="last-event"),
        pytest.param("DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)", "gaps|newest event", id="last-checkpoint"),
        pytest.param("DELETE FROM log_key", "not signed", id="keys"),
    ],
)
def test_a_log_that_cannot_be_continued_honestly_is_refused(log, sql, why):
    import re

    with audit.Attack(log).open() as db:
        db.execute(sql)
    assert re.search(why, refused(log))


def test_a_refused_start_leaves_nothing_open(log):
    assert "gateway.yaml says" in refused(log, origin="guardhouse.example/other/r1")

    async def again():
        opened = await audit.open_log(log, FakeClock(1_700_001_000.0))
        await opened.close()

    asyncio.run(again())


def test_what_a_crash_left_open_is_closed_by_the_next_start(tmp_path):
    async def crashed():
        log = await audit.open_log(tmp_path, FakeClock())
        await log.append(audit.begin(FLOW.format(1), session="s1"), reserve=True)
        await audit.one_flow(log, session="s1")
        crash(tmp_path, tmp_path / "crash")
        await log.close()

    asyncio.run(crashed())

    async def again():
        log = await audit.open_log(tmp_path / "crash", FakeClock(1_700_000_100.0))
        events = await log.events(flow=FLOW.format(1))
        await log.close()
        return events

    events = asyncio.run(again())
    assert [(e.stage, e.core.get("service"), e.fields.get("reason")) for e in events] == [
        ("RequestReceived", "crm", None),
        ("Interrupted", "crm", b"restart"),
    ]
    with closing(sqlite3.connect(tmp_path / "crash" / "audit.db")) as db:
        assert db.execute("SELECT count(*) FROM event WHERE kind = 5 AND verb = 'closed'").fetchone() == (1,)
    assert audit.verdict(tmp_path / "crash").exit_code == 0


def crash(source, target):
    """What a power cut would leave: the files as they are now, without anything being closed."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("crash*", "*.lock", "*.ballast", "*-shm"))


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A log whose every commit still lies in the WAL, and the roots that were acknowledged, by size."""
    folder = tmp_path_factory.mktemp("wal") / "log"
    folder.mkdir()

    class NeverIdle(audit.SqliteStore):
        def idle(self):
            return

    async def run():
        log = await audit.open_log(folder, SystemClock(), store=NeverIdle, anchor_files=(), heartbeat=1e9)
        await asyncio.gather(*(audit.one_flow(log, session="s1") for _ in range(30)))
        for _ in range(20):
            await audit.one_flow(log)
        crash(folder, folder / "crash")
        with Reader.open(folder / "audit.db") as reader, reader.reading() as db:
            roots = dict(db.execute("SELECT size, root FROM checkpoint").fetchall())
        await log.close()
        return roots

    return folder / "crash", asyncio.run(run())


def torn(crashed, tmp_path, seed, count):
    source, roots = crashed
    wal = (source / "audit.db-wal").read_bytes()
    chance = random.Random(seed)
    for at in range(count):
        folder = tmp_path / str(at)
        shutil.copytree(source, folder)
        place = chance.randrange(len(wal))
        bad = wal[:place] if at % 2 else wal[:place] + chance.randbytes(min(64, len(wal) - place)) + wal[place + 64 :]
        (folder / "audit.db-wal").write_bytes(bad)
        yield folder, roots
        shutil.rmtree(folder)


def check_torn(folder, roots):
    """Either an exact signed prefix that goes on, or a refusal that says why. Never a crash, never a mixture."""

    async def again():
        log = await audit.open_log(folder, SystemClock(), anchor_files=())
        await log.close()

    try:
        asyncio.run(again())
    except AuditError as error:
        assert error.detail
        return 0
    with Reader.open(folder / "audit.db") as reader:
        boots = [(event.seq, event.core["boot"]) for event in reader.events("seq > ?", (0,))]
        prefix = next(seq for seq, boot in boots if boot == boots[-1][1]) - 1
        with reader.reading() as db:
            found = dict(db.execute("SELECT size, root FROM checkpoint WHERE size <= ?", (prefix,)).fetchall())
    assert found == {size: root for size, root in roots.items() if size <= prefix}
    assert prefix == max(found, default=0)
    report = audit.verdict(folder, anchor=False)
    assert [f.code for f in report.findings] == ["anchor"]
    return prefix


def test_a_torn_wal_is_an_exact_signed_prefix(crashed, tmp_path):
    kept = [check_torn(*one) for one in torn(crashed, tmp_path, seed=1, count=100)]
    assert max(kept) > min(kept)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_torn_wal_is_an_exact_signed_prefix_at_1000_places(crashed, tmp_path):
    assert len([check_torn(*one) for one in torn(crashed, tmp_path, seed=2, count=1000)]) == 1000
