"""What every store must do: one suite, run against each (SQLite now; the recorder's socket and PostgreSQL later).

Inherit from `StoreSuite` and say how a store is opened in a folder. Every store must keep what it acknowledged, keep
nothing of what it refused, and never mix the two.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from addons.core.audit import canonical
from addons.core.audit.blobs import put
from addons.core.audit.columns import columns_of
from addons.core.audit.merkle import Frontier
from addons.core.audit.store import Batch, Checkpointed, Insert, KeyRow, Row, StoreError, Update


class Entry:
    """An entry with moves, and a core to be written."""

    def __init__(self, number: int, *moves: Any) -> None:
        self.number, self.moves = number, moves


class Sealer:
    """Hashes and numbers as the writer does, with a signature that is only a stand-in."""

    def __init__(self) -> None:
        self.frontier = Frontier()

    def __call__(self, entries: Any) -> Batch | None:
        rows = []
        for entry in entries:
            seq = self.frontier.size + len(rows) + 1
            core = {"v": 1, "ts_us": seq, "stage": "Mark", "kind": "log", "ref": str(entry.number)}
            fields = canonical.commit_fields({"note": b"n%d" % entry.number})
            encoded = canonical.core_bytes(core)
            blob = put(b"k", b"the same body for all of them " * 20)
            rows.append(
                Row(seq, columns_of(core, {}), encoded, canonical.leaf(seq, encoded, fields), canonical.pack(fields), (("chunk", blob),))
            )
        if not rows:
            return None
        self.next = self.frontier.extend([row.leaf for row in rows])
        return Batch(
            tuple(rows), Checkpointed(self.next.size, 1, self.next.root(), self.next.to_bytes(), b"key1", hashlib.sha512(b"s").digest())
        )

    def landed(self) -> None:
        self.frontier = self.next


class StoreSuite:
    """The conformance suite."""

    def open(self, folder: Path) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path):
        store = self.open(tmp_path)
        yield store
        store.close()

    def write(self, store, sealer, *entries):
        kept = store.commit(entries, sealer)
        if kept:
            sealer.landed()
        return [entry.number for entry in kept]

    def test_an_empty_store_has_no_tip(self, store):
        assert store.tip() is None

    def test_what_was_committed_is_read_back_in_order(self, store):
        sealer = Sealer()
        assert self.write(store, sealer, Entry(1), Entry(2)) == [1, 2]
        assert self.write(store, sealer, Entry(3)) == [3]
        assert [(e.seq, e.core["ref"], e.fields["note"]) for e in store.read(0, 10)] == [(1, "1", b"n1"), (2, "2", b"n2"), (3, "3", b"n3")]
        assert [e.seq for e in store.read(1, 1)] == [2]
        tip = store.tip()
        assert (tip.size, tip.root) == (3, sealer.frontier.root())

    def test_it_is_still_there_after_closing(self, tmp_path):
        store, sealer = self.open(tmp_path), Sealer()
        self.write(store, sealer, Entry(1))
        store.close()
        again = self.open(tmp_path)
        assert again.tip().root == sealer.frontier.root()
        again.close()

    def test_a_move_whose_guard_fails_drops_its_entry_and_only_that(self, store):
        sealer = Sealer()
        first = Entry(1, Insert("approval", {"id": "ap_1", "state": "pending", "version": 1, "expires_at": 100}))
        again = Entry(2, Insert("approval", {"id": "ap_1", "state": "pending", "version": 1}))
        assert self.write(store, sealer, first, again, Entry(3)) == [1, 3]
        assert [(e.seq, e.core["ref"]) for e in store.read(0, 10)] == [(1, "1"), (2, "3")]

    @pytest.mark.parametrize(
        ("move", "holds"),
        [
            pytest.param(
                Update("approval", {"state": "approved"}, {"id": "ap_1", "state": "pending", "version": 1}), True, id="all-guards-hold"
            ),
            pytest.param(
                Update("approval", {"state": "approved"}, {"id": "ap_1", "state": "pending", "version": 2}), False, id="other-version"
            ),
            pytest.param(Update("approval", {"state": "approved"}, {"id": "ap_1"}, after={"expires_at": 99}), True, id="deadline-ahead"),
            pytest.param(
                Update("approval", {"state": "approved"}, {"id": "ap_1"}, after={"expires_at": 100}), False, id="deadline-reached"
            ),
            pytest.param(Update("approval", {"state": "expired"}, {"id": "ap_1"}, not_after={"expires_at": 100}), True, id="overdue"),
            pytest.param(Update("approval", {"state": "expired"}, {"id": "ap_1"}, not_after={"expires_at": 99}), False, id="not-overdue"),
            pytest.param(Update("approval", {"state": "approved"}, {"id": "ap_1", "decided_at": None}), True, id="none-is-null"),
            pytest.param(Update("approval", {"state": "approved"}, {"id": "ap_2"}), False, id="no-such-row"),
        ],
    )
    def test_updates_are_guarded(self, store, move, holds):
        sealer = Sealer()
        self.write(store, sealer, Entry(1, Insert("approval", {"id": "ap_1", "state": "pending", "version": 1, "expires_at": 100})))
        assert self.write(store, sealer, Entry(2, move)) == ([2] if holds else [])

    def test_moves_of_one_entry_stand_or_fall_together(self, store):
        sealer = Sealer()
        vote = Insert("approval_vote", {"approval": "ap_1", "person": "p", "effect": "approve", "at": 1})
        nobody = Update("approval", {"state": "approved"}, {"id": "ap_1"})
        assert self.write(store, sealer, Entry(1, vote, nobody)) == []
        assert self.write(store, sealer, Entry(2, vote)) == [2]
        assert self.write(store, sealer, Entry(3, vote)) == []

    @pytest.mark.parametrize("table", ["event", "checkpoint", "meta", "log_key", "sqlite_master", "approval; DROP TABLE event"])
    def test_no_move_touches_the_evidence(self, store, table):
        with pytest.raises(ValueError):
            store.commit([Entry(1, Insert(table, {"id": "x"}))], Sealer())
        assert store.tip() is None

    def test_a_failure_while_sealing_writes_nothing(self, store):
        def broken(entries):
            raise RuntimeError("the key is gone")

        with pytest.raises(RuntimeError):
            store.commit([Entry(1, Insert("approval", {"id": "ap_1", "state": "pending", "version": 1}))], broken)
        assert store.tip() is None
        assert self.write(store, Sealer(), Entry(2, Insert("approval", {"id": "ap_1", "state": "pending", "version": 1}))) == [2]

    def test_keys_follow_each_other(self, store):
        store.add_key(KeyRow(b"key1", b"p1", 0))
        store.add_key(KeyRow(b"key2", b"p2", 7))
        assert list(store.log_keys()) == [KeyRow(b"key1", b"p1", 0, 7), KeyRow(b"key2", b"p2", 7, None)]

    def test_meta_is_kept(self, store):
        store.set_meta({"a": b"1", "b": b"2"})
        store.set_meta({"a": b"3"})
        assert (store.meta("a"), store.meta("b"), store.meta("c")) == (b"3", b"2", None)

    def test_a_second_writer_is_refused(self, store, tmp_path):
        with pytest.raises(StoreError):
            self.open(tmp_path)

    def test_a_closed_store_says_so(self, tmp_path):
        store = self.open(tmp_path)
        store.close()
        with pytest.raises(StoreError):
            store.tip()
