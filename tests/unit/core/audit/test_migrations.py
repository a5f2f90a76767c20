"""A store of the first version opens under this one, and gets the table of API keys as it is now."""

import sqlite3

from addons.core.audit import migrations
from addons.core.identity import key_rows
from addons.core.identity.key_rows import KeyRow
from tests.harness import FakeClock
from tests.parts import audit


def columns(path):
    db = sqlite3.connect(path)
    try:
        return [row[1] for row in db.execute("PRAGMA table_info(api_key)")]
    finally:
        db.close()


async def test_the_table_of_keys_is_made_anew_in_an_older_store(tmp_path):
    await audit.fill(tmp_path, 3)
    db = sqlite3.connect(tmp_path / "audit.db", isolation_level=None)
    db.execute("DROP TABLE api_key")
    db.execute("CREATE TABLE api_key(id TEXT PRIMARY KEY, digest BLOB NOT NULL) STRICT")
    db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm002_api_keys'")
    db.close()
    log = await audit.open_log(tmp_path, FakeClock())
    row = KeyRow("a" * 12, b"d" * 32, "report", "dev:alice", "service", ("key:readers",), (), 1, 2)
    assert await log.move([key_rows.insert(row, b"p" * 32)])
    assert not await log.move([key_rows.insert(row, b"p" * 32)])
    (stored,) = await log.rows(key_rows.TABLE)
    assert key_rows.read(stored) == row and key_rows.is_ours(stored, row, b"p" * 32)
    await log.close()
    assert set(columns(tmp_path / "audit.db")) == set(key_rows.columns(row, b""))
    assert audit.verdict(tmp_path).exit_code == 0
    assert migrations.FORMAT == 1
