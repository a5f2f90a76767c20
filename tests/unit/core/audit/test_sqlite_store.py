"""The SQLite store against the conformance suite, and what is its own: the schema, the file, the blobs."""

import sqlite3

import pytest

from addons.core.audit import migrations
from addons.core.audit.sqlite_store import SqliteStore
from addons.core.audit.store import StoreError
from tests.parts.audit_store import Entry, Sealer, StoreSuite

TABLES = {
    "meta", "event", "blob", "event_blob", "principal", "service", "checkpoint", "cosignature", "log_key", "tombstone", "pruned", "seal_epoch",
    "legal_hold", "approval", "approval_vote", "approval_use", "api_key", "seen", "sink_cursor", "dead_letter", "event_fts",
}  # fmt: skip


class TestSqliteStore(StoreSuite):
    def open(self, folder):
        store = SqliteStore(folder / "audit.db")
        store.open()
        return store

    def test_every_table_of_the_design_is_there_and_strict(self, store):
        there = {name: strict for _, name, kind, _, _, strict in store.query("PRAGMA table_list") if kind in ("table", "virtual")}
        assert there.keys() >= TABLES
        assert not [name for name in TABLES - {"event_fts"} if not there[name]]

    def test_the_log_cannot_be_changed_by_accident(self, store):
        self.write(store, Sealer(), Entry(1))
        for sql in ("UPDATE event SET path = 'x'", "DELETE FROM event", "UPDATE checkpoint SET ts_us = 0", "DELETE FROM checkpoint"):
            with pytest.raises(StoreError, match="append-only"):
                store.query(sql)

    def test_equal_bodies_are_stored_once(self, store):
        self.write(store, Sealer(), Entry(1), Entry(2), Entry(3))
        assert store.query("SELECT (SELECT count(*) FROM blob), (SELECT count(*) FROM event_blob)") == [(1, 3)]

    def test_the_file_is_ours_alone(self, store, tmp_path):
        assert (tmp_path / "audit.db").stat().st_mode & 0o777 == 0o600

    def test_commits_are_synced_through_a_wal(self, store):
        assert store.query("PRAGMA journal_mode") == [("wal",)]
        assert store.query("PRAGMA synchronous") == [(2,)]
        assert store.query("PRAGMA secure_delete") == [(1,)]

    def test_a_newer_file_is_refused(self, tmp_path):
        self.open(tmp_path).close()
        db = sqlite3.connect(tmp_path / "audit.db")
        db.execute(f"PRAGMA user_version = {migrations.FORMAT + 1}")
        db.close()
        with pytest.raises(StoreError, match="newer"):
            self.open(tmp_path)

    def test_a_file_with_unknown_migrations_is_refused(self, tmp_path):
        self.open(tmp_path).close()
        db = sqlite3.connect(tmp_path / "audit.db")
        db.execute("INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES ('guardhouse', 'm999_from_the_future', 'x')")
        db.commit()
        db.close()
        with pytest.raises(StoreError, match="does not know"):
            self.open(tmp_path)

    def test_a_file_that_is_no_database_is_refused(self, tmp_path):
        (tmp_path / "audit.db").write_bytes(b"nothing that SQLite would know" * 200)
        with pytest.raises(StoreError):
            self.open(tmp_path)
