"""Every cell of a store is shown to whoever searches it: a value planted in any of them is found, and said where."""

import sqlite3
from contextlib import closing

import pytest

from addons.core.audit import blobs, leaks
from addons.core.audit.sqlite_store import SqliteStore
from addons.core.audit.store import StoreError
from addons.core.masking.canary import Search

SEED = bytes(range(32))
EVENT = "INSERT INTO event(seq, ts_us, stage, kind, path, core, leaf, fields) VALUES (?, 1, 1, 1, ?, x'7b7d', x'00', ?)"


@pytest.fixture
def store(tmp_path):
    """A store with two events before and one after the planting."""
    path = tmp_path / "audit.db"
    made = SqliteStore(path)
    made.open()
    made.close()
    with closing(sqlite3.connect(path)) as db, db:
        for seq in (1, 2):
            db.execute(EVENT, (seq, "/customers", b"nothing"))
    return path


def planted(store, sql, *values):
    with closing(sqlite3.connect(store)) as db, db:
        db.execute(sql, values)


def found(store, search, after=None):
    return {(cell.where, cell.row, hit.kind) for cell in leaks.cells(store, after) for hit in search.hits(cell.data)}


@pytest.fixture
def planting():
    search = Search()
    return search, {value.kind: value.text for value in search.plant("here", SEED)}


def test_a_clean_store_holds_nothing(store, planting):
    assert found(store, planting[0]) == set()
    assert leaks.reached(store) == {"event": 2, "blob": 0}
    assert leaks.count(store, {}) > 2


@pytest.mark.parametrize(
    ("sql", "where", "row"),
    [
        pytest.param("INSERT INTO approval(id, state, view) VALUES ('ap_1', 'pending', ?)", "approval.view", "row 1", id="card"),
        pytest.param("INSERT INTO meta(k, v) VALUES ('x', CAST(? AS BLOB))", "meta.v", "row 1", id="meta"),
        pytest.param("INSERT INTO principal(issuer, subject, kind) VALUES ('dev', ?, 'human')", "principal.subject", "row 1", id="principal"),
        pytest.param("INSERT INTO seen(kind, id, until_us) VALUES ('jti', ?, 1)", "seen.id", "row 1", id="without-rowid"),
        pytest.param("INSERT INTO dead_letter(sink, seq, error) VALUES ('s', 1, ?)", "dead_letter.error", "row 1", id="error"),
    ],
)  # fmt: skip
def test_a_value_in_a_cell_is_found(store, planting, sql, where, row):
    search, values = planting
    planted(store, "DELETE FROM meta") if where == "meta.v" else None
    planted(store, sql, f"so it says: {values['email']}.")
    assert (where, row, "email") in found(store, search, leaks.reached(store))


def test_a_value_in_an_event_says_which(store, planting):
    search, values = planting
    before = leaks.reached(store)
    planted(store, EVENT, 3, "/customers/" + values["iban"], b"\x00\x01" + values["jwt"].encode())
    assert found(store, search, before) == {("event.path", "seq 3", "iban"), ("event.fields", "seq 3", "jwt")}


def test_a_value_in_a_compressed_body_says_which_field_of_which_event(store, planting):
    search, values = planting
    before = leaks.reached(store)
    blob = blobs.put(b"k" * 32, b"".join((values["card"][:12].encode(), b"x" * 500, values["card"].encode())))
    assert values["card"].encode() not in blob.body
    planted(store, EVENT, 3, "/", b"")
    planted(
        store,
        "INSERT INTO blob(id, address, size, encoding, body) VALUES (7, ?, ?, ?, ?)",
        blob.address,
        blob.size,
        blob.encoding,
        blob.body,
    )
    planted(store, "INSERT INTO event_blob(seq, name, blob) VALUES (3, 'response.body', 7)")
    assert found(store, search, before) == {("blob.body (response.body)", "seq 3", "card")}


def test_a_damaged_body_is_searched_as_it_lies_there(store, planting):
    search, values = planting
    planted(store, "INSERT INTO blob(id, address, size, encoding, body) VALUES (7, x'00', 5, 1, CAST(? AS BLOB))", values["aws"])
    assert found(store, search) == {("blob.body", "blob 7", "aws")}


def test_rows_of_before_are_not_read_again(store, planting):
    search, values = planting
    planted(store, EVENT, 3, "/" + values["email"], b"")
    assert found(store, search, leaks.reached(store)) == set()
    assert found(store, search) == {("event.path", "seq 3", "email")}


def test_more_rows_than_a_page_are_all_read(store, planting):
    search, values = planting
    with closing(sqlite3.connect(store)) as db, db:
        db.executemany(EVENT, [(seq, "/", b"") for seq in range(3, 700)])
    planted(store, EVENT, 700, "/" + values["email"], b"")
    assert found(store, search) == {("event.path", "seq 700", "email")}


def test_the_index_is_asked_for_words(store, planting):
    values = planting[1]
    planted(store, "INSERT INTO event_fts(rowid, body) VALUES (2, ?)", f"the key {values['aws']} and more")
    assert leaks.indexed(store, values["aws"]) == [2]
    assert leaks.indexed(store, values["iban"]) == []
    assert leaks.indexed(store, "536-12-3456") == []


def test_what_is_no_store_is_an_error(tmp_path):
    (tmp_path / "audit.db").write_text("no database")
    with pytest.raises(StoreError):
        leaks.reached(tmp_path / "audit.db")
    with pytest.raises(StoreError):
        list(leaks.cells(tmp_path / "nothing.db"))
