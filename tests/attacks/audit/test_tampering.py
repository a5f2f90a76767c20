"""The attack matrix of design/audit.md 5: rows 1 to 13, 16 to 18 and 33, on the file alone and with the witness file."""

import asyncio
import os

import pytest
import zstandard

from addons.core.audit import blobs, canonical
from addons.core.audit.canonical import Field, Kept
from addons.core.audit.store import StoreError
from tests.parts import audit
from tests.parts.audit import Attack

NEW_KEY = b"\x11" * 32


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "log"
    folder.mkdir()
    asyncio.run(audit.fill(folder, flows=15))
    return folder


@pytest.fixture
def attack(sound, tmp_path):
    return Attack(audit.copy(sound, tmp_path / "log"))


def edit_core(db, attack):
    db.execute("UPDATE event SET core = CAST(replace(CAST(core AS TEXT), '\"status\":200', '\"status\":201') AS BLOB) WHERE seq = 7")


def edit_core_and_leaf(db, attack):
    db.execute(
        "UPDATE event SET core = CAST(replace(CAST(core AS TEXT), '\"status\":200', '\"status\":201') AS BLOB), status = 201 WHERE seq = 7"
    )
    attack.recompute(db)


def edit_column(db, attack):
    db.execute("UPDATE event SET effect = 2 WHERE seq = (SELECT min(seq) FROM event WHERE effect = 1)")


def delete(db, attack):
    db.execute("DELETE FROM event WHERE seq = 9")


def delete_and_renumber(db, attack):
    db.execute("DELETE FROM event WHERE seq = 9")
    db.execute("UPDATE event SET seq = -seq WHERE seq > 9")
    db.execute("UPDATE event SET seq = -seq - 1 WHERE seq < 0")
    db.execute("UPDATE event_blob SET seq = -seq WHERE seq > 9")
    db.execute("UPDATE event_blob SET seq = -seq - 1 WHERE seq < 0")
    attack.recompute(db)


def swap_numbers(db, attack):
    db.execute("UPDATE event SET seq = -1 WHERE seq = 7")
    db.execute("UPDATE event SET seq = 7 WHERE seq = 8")
    db.execute("UPDATE event SET seq = 8 WHERE seq = -1")


def swap_contents(db, attack):
    rows = {row[0]: row[1:] for row in db.execute("SELECT seq, core, fields, leaf FROM event WHERE seq IN (7, 8)")}
    db.execute("UPDATE event SET core = ?, fields = ?, leaf = ? WHERE seq = 7", rows[8])
    db.execute("UPDATE event SET core = ?, fields = ?, leaf = ? WHERE seq = 8", rows[7])


def append(db, attack):
    seq, core, fields = db.execute("SELECT seq + 1, core, fields FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    leaf = canonical.leaf(seq, core, canonical.unpack(fields))
    db.execute(
        "INSERT INTO event(seq, ts_us, stage, kind, verb, core, leaf, fields) VALUES (?, 1, 8, 22, 'stop', ?, ?, ?)",
        (seq, core, leaf, fields),
    )


def cut_rows(db, attack):
    db.execute("DELETE FROM event WHERE seq > 20")


def drop_checkpoints(db, attack):
    db.execute("DELETE FROM checkpoint")


def edit_root(db, attack):
    db.execute("UPDATE checkpoint SET root = ? WHERE size = (SELECT max(size) FROM checkpoint)", (b"\x00" * 32,))


def sign_with_another_key(db, attack):
    attack.sign_again(db, NEW_KEY)


def change_blob(db, attack):
    row, size, body = db.execute("SELECT id, size, body FROM blob WHERE encoding = 1 LIMIT 1").fetchone()
    value = bytearray(blobs.get(size, 1, body))
    value[3] ^= 1
    db.execute("UPDATE blob SET body = ? WHERE id = ?", (zstandard.ZstdCompressor(level=3).compress(bytes(value)), row))


def field_of(db, name):
    for seq, packed in db.execute("SELECT seq, fields FROM event ORDER BY seq"):
        fields = canonical.unpack(packed)
        if any(f.name == name for f in fields):
            return seq, fields
    raise AssertionError(name)


def change_value(db, attack):
    seq, fields = field_of(db, "path")
    changed = tuple(Field(f.name, f.commit, f.kept, f.salt, b"/customers/43") if f.name == "path" else f for f in fields)
    db.execute("UPDATE event SET fields = ?, path = '/customers/43' WHERE seq = ?", (canonical.pack(changed), seq))


def change_salt_and_value(db, attack):
    seq, fields = field_of(db, "path")
    salt, value = os.urandom(16), b"/customers/43"
    other = Field("path", canonical.commitment("path", salt, value), Kept.INLINE, salt, value)
    db.execute(
        "UPDATE event SET fields = ?, path = '/customers/43' WHERE seq = ?",
        (canonical.pack([other if f.name == "path" else f for f in fields]), seq),
    )


def edit_skeleton(db, attack):
    seq, fields = field_of(db, "skeleton")
    changed = tuple(Field(f.name, f.commit, f.kept, f.salt, b"another skeleton") if f.name == "skeleton" else f for f in fields)
    db.execute("UPDATE event SET fields = ? WHERE seq = ?", (canonical.pack(changed), seq))


def exchange_blobs(db, attack):
    first, other = (
        db.execute("SELECT seq, blob FROM event_blob WHERE name = ? LIMIT 1", (name,)).fetchone()
        for name in ("request.body", "response.body")
    )
    db.execute("UPDATE event_blob SET blob = ? WHERE seq = ? AND name = 'request.body'", (other[1], first[0]))
    db.execute("UPDATE event_blob SET blob = ? WHERE seq = ? AND name = 'response.body'", (first[1], other[0]))


def two_terminals(db, attack):
    """With the stolen key: only the meaning gives it away."""
    seq, core, fields = db.execute("SELECT seq, core, fields FROM event WHERE stage = 3 LIMIT 1").fetchone()
    last = db.execute("SELECT max(seq) FROM event").fetchone()[0] + 1
    db.execute(
        "INSERT INTO event SELECT ?, ts_us, stage, kind, flow, session, trace, span, parent, principal, service, purpose, verb, path, status, effect,"
        " dur_us, client, upstream, approval, core, ?, fields, subject FROM event WHERE seq = ?",
        (last, canonical.leaf(last, core, canonical.unpack(fields)), seq),
    )
    db.execute("INSERT INTO event_blob SELECT ?, name, blob FROM event_blob WHERE seq = ?", (last, seq))
    attack.sign_again(db)


CAUGHT = [
    pytest.param(edit_core, {7}, id="1-edit-core"),
    pytest.param(edit_core_and_leaf, set(), id="2-edit-core-and-leaf"),
    pytest.param(edit_column, set(), id="3-edit-an-index-column"),
    pytest.param(delete, {10}, id="4-delete"),
    pytest.param(delete_and_renumber, set(), id="5-delete-and-renumber"),
    pytest.param(swap_numbers, {7, 8}, id="6-swap-numbers"),
    pytest.param(swap_contents, {7, 8}, id="7-swap-contents"),
    pytest.param(append, set(), id="8-append"),
    pytest.param(cut_rows, {20}, id="9-cut-rows"),
    pytest.param(drop_checkpoints, set(), id="10-drop-checkpoints"),
    pytest.param(edit_root, set(), id="11-edit-a-root"),
    pytest.param(sign_with_another_key, set(), id="12-sign-with-another-key"),
    pytest.param(change_blob, set(), id="16-change-a-blob"),
    pytest.param(change_value, set(), id="17-change-a-value"),
    pytest.param(change_salt_and_value, set(), id="18-change-salt-and-value"),
    pytest.param(two_terminals, set(), id="32-two-terminals"),
    pytest.param(edit_skeleton, set(), id="33-edit-a-skeleton"),
    pytest.param(exchange_blobs, set(), id="36-exchange-blobs"),
]


@pytest.mark.parametrize(("tamper", "named"), CAUGHT)
@pytest.mark.parametrize("anchor", [False, True], ids=["file-alone", "with-anchor"])
def test_tampering_is_caught(attack, tamper, named, anchor):
    with attack.open() as db:
        tamper(db, attack)
    report = audit.verdict(attack.folder, pin=anchor, anchor=anchor)
    assert report.exit_code == 1
    assert named <= {f.seq for f in report.findings if f.level == "tampered"}


def cut_rows_and_checkpoints(db, attack):
    db.execute("DELETE FROM event WHERE seq > 20")
    db.execute("DELETE FROM checkpoint WHERE size > 20")
    size = db.execute("SELECT max(size) FROM checkpoint").fetchone()[0]
    db.execute("DELETE FROM event WHERE seq > ?", (size,))


def edit_and_sign_with_the_stolen_key(db, attack):
    edit_core_and_leaf(db, attack)
    attack.sign_again(db)


def delete_and_sign_with_the_stolen_key(db, attack):
    db.execute("DELETE FROM event WHERE flow = (SELECT flow FROM event WHERE seq = 7)")
    for new, (seq,) in enumerate(db.execute("SELECT seq FROM event ORDER BY seq").fetchall(), start=1):
        db.execute("UPDATE event SET seq = ? WHERE seq = ?", (new, seq))
        db.execute("UPDATE OR REPLACE event_blob SET seq = ? WHERE seq = ?", (new, seq))
    attack.recompute(db)
    attack.sign_again(db)


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(cut_rows_and_checkpoints, id="13-cut-rows-and-checkpoints"),
        pytest.param(edit_and_sign_with_the_stolen_key, id="14-edit-with-the-stolen-key"),
        pytest.param(delete_and_sign_with_the_stolen_key, id="15-delete-with-the-stolen-key"),
    ],
)
def test_only_an_anchor_catches_these(attack, tamper):
    with attack.open() as db:
        tamper(db, attack)
    assert not [f for f in audit.verdict(attack.folder, anchor=False).findings if f.level == "tampered" and f.code != "no-terminal"]
    report = audit.verdict(attack.folder)
    assert report.exit_code == 1
    assert {"cut-back", "anchor"} & {f.code for f in report.findings if f.level == "tampered"}


def test_the_verdict_of_the_anchor_is_not_hidden_by_many_faults(attack):
    with attack.open() as db:
        cut_rows_and_checkpoints(db, attack)
        db.execute("UPDATE event SET leaf = zeroblob(32)")
    assert "cut-back" in {f.code for f in audit.verdict(attack.folder).findings}


def test_text_does_not_fit_into_an_integer_column(attack):
    import sqlite3

    with pytest.raises(sqlite3.IntegrityError), attack.open() as db:
        db.execute("UPDATE event SET status = 'two hundred' WHERE seq = 8")


def test_a_zeroed_page_is_found(attack):
    """Whichever page it is: tampered, or not readable at all. Never sound."""
    data = attack.path.read_bytes()
    seen = []
    for at in range(4096, len(data), 4096):
        if any(data[at : at + 4096]):
            attack.path.write_bytes(data[:at] + bytes(4096) + data[at + 4096 :])
            try:
                seen.append(audit.verdict(attack.folder).exit_code)
            except StoreError:
                seen.append(3)
    assert set(seen) == {1, 3}


def test_one_flipped_byte_anywhere_in_a_row_is_found(attack):
    data = attack.path.read_bytes()
    at = data.index(b"/customers/42")
    attack.path.write_bytes(data[:at] + b"X" + data[at + 1 :])
    assert audit.verdict(attack.folder).exit_code == 1


def test_another_log_in_its_place_is_found(attack, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    asyncio.run(audit.fill(other, flows=15))
    attack.path.write_bytes((other / "audit.db").read_bytes())
    report = audit.verdict(attack.folder)
    assert report.exit_code == 1
    assert "pinned-key" in {f.code for f in report.findings}
