"""One process of a gateway's approvals, which can end itself with SIGKILL at a step: `python -m tests.parts.approval_worker FOLDER POINT`.

It recovers, asks (or retries) one request, lets bob approve, commits the use, "sends" (one line in the file `sent`, made
durable as the upstream would see it) and says the outcome. POINT is `before-EVENT`, `after-EVENT`, `during-EVENT` (the
kill comes from another thread somewhere inside the commit), `before-send`, `after-send` or `none`.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from addons.core.approval.recovery import recover
from addons.core.audit.log import AuditLog
from addons.core.clock import SystemClock
from addons.core.config import model
from addons.core.errors import ApprovalError, DecisionError
from addons.host.ledger import LogLedger
from tests.parts.approval import Keys, Room, fine, one_of, person, snapshot

CONFIG = snapshot(approvals=one_of(max_openings_per_hour=10**6, max_pending_per_principal=10**6))


def die() -> None:
    """As a machine that loses its power, or an operator with kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(LogLedger):
    """The real ledger; at one step the process ends."""

    point = "none"

    async def commit(self, note, moves):
        if self.point == f"before-{note.event}":
            die()
        if self.point == f"during-{note.event}":
            threading.Thread(target=lambda: (time.sleep(random.uniform(0, 0.006)), die()), daemon=True).start()
        done = await super().commit(note, moves)
        if self.point == f"after-{note.event}":
            die()
        return done


async def main(folder: Path, point: str) -> None:
    terms = model.AuditTerms(database=folder / "audit.db", origin="guardhouse.example/test/r1")
    log = await AuditLog.open(terms, folder, Keys(), SystemClock(), "sha-256:" + "0" * 64)
    ledger = Deadly(log, terms.database)
    ledger.point = point
    room = Room(config=CONFIG, ledger=ledger, clock=SystemClock())
    try:
        await recover(room.desk, room.config)
        await one_request(room, folder, point)
    finally:
        await log.close()


async def one_request(room: Room, folder: Path, point: str) -> None:
    flow = f"flow-{os.getpid()}"
    try:
        hold = await room.desk.hold(room.asked(flow, at_once=True), room.alive(flow))
    except ApprovalError as ticket:
        if "approval_id" not in ticket.extra:
            raise
        with contextlib.suppress(DecisionError):
            vote = room.vote(ticket.extra["approval_id"], person("bob"), digest=ticket.extra["digest"])
            await room.desk.decide(vote)
        hold = await room.desk.hold(room.asked(flow, at_once=True), room.alive(flow))
    await room.desk.use(hold, hold.digest, room.record(flow), fine)
    if point == "before-send":
        die()
    send(folder, hold.id)
    if point == "after-send":
        die()
    await room.desk.outcome(hold.id, flow, "sent", 204)


def send(folder: Path, approval_id: str) -> None:
    """The upstream acts: it cannot be taken back."""
    with (folder / "sent").open("a") as file:
        file.write(approval_id + "\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
