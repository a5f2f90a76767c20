"""SIGKILL at every step of the state machine: nothing is sent twice, recovery approves nothing, every row is explained.

`GUARDHOUSE_KILLS` sets how often each point is tried (default 1).
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from addons.core.approval import derive
from addons.core.approval.rows import approval_of, use_of, vote_of
from addons.core.audit.log import AuditLog
from addons.core.clock import SystemClock
from addons.core.config import model
from addons.host.ledger import LogLedger
from tests.parts.approval import Keys

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800)]
TIMES = int(os.environ.get("GUARDHOUSE_KILLS", "1"))
ROOT = Path(__file__).resolve().parents[3]
POINTS = [
    "before-requested", "after-requested", "before-ticketed", "after-ticketed", "before-approved", "during-approved", "after-approved",
    "before-used", "during-used", "after-used", "before-send", "after-send", "before-outcome", "during-outcome", "after-outcome",
]  # fmt: skip


def work(folder, point):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.parts.approval_worker", str(folder), point],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if point == "none":
        assert result.returncode == 0, result.stderr[-2000:]
    return result.returncode


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_sent_twice_and_every_row_is_explained(tmp_path, point):
    tmp_path.chmod(0o700)
    for _ in range(TIMES):
        killed = work(tmp_path, point)
        assert killed == -9 or point.startswith("during-"), killed
        work(tmp_path, "none")
        asyncio.run(explained(tmp_path))
    sent = Counter((tmp_path / "sent").read_text().split())
    assert set(sent.values()) == {1}, sent
    unsaid = rows(tmp_path, "SELECT outcome FROM approval_use WHERE outcome = 'pending'")
    assert unsaid == []


async def explained(folder):
    """Every row is what its notes say; every approved one has its vote; no use without a row."""
    terms = model.AuditTerms(database=folder / "audit.db", origin="guardhouse.example/test/r1")
    log = await AuditLog.open(terms, folder, Keys(), SystemClock(), "sha-256:" + "0" * 64)
    ledger, key = LogLedger(log, terms.database), Keys().derive("approval-mac")
    try:
        for plain in await log.rows("approval"):
            row = approval_of(plain)
            told = derive.fold(await ledger.notes(row.id), key)
            votes = [vote_of(one) for one in await log.rows("approval_vote", {"approval": row.id})]
            uses = [use_of(one) for one in await log.rows("approval_use", {"approval": row.id})]
            assert derive.disagreements(row, votes, uses, told, key) == []
            if row.state in ("approved", "consumed"):
                assert [vote.person for vote in votes] == ["dev:bob"]
    finally:
        await log.close()


def rows(folder, sql):
    with closing(sqlite3.connect(folder / "audit.db")) as db, db:
        found = db.execute(sql).fetchall()
    db.close()
    return found
