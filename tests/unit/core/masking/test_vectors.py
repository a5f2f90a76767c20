"""The vectors of design/masking.md 3.8: marks that every later version must make and recognise."""

import pytest

from addons.core.config.model import EntityRule
from addons.core.masking.marks import MarkMaker
from addons.core.masking.pseudonym import Place, derive
from addons.core.masking.transforms import Transformer

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("rule", "value", "place", "mark"),
    [
        pytest.param(EntityRule("EMAIL_ADDRESS"), "ann@corp.example", Place(), "[MASKED:EMAIL_ADDRESS:JFY6ISSXQ26L5W]", id="email"),
        pytest.param(
            EntityRule("EMAIL_ADDRESS"), "Ann@Corp.Example", Place(), "[MASKED:EMAIL_ADDRESS:JFY6ISSXQ26L5W]", id="email-normalised"
        ),
        pytest.param(EntityRule("SECRET"), "s3cr3t", Place("kube", "", "prod", "db"), "[MASKED:SECRET:3P5IQITMNN7TRM]", id="secret-prod"),
        pytest.param(EntityRule("SECRET"), "s3cr3t", Place("kube", "", "test", "db"), "[MASKED:SECRET:UQFDU2WEO4OX7Y]", id="secret-test"),
        pytest.param(EntityRule("US_SSN", "redact"), "219-09-9999", Place(), "[MASKED:US_SSN:GTVY]", id="redact"),
        pytest.param(
            EntityRule("CREDIT_CARD", "mask", keep_last=4), "4111 1111 1111 1111", Place(), "[MASKED:CREDIT_CARD:1111:YQAC]", id="keep-last"
        ),
        pytest.param(
            EntityRule("EMAIL_ADDRESS", shape=True), "ann@corp.example", Place(), "p-jfy6issxq26l5w@masked.invalid", id="email-shape"
        ),
    ],
)
def test_the_vectors_of_the_design(rule, value, place, mark):
    transformer = Transformer(KEY)
    assert transformer.apply(rule, rule.info_type, value, place, scope="tenant", region="US") == mark
    assert transformer.marks.is_mark(mark)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[MASKED:US_SSN:GTVZ]", id="check-changed"),
        pytest.param("[MASKED:US_SS:GTVY]", id="type-changed"),
        pytest.param("[MASKED:US_SSN:GTV", id="cut"),
        pytest.param("[MASKED:", id="bare"),
        pytest.param("p-jfy6issxq26l5x@masked.invalid", id="email-check-changed"),
        pytest.param("[MASKED:CREDIT_CARD:2222:YQAC]", id="kept-changed"),
    ],
)
def test_a_mark_with_a_wrong_check_is_nobodys(text):
    assert list(Transformer(KEY).marks.find(text)) == []


def test_marks_made_with_an_old_key_are_still_recognised():
    old = Transformer(b"o" * 32)
    mark = old.marks.make("US_SSN")
    rotated = Transformer(KEY, older=(b"o" * 32,))
    assert rotated.marks.is_mark(mark)
    assert not Transformer(KEY).marks.is_mark(mark)
    assert rotated.marks.make("US_SSN") == "[MASKED:US_SSN:GTVY]"


def test_a_maker_without_a_key_is_refused():
    with pytest.raises(ValueError, match="check key"):
        MarkMaker(())


def test_scopes_separate_services_and_sessions():
    transformer = Transformer(KEY)
    rule = EntityRule("EMAIL_ADDRESS")

    def mark(scope: str, place: Place) -> str:
        return transformer.apply(rule, "EMAIL_ADDRESS", "ann@corp.example", place, scope=scope, region="US")

    assert mark("service", Place("a")) != mark("service", Place("b"))
    assert mark("service", Place("a")) == mark("service", Place("a", session="s"))
    assert mark("session", Place("a", "s1")) != mark("session", Place("a", "s2"))
    assert mark("tenant", Place("a", "s1")) == mark("tenant", Place("b", "s2"))


def test_keys_of_different_uses_differ():
    assert len({derive(KEY, info) for info in (b"mark", b"etag", b"encrypt", b"date_shift")}) == 4
