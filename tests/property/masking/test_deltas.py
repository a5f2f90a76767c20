"""Texts that grow from event to event: no value is seen in any cut, and everything else arrives in its order (acceptance row 10)."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.masking.stream_plan import plan
from tests.parts import streams
from tests.parts.masking import view

CARD, MAIL, SSN, PHONE = "4111 1111 1111 1111", "ann@corp.example", "219-09-9999", "+1 212 555 0123"
PATH = "/choices/*/delta/content"
MARK = re.compile(r"\[MASKED:[A-Z_:0-9a-z.]+\]|\[MASKED:[^\]]*\]|p-[a-z2-7]{14}@masked\.invalid")
words = st.sampled_from([CARD, MAIL, SSN, PHONE, "Hello", "there,", "this is", "a long and plain sentence.", "ä 語 🎉", "v2.0 of it", "\n"])
texts = st.lists(words, min_size=1, max_size=12).map(" and then ".join)


def event(content, index=0, **more):
    return (
        b"data: "
        + json.dumps(
            {"id": "x", "choices": [{"index": index, "delta": {"content": content} if content is not None else {}, **more}]}
        ).encode()
        + b"\n\n"
    )


def pieces(text, cuts):
    edges = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[start:end] for start, end in zip(edges, edges[1:], strict=False)]  # noqa: RUF007


def passed(body, joined=(PATH,)):
    answer, wanted = streams.answer_with("text/event-stream"), replace(streams.terms(view()), joined=joined)
    chosen = plan(answer, wanted, asked=False)
    return streams.run(streams.making(answer, wanted).pipe(chosen), [body]).decode()


def contents(out, index=0):
    found = [json.loads(line[6:]) for line in out.splitlines() if line.startswith("data: {")]
    choices = [choice for one in found for choice in one["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def neutral(text):
    for value in (CARD, MAIL, SSN, PHONE):
        text = text.replace(value, "#")
    return MARK.sub("#", text)


@settings(max_examples=200, deadline=None)
@given(text=texts, cuts=st.lists(st.integers(0, 400), max_size=30))
def test_a_text_in_pieces_shows_no_value_and_loses_nothing(text, cuts):
    out = passed(b"".join(event(piece) for piece in pieces(text, cuts)) + event(None, finish_reason="stop") + b"data: [DONE]\n\n")
    got = contents(out)
    assert not any(value in got for value in (CARD, MAIL, SSN, PHONE))
    assert neutral(got) == neutral(text)
    assert out.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("value", [CARD, MAIL, SSN, PHONE])
def test_every_character_in_an_event_of_its_own(value):
    text = f"The answer is {value}, and so on."
    out = passed(b"".join(event(char) for char in text) + event("", finish_reason="stop"))
    assert value not in contents(out)
    assert neutral(contents(out)) == "The answer is #, and so on."
    assert value[:8] not in out


def test_context_counts_though_it_has_left():
    body = (
        event("my social security number is ")
        + event("219099999 ")
        + event("and that is all there is to say about it")
        + event(None, finish_reason="stop")
    )
    assert "219099999" not in contents(passed(body))


def test_two_answers_grow_side_by_side():
    body = (
        b"".join(event(a, 0) + event(b, 1) for a, b in zip(CARD, MAIL.ljust(len(CARD)), strict=True))
        + event(None, 0, finish_reason="stop")
        + b"data: [DONE]\n\n"
    )
    out = passed(body)
    assert neutral(contents(out, 0)) == "#"
    assert neutral(contents(out, 1)).strip() == "#"


def test_plain_words_pass_with_the_delay_of_one_word():
    answer, wanted = streams.answer_with("text/event-stream"), replace(streams.terms(view()), joined=(PATH,))
    through = streams.making(answer, wanted).pipe(plan(answer, wanted, asked=False))
    assert contents(b"".join(through.feed(event("Hello there "))).decode()) == "Hello "
    assert contents(b"".join(through.feed(event("my friend"))).decode()) == "there my "


def test_what_is_held_leaves_also_when_nothing_says_that_it_ends():
    assert neutral(contents(passed(event("call ") + event(PHONE)))) == "call #"


def test_without_joined_paths_each_event_is_judged_alone():
    assert contents(passed(event("4111 1111 ") + event("1111 1111"), joined=())) == CARD
