"""The schema, as migrations of sqlite_utils: one transaction each, and refused when the file is newer than the code.

Every table of design/audit.md 3.6 is made by the first migration, also those whose code comes later, so that no recorded
evidence has to be migrated for them. Every table is STRICT. The triggers are a guard rail against our own mistakes and
not security: who can write the file can drop them, and `verify` is what finds that.
"""

import sqlite3

import sqlite_utils
from sqlite_utils.db import Database
from sqlite_utils.migrations import Migrations

FORMAT = 1
APPLICATION_ID = 0x47484C47  # "GHLG", so that `file` and a person can tell what this is

migrations = Migrations("guardhouse")


class NewerSchemaError(Exception):
    """The file was written by a newer Guardhouse."""


EVIDENCE = """
CREATE TABLE meta(k TEXT PRIMARY KEY, v BLOB NOT NULL) STRICT;
CREATE TABLE principal(id INTEGER PRIMARY KEY, issuer TEXT NOT NULL, subject TEXT NOT NULL, kind TEXT NOT NULL, UNIQUE(issuer, subject)) STRICT;
CREATE TABLE service(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE event(
  seq INTEGER PRIMARY KEY, ts_us INTEGER NOT NULL, stage INTEGER NOT NULL, kind INTEGER NOT NULL,
  flow BLOB, session BLOB, trace BLOB, span BLOB, parent BLOB, principal INTEGER, service INTEGER, purpose TEXT, verb TEXT, path TEXT,
  status INTEGER, effect INTEGER, dur_us INTEGER, client TEXT, upstream TEXT, approval TEXT,
  core BLOB NOT NULL, leaf BLOB NOT NULL, fields BLOB NOT NULL, subject INTEGER) STRICT;
CREATE INDEX event_flow ON event(flow);
CREATE INDEX event_trace ON event(trace) WHERE trace IS NOT NULL;
CREATE INDEX event_session ON event(session, seq);
CREATE INDEX event_principal ON event(principal, ts_us);
CREATE INDEX event_service ON event(service, ts_us);
CREATE INDEX event_denied ON event(seq) WHERE effect = 2;
CREATE INDEX event_held ON event(seq) WHERE effect = 3;
CREATE TABLE blob(id INTEGER PRIMARY KEY, address BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, encoding INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE event_blob(seq INTEGER NOT NULL, name TEXT NOT NULL, blob INTEGER NOT NULL, PRIMARY KEY(seq, name)) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint(
  size INTEGER PRIMARY KEY, ts_us INTEGER NOT NULL, root BLOB NOT NULL, frontier BLOB NOT NULL, key_id BLOB NOT NULL, sig BLOB NOT NULL) STRICT;
CREATE TABLE cosignature(size INTEGER NOT NULL, witness TEXT NOT NULL, ts INTEGER NOT NULL, sig BLOB NOT NULL, PRIMARY KEY(size, witness)) STRICT;
CREATE TABLE log_key(key_id BLOB PRIMARY KEY, pub BLOB NOT NULL, from_size INTEGER NOT NULL, to_size INTEGER) STRICT;
CREATE TABLE tombstone(seq INTEGER PRIMARY KEY, leaf BLOB NOT NULL, purge_seq INTEGER NOT NULL) STRICT;
CREATE TABLE pruned(to_size INTEGER PRIMARY KEY, frontier BLOB NOT NULL, purge_seq INTEGER NOT NULL) STRICT;
CREATE TABLE seal_epoch(epoch INTEGER PRIMARY KEY, reviewers_digest TEXT NOT NULL, wraps BLOB NOT NULL) STRICT;
CREATE TABLE legal_hold(id INTEGER PRIMARY KEY, query TEXT NOT NULL, reason TEXT NOT NULL, by_seq INTEGER NOT NULL, until_us INTEGER) STRICT;
CREATE TABLE sink_cursor(sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE dead_letter(sink TEXT NOT NULL, seq INTEGER NOT NULL, error TEXT NOT NULL, PRIMARY KEY(sink, seq)) STRICT;
CREATE VIRTUAL TABLE event_fts USING fts5(body, content='', detail='none');
"""
STATE = """
CREATE TABLE approval(
  id TEXT PRIMARY KEY, state TEXT NOT NULL, digest TEXT, digest_key_id TEXT, members TEXT, view TEXT, principal_key TEXT, service TEXT, rules TEXT,
  policy_digest TEXT, target TEXT, requirements TEXT, excluded TEXT, ticketed INTEGER, session_id TEXT, trace_id TEXT, created_at INTEGER,
  expires_at INTEGER, escalated_at INTEGER, decided_at INTEGER, execution_expires_at INTEGER, "grant" TEXT, uses INTEGER NOT NULL DEFAULT 0,
  max_uses INTEGER NOT NULL DEFAULT 1, review_state TEXT, review_due_at INTEGER, version INTEGER NOT NULL DEFAULT 1, mac BLOB) STRICT;
CREATE INDEX approval_state ON approval(state, expires_at);
CREATE INDEX approval_digest ON approval(digest);
CREATE TABLE approval_vote(
  approval TEXT NOT NULL, person TEXT NOT NULL, effect TEXT NOT NULL, reason TEXT, channel TEXT, via TEXT, assurance TEXT, groups TEXT, at INTEGER NOT NULL,
  PRIMARY KEY(approval, person)) STRICT;
CREATE TABLE approval_use(
  approval TEXT NOT NULL, n INTEGER NOT NULL, flow_id TEXT, at INTEGER NOT NULL, outcome TEXT, status INTEGER, bytes INTEGER, masks TEXT,
  PRIMARY KEY(approval, n)) STRICT;
CREATE TABLE api_key(
  id TEXT PRIMARY KEY, mac BLOB NOT NULL, owner TEXT NOT NULL, kind TEXT NOT NULL, groups TEXT, allowed_cidrs TEXT, created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, last_used INTEGER, revoked_at INTEGER) STRICT;
CREATE TABLE seen(kind TEXT NOT NULL, id TEXT NOT NULL, until_us INTEGER NOT NULL, PRIMARY KEY(kind, id)) STRICT, WITHOUT ROWID;
"""
API_KEY = """
CREATE TABLE api_key(
  id TEXT PRIMARY KEY, mac BLOB NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL, kind TEXT NOT NULL, groups TEXT NOT NULL,
  allowed_cidrs TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, generation INTEGER NOT NULL, previous BLOB,
  previous_until INTEGER, revoked_at INTEGER, last_used INTEGER, seal BLOB NOT NULL) STRICT
"""


def _trigger(table: str, verb: str) -> str:
    return (
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} WHEN NOT EXISTS (SELECT 1 FROM meta WHERE k = 'purge') "
        f"BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
    )


@migrations()
def m001_first(db: Database) -> None:
    """The whole schema of format 1."""
    for statement in (EVIDENCE + STATE).split(";\n"):
        if statement.strip():
            db.execute(statement)
    for table in ("event", "checkpoint"):
        for verb in ("UPDATE", "DELETE"):
            db.execute(_trigger(table, verb))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT}")


@migrations()
def m002_api_keys(db: Database) -> None:
    """API keys with a name, rotation and a seal. No version before this one could make a key, so no row is lost."""
    db.execute("DROP TABLE api_key")
    db.execute(API_KEY)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this code's schema. Raises NewerSchemaError when it is beyond it."""
    if connection.execute("PRAGMA user_version").fetchone()[0] > FORMAT:
        raise NewerSchemaError("the audit store was written by a newer Guardhouse; start that one, or another database")
    db = sqlite_utils.Database(connection)
    known = {one.name for one in migrations._migrations}
    if {one.name for one in migrations.applied(db)} - known:
        raise NewerSchemaError("the audit store has migrations that this Guardhouse does not know")
    if migrations.pending(db):
        migrations.apply(db)
