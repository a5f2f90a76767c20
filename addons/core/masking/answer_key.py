"""What makes two answers the same to the mask: every input of `answer.mask_answer`, as the parts of a key.

A well-formed `Date` is not one of them: it is never masked, and it would make every second's answers new.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from addons.core.masking.answer import Answer, MaskedAnswer, Terms

_DATE = re.compile(rb"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
NO_DATE = b"Thu, 01 Jan 1970 00:00:00 GMT"


def set_date_aside(answer: Answer) -> tuple[Answer, bytes | None]:
    """The answer under a date that stands for any, and the date it came with; None when it has not exactly one."""
    dates = [value for name, value in answer.fields if name.lower() == b"date"]
    if len(dates) != 1 or _DATE.fullmatch(dates[0]) is None:
        return answer, None
    return replace(answer, fields=_dated(answer.fields, NO_DATE)), dates[0]


def put_date_back(made: MaskedAnswer, date: bytes | None) -> MaskedAnswer:
    """The masked answer with its own date, and with books of its own."""
    fields = made.fields if date is None else _dated(made.fields, date)
    return replace(made, fields=fields, counts=dict(made.counts), receipt=[dict(row) for row in made.receipt])


def _dated(fields: tuple[tuple[bytes, bytes], ...], date: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name, date) if name.lower() == b"date" else (name, value) for name, value in fields)


def parts_of(answer: Answer, terms: Terms, detector: str) -> Iterator[bytes | str]:
    """Every input but the body and the rules, which the store of results looks at itself."""
    place = terms.place
    yield from (detector, answer.method, str(answer.status), answer.reason, place.service, place.session, place.namespace, place.name)
    for group in (answer.fields, answer.trailers):
        yield str(len(group))
        for name, value in group:
            yield name
            yield value
    yield str(len(terms.scrub))
    yield from terms.scrub


def size_of(made: MaskedAnswer) -> int:
    """About how much memory a result takes."""
    return (
        len(made.body)
        + sum(len(name) + len(value) for name, value in made.fields)
        + sum(map(len, made.fields_seen))
        + 200 * len(made.receipt)
    )
