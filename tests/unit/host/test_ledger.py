"""Approvals on the real audit log: rows, moves and sealed notes in one transaction, found again after a restart."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from addons.core.approval.recovery import recover
from addons.core.audit import canonical
from addons.core.audit.log import AuditLog
from addons.core.clock import SystemClock
from addons.core.config import model
from addons.core.errors import ApprovalError
from addons.host.ledger import LogLedger
from tests.parts.approval import Keys, Room, fine, one_of, person, snapshot

BOB, CAROL = person("bob"), person("carol")


class Gateway:
    """A desk on a store in a folder; `restart` is a new process on the same files."""

    def __init__(self, folder, config=None):
        self.terms = model.AuditTerms(database=folder / "audit.db", origin="guardhouse.example/test/r1")
        self.folder = folder
        self.config = config or snapshot()

    async def __aenter__(self):
        self.log = await AuditLog.open(self.terms, self.folder, Keys(), SystemClock(), "sha-256:" + "0" * 64)
        self.room = Room(config=self.config, ledger=LogLedger(self.log, self.terms.database), clock=SystemClock())
        self.counts = await recover(self.room.desk, self.config)
        return self

    async def __aexit__(self, *_):
        await self.log.close()

    async def ticket(self, **asked):
        with pytest.raises(ApprovalError) as error:
            await self.room.desk.hold(self.room.asked(at_once=True, **asked), self.room.alive())
        return error.value

    async def vote(self, ident, who, effect="approve"):
        (row,) = await self.log.rows("approval", {"id": ident})
        return await self.room.desk.decide(self.room.vote(ident, who, effect, digest=row["digest"]))


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


async def test_ask_vote_restart_vote_restart_use(folder):
    config = snapshot(approvals=one_of(count=2))
    async with Gateway(folder, config) as first:
        ident = (await first.ticket()).extra["approval_id"]
        assert (await first.vote(ident, BOB)).state == "pending"
    async with Gateway(folder, config) as second:
        assert second.counts == {"kept": 1}
        assert (await second.vote(ident, CAROL)).state == "approved"
    async with Gateway(folder, config) as third:
        hold = await third.room.desk.hold(third.room.asked("flow-2"), third.room.alive())
        assert hold.reviewers == ("dev:bob", "dev:carol")
        await third.room.desk.use(hold, hold.digest, third.room.record("flow-2"), fine)
        await third.room.desk.outcome(ident, "flow-2", "sent", 204)
        assert (await third.room.desk.card(ident, BOB)).outcome.endswith(", 204.")
        events = await third.log.events(approval=ident)
        assert [event.core["verb"] for event in events] == ["requested", "ticketed", "voted", "approved", "used", "outcome"]
        assert events[0].fields["principal"] == b'{"issuer":"http://127.0.0.1:8445","kind":"agent","subject":"alice"}'


async def test_a_hundred_retries_at_once_make_one_use(folder):
    async with Gateway(folder) as gateway:
        desk, room = gateway.room.desk, gateway.room
        tasks = [asyncio.create_task(desk.hold(room.asked(f"flow-{i}"), room.alive(f"flow-{i}"))) for i in range(100)]
        while not desk.book.open:
            await asyncio.sleep(0.01)
        (ident,) = desk.book.open
        await gateway.vote(ident, BOB)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (winner,) = done
        hold = winner.result()
        await desk.use(hold, hold.digest, room.record(f"flow-{tasks.index(winner)}"), fine)
        await desk.drain()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(not isinstance(result, Exception) for result in results) == 1
        assert len(await gateway.log.rows("approval_use")) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE approval SET state = 'approved', execution_expires_at = 9000000000000000",
        "UPDATE approval SET uses = 0, state = 'approved'",
        "UPDATE approval SET excluded = '[]'",
        "DELETE FROM approval",
    ],
)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
async def test_sql_approves_nothing(folder, sql, restart):
    async with Gateway(folder) as gateway:
        await gateway.ticket()
        if not restart:
            edit(folder, sql)
            assert (await gateway.ticket()).status == 503
    if restart:
        edit(folder, sql)
        async with Gateway(folder) as gateway:
            error = await gateway.ticket()
            assert error.status == (429 if sql.startswith("DELETE") else 503)
            assert "approved" not in [row["state"] for row in await gateway.log.rows("approval_use")]


def edit(folder, sql):
    with closing(sqlite3.connect(folder / "audit.db")) as db, db:
        db.execute(sql)
    db.close()


async def test_a_use_taken_out_of_the_log_while_nobody_looked_does_not_come_back(folder):
    """The hash of an event is no secret: the `used` event is replaced by a well-formed other one, and the old row put back."""
    async with Gateway(folder) as gateway:
        ident = (await gateway.ticket()).extra["approval_id"]
        await gateway.vote(ident, BOB)
        (before,) = await gateway.log.rows("approval", {"id": ident})
        hold = await gateway.room.desk.hold(gateway.room.asked("flow-2"), gateway.room.alive())
        await gateway.room.desk.use(hold, hold.digest, gateway.room.record("flow-2"), fine)
        for _ in range(3):
            await gateway.ticket(path="/other")  # further events, so that it is not the tail that the start checks anyway
    with closing(sqlite3.connect(folder / "audit.db")) as db, db:
        db.execute("DROP TRIGGER event_no_update")
        (seq,) = db.execute("SELECT seq FROM event WHERE approval = ? AND verb = 'used'", (ident,)).fetchone()
        core = {"kind": "heartbeat", "stage": "Mark", "ts_us": 1700000000000000, "v": 1}
        leaf = canonical.leaf(seq, canonical.core_bytes(core), ())
        db.execute(
            "UPDATE event SET approval = NULL, core = ?, leaf = ?, fields = ? WHERE seq = ?",
            (canonical.core_bytes(core), leaf, canonical.pack(()), seq),
        )
        db.execute("DELETE FROM approval_use")
        db.execute("UPDATE approval SET state = 'approved', uses = 0, version = ? WHERE id = ?", (before["version"], ident))
    db.close()
    async with Gateway(folder) as gateway:
        assert gateway.counts["disagrees"] == 1
        assert (await gateway.ticket()).status == 503
        assert await gateway.log.rows("approval_use") == []
