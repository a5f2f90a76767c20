"""What was masked once comes out the same when it is remembered, and only under the very same inputs."""

import dataclasses

import pytest

from addons.core.config.model import MaskLimits
from addons.core.masking.answer import Answer, Terms
from addons.core.masking.kept import MAX_ENTRY, Kept
from addons.core.masking.pseudonym import Place
from addons.core.masking.redact import MaskRedactor
from tests.parts import masking

BODY = b'{"name": "Erika", "email": "erika@corp.example", "note": "call 030 1234567"}'
VIEW = masking.view()
HEADERS = ((b"Content-Type", b"application/json"), (b"X-Owner", b"erika@corp.example"))


def answer(date: bytes | None = None, **changes) -> Answer:
    fields = HEADERS if date is None else (*HEADERS, (b"Date", date))
    return dataclasses.replace(Answer("GET", 200, "OK", fields, BODY), **changes)


def terms(service: str = "crm", session: str = "") -> Terms:
    return Terms(VIEW, MaskLimits(), Place(service=service, session=session, name="/customers/1"))


async def test_a_remembered_answer_is_the_same_and_has_books_of_its_own():
    engine = masking.warm_engine()
    first = await engine.mask_answer(answer(), terms())
    first.receipt.append({"spoilt": True})
    second = await engine.mask_answer(answer(), terms())
    fresh = await masking.warm_engine().mask_answer(answer(), terms())
    assert second == fresh
    assert b"erika@corp.example" not in second.body + b"".join(value for _, value in second.fields)


async def test_each_answer_keeps_its_own_date():
    engine = masking.warm_engine()
    made = [
        await engine.mask_answer(answer(date=date), terms())
        for date in (b"Fri, 20 Nov 2026 22:00:00 GMT", b"Fri, 20 Nov 2026 22:00:01 GMT")
    ]
    assert [dict(one.fields)[b"Date"] for one in made] == [b"Fri, 20 Nov 2026 22:00:00 GMT", b"Fri, 20 Nov 2026 22:00:01 GMT"]


async def test_a_date_that_is_none_is_masked_as_any_header():
    made = await masking.warm_engine().mask_answer(answer(date=b"erika@corp.example"), terms())
    assert b"erika" not in dict(made.fields)[b"Date"]


async def test_another_credential_to_scrub_is_another_answer():
    engine = masking.warm_engine()
    open_one = await engine.mask_answer(answer(body=b'{"a": "hunter2-hunter2"}'), terms())
    scrubbed = await engine.mask_answer(answer(body=b'{"a": "hunter2-hunter2"}'), dataclasses.replace(terms(), scrub=(b"hunter2-hunter2",)))
    assert b"hunter2" not in scrubbed.body
    assert open_one.body != scrubbed.body


def test_a_body_is_quick_when_it_is_small_or_was_masked_lately_under_these_rules():
    snapshots = [masking.snapshot()]
    redactor = MaskRedactor(masking.warm_engine(), lambda: snapshots[-1], masking.FixedKeys())
    large = b'{"notes": [' + b", ".join([b'"erika@corp.example"'] * 200) + b"]}"
    assert redactor.is_quick(BODY, "application/json", "crm")
    assert not redactor.is_quick(large, "application/json", "crm")
    first = redactor.redact(large, "application/json", "crm")
    assert redactor.is_quick(large, "application/json", "crm")
    assert redactor.redact(large, "application/json", "crm") == first
    assert b"erika" not in first.body
    assert not redactor.is_quick(large, "text/plain", "crm")
    snapshots.append(masking.snapshot())  # a reload
    assert not redactor.is_quick(large, "application/json", "crm")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(((b"ab", b"c"), b""), ((b"a", b"bc"), b""), id="where-a-part-ends"),
        pytest.param(((b"a",), b"b"), ((b"a", b"b"), b""), id="part-or-body"),
        pytest.param(((b"a", b""), b""), ((b"a",), b""), id="an-empty-part"),
    ],
)
def test_two_lists_of_parts_never_have_one_key(one, other):
    kept: Kept[str] = Kept()
    assert kept.key(*one) != kept.key(*other)


def test_it_is_bounded_and_forgets_what_was_not_used_for_longest():
    kept: Kept[str] = Kept(most=2_000)
    rules = object()
    for name in (b"a", b"b", b"c", b"d"):
        kept.put(name, rules, "x", 200)
    assert kept.get(b"a", rules) == "x"
    kept.put(b"e", rules, "x", 200)
    kept.put(b"large", rules, "x", MAX_ENTRY + 1)
    assert [name for name in (b"a", b"b", b"c", b"d", b"e", b"large") if kept.get(name, rules)] == [b"a", b"c", b"d", b"e"]


def test_another_rule_object_is_another_verdict():
    kept: Kept[str] = Kept()
    rules = object()
    kept.put(b"a", rules, "x", 1)
    assert kept.get(b"a", object()) is None
