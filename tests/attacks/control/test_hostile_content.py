"""Row 13 of design/approval.md, plain page: markup, bidi, zero-width and template syntax in every field of a card."""

import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest

from addons.core.approval.card import Card
from tests.parts.control import Bench, card

EVIL = "<script>alert(1)</script>\"'><img src=//evil.example/x onerror=alert(1)>{{7*7}}{% raw %}\u202egpj\u200b\x00\x1b[2J\ud800 javascript:alert(1) pr\u043ed"


TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "body",
        "a",
        "header",
        "span",
        "form",
        "input",
        "button",
        "main",
        "h1",
        "h2",
        "p",
        "b",
        "code",
        "dl",
        "dt",
        "dd",
        "br",
        "blockquote",
        "pre",
        "label",
        "textarea",
        "div",
        "section",
        "ul",
        "li",
    ]
)
ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "name",
        "content",
        "rel",
        "href",
        "class",
        "id",
        "method",
        "action",
        "type",
        "value",
        "for",
        "rows",
        "required",
        "minlength",
        "maxlength",
        "disabled",
        "tabindex",
        "aria-label",
        "aria-labelledby",
        "role",
    ]
)
LINK = re.compile(r"#main|/approvals(/[A-Za-z0-9_%.-]+)?|/sign-out|/static/style\.css")


class Seen(HTMLParser):
    """What a browser would make of a page: elements, attributes, addresses."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.links = set(), set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in ("href", "src", "action", "formaction")]


def poisoned(value):
    """The same shape with hostile text in every string."""
    if isinstance(value, str):
        return EVIL
    if isinstance(value, dict):
        return {name: poisoned(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(poisoned(item) for item in value)
    return value


def hostile_card(**kept):
    full = card(
        votes=({"by": "dev:x", "effect": "approve", "channel": "rest", "at": "2026", "reason": "r"},),
        body={"text": "line", "size": 4, "complete": True, "note": "n"},
        masked={"EMAIL_ADDRESS": 1},
        uses=({"n": 1, "at": "x", "outcome": "y", "status": 200},),
        outcome="o",
        decided_at="d",
        execution_expires_at="e",
        cannot_approve="c",
        purpose={"value": "p", "source": "s", "detail": "d"},
    )
    changes = {one.name: poisoned(getattr(full, one.name)) for one in fields(Card)}
    return replace(full, **{**changes, **kept})


@pytest.mark.parametrize("state", ["pending", "approved", "denied", EVIL])
@pytest.mark.parametrize("path", ["/approvals", "/approvals/ap_1"])
async def test_hostile_text_is_shown_and_does_nothing(state, path):
    bench = Bench()
    bench.desk.add(card())
    bench.desk.cards_by_id["ap_1"] = hostile_card(id="ap_1", state=state)
    async with bench.signed_in() as browser:
        answer = await browser.get(path)
    assert answer.status_code == 200
    text = answer.text
    seen = Seen()
    seen.feed(text)
    assert seen.tags <= TAGS
    assert seen.attributes <= ATTRIBUTES
    assert [link for link in seen.links if not LINK.fullmatch(link)] == []
    assert not [char for char in text if char != "\n" and (ord(char) < 32 or char in "\u202e\u200b\x7f" or 0xD800 <= ord(char) < 0xE000)]
    assert "{{7*7}}" in text
    assert "\\u202e" in text
    assert "pr\\u043ed" in re.sub(r"<[^>]+>", "", text)


async def test_a_line_of_one_megabyte_is_shown_whole_and_harmless():
    bench = Bench()
    bench.desk.add(card(body={"text": "<b>" + "A" * (1 << 20), "size": (1 << 20) + 3, "complete": True, "note": ""}))
    async with bench.signed_in() as browser:
        answer = await browser.get("/approvals/ap_1")
    assert answer.status_code == 200
    assert "&lt;b&gt;" + "A" * (1 << 20) in answer.text


async def test_an_id_in_the_address_is_never_echoed_raw():
    bench = Bench()
    async with bench.signed_in() as browser:
        answer = await browser.get("/approvals/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
        missing = await browser.get("/%3Cscript%3E")
    assert (answer.status_code, missing.status_code) == (404, 404)
    assert "<script>" not in answer.text + missing.text
