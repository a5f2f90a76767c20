"""The byte-exact vectors of design/audit.md 3.4 and 3.5: an old log must verify for ever."""

import json
from pathlib import Path

import pytest

from addons.core.audit import canonical, keys, merkle, note
from addons.core.audit.canonical import Field, Kept

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "audit.json").read_text("utf-8"))
EVENTS = {event["seq"]: event for event in VECTORS["events"]}


def fields_of(event, **changed):
    made = []
    for one in event["fields"]:
        value, salt = changed.get(one["name"], one["value"]).encode(), bytes.fromhex(one["salt"])
        made.append(Field(one["name"], canonical.commitment(one["name"], salt, value), Kept.INLINE, salt, value))
    return tuple(made)


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_an_event_has_these_bytes(seq):
    event = EVENTS[seq]
    core, fields = canonical.core_bytes(event["core"]), fields_of(event)
    assert [f.commit.hex() for f in fields] == [f["commit"] for f in event["fields"]]
    assert len(canonical.leaf_data(seq, core, fields)) == event["leaf_data_size"]
    assert canonical.leaf(seq, core, fields).hex() == event["leaf"]


def test_the_core_is_hashed_like_this():
    assert canonical.core_hash(canonical.core_bytes(EVENTS[1]["core"])).hex() == EVENTS[1]["core_hash"]


def test_leaf_data_without_fields_is_these_bytes():
    assert canonical.leaf_data(3, canonical.core_bytes(EVENTS[3]["core"]), ()).hex() == EVENTS[3]["leaf_data"]


def test_the_tree_of_the_three_has_this_root():
    leaves = [bytes.fromhex(EVENTS[seq]["leaf"]) for seq in (1, 2, 3)]
    assert merkle.node(leaves[0], leaves[1]).hex() == VECTORS["node_1_2"]
    assert merkle.root_of(leaves).hex() == VECTORS["root_3"]
    assert merkle.Frontier().extend(leaves).root().hex() == VECTORS["root_3"]
    assert merkle.inclusion(leaves, 0) == [leaves[1], leaves[2]]


def test_an_edited_value_and_another_number_give_other_leaves():
    core = canonical.core_bytes(EVENTS[1]["core"])
    assert canonical.leaf(1, core, fields_of(EVENTS[1], path="/customers/43")).hex() == VECTORS["edited_path_leaf"]
    assert canonical.leaf(2, core, fields_of(EVENTS[1])).hex() == VECTORS["seq_1_under_seq_2_leaf"]


def test_an_erased_field_leaves_the_leaf_as_it_was():
    core, fields = canonical.core_bytes(EVENTS[1]["core"]), fields_of(EVENTS[1])
    erased = tuple(Field(f.name, f.commit, Kept.ERASED) if f.name == "path" else f for f in fields)
    assert canonical.leaf(1, core, erased).hex() == EVENTS[1]["leaf"]


def test_a_checkpoint_is_signed_like_this():
    told = VECTORS["checkpoint"]
    signer = keys.signer_from(bytes.fromhex(told["seed"]), "guardhouse.example/acme/r1")
    assert signer.key.public.hex() == told["public"]
    assert signer.key.key_id.hex() == told["key_id"]
    assert signer.sign(3, bytes.fromhex(VECTORS["root_3"])).text() == told["note"]


def test_the_note_reads_back_and_verifies():
    told = VECTORS["checkpoint"]
    parsed = note.parse(told["note"])
    assert (parsed.origin, parsed.size, parsed.root.hex()) == ("guardhouse.example/acme/r1", 3, VECTORS["root_3"])
    assert parsed.signed_by(note.LogKey("guardhouse.example/acme/r1", bytes.fromhex(told["public"])))
    assert not parsed.signed_by(note.LogKey("guardhouse.example/acme/r2", bytes.fromhex(told["public"])))
