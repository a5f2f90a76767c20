"""Headers of requests and answers."""

import pytest

from addons.core.masking.http_rules import private, request_fields, sealed_etag, values
from addons.core.masking.transforms import Transformer
from tests.parts import masking as parts

TRANSFORMER = Transformer(parts.KEY)
VIEW = "0123456789abcdef"
OURS = sealed_etag('"abc"', TRANSFORMER, VIEW)
OTHER_VIEW = sealed_etag('"abc"', TRANSFORMER, "f" * 16)
FORGED = OURS[:5] + ("A" if OURS[5] != "A" else "B") + OURS[6:]


def asked(name: str, value: str, pass_media=()) -> list[str]:
    fields = request_fields(((name.encode(), value.encode()),), TRANSFORMER, pass_media, VIEW)
    return values(fields, name.lower().encode())


@pytest.mark.parametrize(
    ("sent", "upstream"),
    [
        pytest.param(OURS, ['"abc"'], id="ours"),
        pytest.param(f'{OURS}, "x"', ['"abc"'], id="ours-and-foreign"),
        pytest.param('"x"', [], id="foreign"),
        pytest.param(OTHER_VIEW, [], id="another-view"),
        pytest.param(FORGED, [], id="forged"),
        pytest.param("*", ["*"], id="star"),
    ],
)
def test_if_none_match(sent, upstream):
    assert asked("If-None-Match", sent) == upstream


@pytest.mark.parametrize(
    ("sent", "upstream"),
    [
        pytest.param(OURS, ['"abc"'], id="ours"),
        pytest.param(OTHER_VIEW, ['"abc"'], id="another-view"),
        pytest.param('"x"', ['"x"'], id="foreign"),
        pytest.param(FORGED, ['"guardhouse-no-match"'], id="forged"),
    ],
)
def test_if_match(sent, upstream):
    assert asked("If-Match", sent) == upstream


@pytest.mark.parametrize(
    ("sent", "upstream"),
    [
        ("*/*", "*/*"),
        ("application/json;q=0.9, image/png", "application/json;q=0.9"),
        ("application/vnd.api+json", "application/vnd.api+json"),
        ("image/png", "application/json"),
        ("application/x-protobuf, text/html", "text/html"),
    ],
)
def test_only_types_that_a_masker_reads_are_asked_for(sent, upstream):
    assert asked("Accept", sent) == [upstream]


def test_a_type_that_passes_may_be_asked_for():
    assert asked("Accept", "image/png", ("image/png",)) == ["image/png"]


def test_a_tag_hides_the_original_and_is_stable():
    assert sealed_etag('"abc"', TRANSFORMER, VIEW) == OURS
    assert sealed_etag(OURS, TRANSFORMER, VIEW) == OURS
    assert "abc" not in OURS.replace(VIEW[:8], "")


@pytest.mark.parametrize(
    ("control", "kept"),
    [("", "private"), ("public, max-age=3", "max-age=3, private"), ("no-store", "no-store"), ("s-maxage=9, private", "private")],
)
def test_no_shared_cache_keeps_a_view(control, kept):
    fields = ((b"Cache-Control", control.encode()),) if control else ()
    made = private((*fields, (b"Vary", b"Accept")))
    assert values(made, b"cache-control") == [kept]
    assert values(made, b"vary") == ["Accept, Authorization, Cookie"]
