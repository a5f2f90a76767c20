"""Parts for tests of the audit: a key ring, terms in a temporary folder, a filled log, and the tools of an attacker.

The attacker can write the file: `Attack` switches the guard rails off, as anybody with the file could.
"""

import asyncio
import hashlib
import hmac
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from addons.core.audit import canonical, keys
from addons.core.audit.events import Event, json_field, make
from addons.core.audit.log import AuditLog
from addons.core.audit.merkle import Frontier
from addons.core.audit.sqlite_store import SqliteStore
from addons.core.audit.verify import verify
from addons.core.clock import SystemClock, uuid7
from addons.core.config.model import AuditTerms
from tests.harness import FakeClock

ORIGIN = "guardhouse.example/test/r1"
PRINCIPAL = json_field({"issuer": "http://127.0.0.1:8445", "issuer_alias": "dev", "subject": "ana", "kind": "human"})


class Ring:
    """A key ring of one constant root key."""

    def derive(self, label: str) -> bytes:
        return hmac.new(b"a root key of tests", label.encode(), hashlib.sha256).digest()


def terms(folder: Path, **values: Any) -> AuditTerms:
    """Terms of a log that lives in this folder, with one witness file."""
    told: dict[str, Any] = {"database": folder / "audit.db", "origin": ORIGIN, "anchor_files": (folder / "witness.notes",)}
    return AuditTerms(**(told | values))


async def open_log(folder: Path, clock: Any = None, quiet: float = 1800.0, store: Any = SqliteStore, **values: Any) -> AuditLog:
    """Open a log in a folder, its state folder beside it."""
    digest = "sha-256:" + "0" * 64
    return await AuditLog.open(
        terms(folder, **values), folder / "state", Ring(), clock or SystemClock(), digest, session_quiet=quiet, store_type=store
    )


def begin(flow: str, session: str | None = None, body: bytes = b'{"name":"<PERSON>"}', **core: Any) -> Event:
    """The intent of a flow."""
    told = {"flow": flow, "session": session, "service": "crm", "verb": "GET", "effect": "allow", **core}
    fields = {"principal": PRINCIPAL, "path": b"/customers/42", "client": json_field({"ip": "127.0.0.1"}), "request.body": body or None}
    return make("RequestReceived", "http", told, fields)


def end(flow: str, stage: str = "ResponseComplete", session: str | None = None, status: int = 200, **core: Any) -> Event:
    """The terminal event of a flow."""
    told = {"flow": flow, "session": session, "service": "crm", "status": status, "bytes": 10, **core}
    return make(stage, "http", told, {"principal": PRINCIPAL, "skeleton": b"a skeleton " * 20, "response.body": b'{"city":"Berlin"}' * 20})


async def one_flow(log: AuditLog, session: str | None = None, **core: Any) -> str:
    """A whole flow: begin and end."""
    flow = uuid7(SystemClock())
    await log.append(begin(flow, session, **core), reserve=True)
    await log.append(end(flow, session=session), release=True)
    return flow


async def fill(folder: Path, flows: int = 20) -> None:
    """A log with some flows and several checkpoints, cleanly closed."""
    log = await open_log(folder, FakeClock())
    for at in range(flows):
        await one_flow(log, session=f"s{at % 3}")
    await asyncio.gather(*(one_flow(log) for _ in range(flows)))
    await log.close()


def verdict(folder: Path, *, pin: bool = True, anchor: bool = True) -> Any:
    """The report of a verification of the log in this folder."""
    pin_path = folder / "state" / keys.PIN_FILE
    return verify(folder / "audit.db", pin=pin_path if pin else None, anchors=[folder / "witness.notes"] if anchor else [])


def copy(source: Path, target: Path) -> Path:
    """Copy a closed log."""
    shutil.copytree(source, target)
    return target


class Attack:
    """Somebody with write access to the file, and with our own code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "audit.db"

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """The database without its guard rails."""
        db = sqlite3.connect(self.path, isolation_level=None)
        for name in ("event_no_update", "event_no_delete", "checkpoint_no_update", "checkpoint_no_delete"):
            db.execute(f"DROP TRIGGER IF EXISTS {name}")
        db.execute("BEGIN")
        try:
            yield db
            db.execute("COMMIT")
        finally:
            db.close()

    def recompute(self, db: sqlite3.Connection) -> None:
        """Give every row the leaf of its content, as the attacker would like it to be."""
        for seq, core, packed in db.execute("SELECT seq, core, fields FROM event").fetchall():
            db.execute("UPDATE event SET leaf = ? WHERE seq = ?", (canonical.leaf(seq, core, canonical.unpack(packed)), seq))

    def sign_again(self, db: sqlite3.Connection, seed: bytes | None = None) -> None:
        """Sign every checkpoint again over the leaves that are there: with another key, or with the stolen one."""
        signer = keys.signer_from(seed, ORIGIN) if seed is not None else keys.load_signer(self.folder / "state", ORIGIN)
        assert signer is not None
        leaves = [bytes(row[0]) for row in db.execute("SELECT leaf FROM event ORDER BY seq")]
        sizes = [row[0] for row in db.execute("SELECT size FROM checkpoint ORDER BY size")]
        stamps: Mapping[int, int] = dict(db.execute("SELECT size, ts_us FROM checkpoint").fetchall())
        db.execute("DELETE FROM checkpoint")
        wanted = sorted({size for size in sizes if size <= len(leaves)} | {len(leaves)})
        for size in wanted:
            frontier = Frontier().extend(leaves[:size])
            signature = signer.sign(size, frontier.root()).signatures[0]
            values = (size, stamps.get(size, 0), frontier.root(), frontier.to_bytes(), signature.key_id, signature.value)
            db.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)", values)


class HungStore(SqliteStore):
    """A disk that hangs: commits wait until it is released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.works = threading.Event()
        self.works.set()

    def commit(self, entries, seal):  # type: ignore[no-untyped-def]
        self.works.wait(20)
        return super().commit(entries, seal)


class FullStore(SqliteStore):
    """A disk that is full: SQLite may not add a page, also after it was opened anew."""

    pages = 0

    def fill_up(self) -> None:
        self.pages = int(self.query("PRAGMA page_count")[0][0])
        self.query(f"PRAGMA max_page_count = {self.pages}")

    def make_room(self) -> None:
        self.pages = 1 << 30
        self.query(f"PRAGMA max_page_count = {self.pages}")

    def reopen(self) -> None:
        super().reopen()
        if self.pages:
            self.query(f"PRAGMA max_page_count = {self.pages}")
