"""What holds for every event, every tree and every query."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.audit import anchor, blobs, canonical, merkle, note
from addons.core.audit.canonical import Field, Kept
from addons.core.audit.columns import columns_of
from addons.core.audit.events import Event, check, json_field
from addons.core.audit.query import QueryError, condition, parse
from addons.core.wire import jcs

NAMES = st.from_regex(r"[a-z0-9_.]{1,20}", fullmatch=True)
FIELDS = st.dictionaries(NAMES, st.binary(max_size=200), max_size=6)
SCALARS = st.text(max_size=20) | st.integers(-jcs.MAX_INT, jcs.MAX_INT) | st.booleans()
CORES = st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3), max_size=6)
ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3), max_leaves=8)  # fmt: skip
HASHES = st.integers(0, 200).map(lambda n: hashlib.sha256(str(n).encode()).digest())


@given(FIELDS)
def test_packed_fields_read_back(fields):
    made = canonical.commit_fields(fields)
    assert canonical.unpack(canonical.pack(made)) == made
    assert all(field.holds for field in made)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_no_fields_or_are_packed_again_the_same(data):
    try:
        fields = canonical.unpack(data)
    except (ValueError, IndexError):
        return
    assert canonical.pack(fields) == data


@given(CORES, FIELDS, st.data())
def test_any_change_of_a_value_is_seen(core, fields, data):
    made = canonical.commit_fields(fields)
    if not made:
        return
    at = data.draw(st.integers(0, len(made) - 1))
    other = data.draw(st.binary(max_size=200).filter(lambda value: value != made[at].value))
    assert not Field(made[at].name, made[at].commit, Kept.INLINE, made[at].salt, other).holds
    again = canonical.commit_fields({**fields, made[at].name: other})
    assert canonical.leaf(1, canonical.core_bytes(core), made) != canonical.leaf(1, canonical.core_bytes(core), again)


@given(FIELDS)
def test_erasing_a_field_leaves_the_leaf(fields):
    made = canonical.commit_fields(fields)
    erased = tuple(Field(f.name, f.commit, Kept.ERASED) for f in made)
    assert canonical.leaf(7, b"{}", made) == canonical.leaf(7, b"{}", canonical.unpack(canonical.pack(erased)))


@given(ANYTHING)
def test_any_value_has_a_structured_field(value):
    assert json_field(value)


@given(st.dictionaries(st.text(max_size=10), ANYTHING, max_size=4))
def test_a_core_is_refused_or_has_one_encoding(core):
    try:
        check(Event("Mark", "log", core))
        encoded = canonical.core_bytes(core)
    except ValueError:
        return
    import json

    assert canonical.core_bytes(json.loads(encoded)) == encoded


@given(st.dictionaries(st.sampled_from(["flow", "session", "ts_us", "status", "verb", "effect", "stage", "kind"]), ANYTHING), st.dictionaries(st.sampled_from(["principal", "purpose", "path", "client"]), st.binary(max_size=30)))  # fmt: skip
def test_columns_never_fail(core, fields):
    columns_of(core, fields)


@given(st.lists(HASHES, max_size=80), st.lists(HASHES, max_size=80))
def test_a_tree_may_be_grown_in_any_steps(first, second):
    grown = merkle.Frontier().extend(first).extend(second)
    assert grown == merkle.Frontier().extend(first + second)
    assert grown.root() == merkle.root_of(first + second)


@given(st.binary(max_size=2000))
def test_a_blob_reads_back(value):
    blob = blobs.put(b"key", value)
    assert blobs.get(blob.size, blob.encoding, blob.body) == value


@given(st.binary(min_size=130, max_size=500), st.data())
def test_a_changed_blob_is_another_value_or_none(value, data):
    blob = blobs.put(b"key", value)
    body = bytearray(blob.body)
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert blobs.get(blob.size, blob.encoding, bytes(body)) != value or bytes(body)[:5] != blob.body[:5]
    except blobs.BlobError:
        return


@settings(max_examples=300)
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["status:", "since:", "flow:", "effect:deny", '"', "'", ":", "a", "*", " ", "path:/x", "\x00", "💥"])).map(
        "".join
    )
)
def test_a_query_is_read_or_refused_with_a_sentence(query):
    try:
        for term in parse(query):
            condition(term, 1e9)
    except QueryError as error:
        assert str(error).endswith(".")


@given(st.text(max_size=300))
def test_a_witness_file_is_never_trusted_by_accident(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("w") / "witness.notes"
    path.write_text(text, "utf-8")
    assert anchor.read(path).checkpoints == ()


@given(st.text(max_size=200))
def test_a_foreign_note_is_refused(text):
    try:
        assert note.parse(text).text() == text
    except note.NoteError:
        return
