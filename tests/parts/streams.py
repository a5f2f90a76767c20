"""The stream parts of tests: a masker of each kind with the warm detector, and ways to cut a body."""

import itertools
from collections.abc import Iterable

from addons.core.config.model import MaskLimits
from addons.core.masking.answer import Answer, Terms
from addons.core.masking.pseudonym import Place
from addons.core.masking.rules import MaskView
from addons.core.masking.stream import Budget, StreamPipe
from addons.core.masking.stream_plan import Plan, StreamMaking, plan
from tests.parts.masking import view, warm_engine


def answer_with(content_type: str, *more: tuple[str, str], status: int = 200, method: str = "GET") -> Answer:
    fields = [("Content-Type", content_type), *more]
    return Answer(method, status, "OK", tuple((name.encode(), value.encode()) for name, value in fields), b"")


def terms(of: MaskView | None = None, scrub: tuple[bytes, ...] = (), limits: MaskLimits | None = None) -> Terms:
    return Terms(of, limits or (of.limits if of else MaskLimits()), Place(service="crm", name="/x"), scrub)


def making(answer: Answer, wanted: Terms) -> StreamMaking:
    engine = warm_engine()
    return StreamMaking(answer, wanted, engine.detector, engine.transformer, Budget(wanted.limits.time, engine.budget))


def pipe(content_type: str, *more: tuple[str, str], of: MaskView | None = None, scrub: tuple[bytes, ...] = ()) -> StreamPipe:
    """The pipe of an answer without a declared length."""
    answer, wanted = answer_with(content_type, *more), terms(of or view(), scrub)
    chosen = plan(answer, wanted, asked=True)
    assert chosen is not None
    return making(answer, wanted).pipe(chosen)


def run(through: StreamPipe, pieces: Iterable[bytes]) -> bytes:
    """Everything that leaves."""
    out = [part for piece in pieces for part in through.feed(piece)] + through.finish()
    assert b"" not in out
    return b"".join(out)


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """The body cut at these offsets."""
    edges = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


__all__ = ["Plan", "answer_with", "cut", "making", "pipe", "run", "terms"]
