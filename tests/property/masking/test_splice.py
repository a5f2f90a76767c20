"""What is not masked is not touched: byte-splice properties over made-up documents."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addons.core.config import model
from addons.core.masking.json_read import Reader
from addons.core.masking.receipt import Tally
from addons.core.masking.rules import INFO_TYPES
from tests.parts import masking as parts


class Pairs(list):
    """An object with its keys in order, duplicates and all."""


VALUES = st.sampled_from(
    [
        "ann@corp.example",
        "4111 1111 1111 1111",
        "219-09-9999",
        "DE89370400440532013000",
        "+1 212 555 0123",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "see ann@corp.example",
    ]
)
KEYS = st.one_of(
    st.sampled_from(["email", "password", "id", "name", "value", "notes", "card_number", "data", "kind", "metadata"]), st.text(max_size=8)
)
STRINGS = st.one_of(
    VALUES,
    st.text(max_size=30),
    st.sampled_from(["Secret", "v1.2.3", "2024-01-01T00:00:00Z", "", "\ud800", "{}", '{"email": "ann@corp.example"}']),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), STRINGS)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=5), st.lists(st.tuples(KEYS, inner), max_size=5).map(Pairs)), max_leaves=25
)
PLAIN = st.text(alphabet=st.characters(exclude_characters="\x00"), max_size=200)  # a NUL makes a text Unmaskable
SPACES = st.text(alphabet=" \t\n\r", max_size=2)


def spell(value, draw, ascii_only):
    """One JSON spelling of the value, with odd spacing and odd numbers."""
    space = lambda: draw(SPACES)  # noqa: E731
    if isinstance(value, Pairs):
        inner = ",".join(
            space() + json.dumps(key, ensure_ascii=ascii_only) + space() + ":" + space() + spell(item, draw, ascii_only) + space()
            for key, item in value
        )
        return "{" + (inner or space()) + "}"
    if isinstance(value, list):
        return "[" + (",".join(space() + spell(item, draw, ascii_only) + space() for item in value) or space()) + "]"
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=ascii_only)


@st.composite
def bodies(draw):
    document = draw(DOCUMENTS)
    text = spell(document, draw, draw(st.booleans()))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return spell(document, draw, True).encode("ascii")


def tokens(body):
    reader = Reader(body, 200, lambda key: None)
    reader.read()
    return [(leaf.start, leaf.end, leaf.kind) for leaf in reader.leaves]


def holds(body):
    """The masked document differs from the original only inside string tokens and masked numbers, and has the same shape."""
    masked = parts.mask(body, view_of_it=parts.view(of=parts.snapshot(keys_of_objects="keep"))).body
    before, after = tokens(body), tokens(masked)
    assert len(before) == len(after)
    outside_before = outside(body, before)
    assert outside_before == outside(masked, after)
    for old, new in zip(before, after, strict=True):
        assert old[2] == new[2] or masked[new[0] : new[1]] == b"null"
    json.loads(masked)
    assert parts.mask(masked, view_of_it=parts.view(of=parts.snapshot(keys_of_objects="keep"))).body == masked
    if masked == body:
        assert masked is body


def outside(body, places):
    pieces, position = [], 0
    for start, end, _ in places:
        pieces.append(body[position:start])
        position = end
    return [*pieces, body[position:]]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies())
def test_everything_outside_masked_tokens_is_identical(body):
    holds(body)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies())
def test_everything_outside_masked_tokens_is_identical_in_ten_thousand_documents(body):
    holds(body)


def clear_values(body, names, profiles):
    """The places that stay in clear under these profiles."""
    tally = Tally()
    snapshot = parts.snapshot(*profiles)
    masked = parts.mask(body, view_of_it=parts.view(*names, of=snapshot), tally=tally).body
    before, after = tokens(body), tokens(masked)
    return {index for index, (old, new) in enumerate(zip(before, after, strict=True)) if body[old[0] : old[1]] == masked[new[0] : new[1]]}


@st.composite
def profiles(draw):
    made = []
    for name in ("a", "b", "c"):
        types = draw(st.sets(st.sampled_from(sorted(INFO_TYPES)), max_size=4))
        exempt = draw(st.sampled_from([(), ("/**/email",), ("/*",), ("/**/id",)]))
        allow = draw(st.sampled_from([(), ("ann@corp.example",)]))
        made.append(model.Profile(name, {one: parts.rule(one) for one in types}, exempt=exempt, allow_values=allow))
    return made


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies(), profiles())
def test_another_profile_never_reveals_more(body, made):
    fewer = clear_values(body, ("a",), made)
    more = clear_values(body, ("a", "b"), made)
    most = clear_values(body, ("a", "b", "c"), made)
    assert most <= more <= fewer


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(PLAIN, st.sampled_from(["ann@corp.example", "password=hunter2hunter2", "219-09-9999"]), PLAIN)
def test_a_text_keeps_everything_around_a_masked_value(before, value, after):
    text = f"{before}\n{value}\n{after}"
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return
    masked = parts.mask(body, "text/plain").body.decode()
    assert value not in masked or text.lstrip()[:1] in ("[", "{")
