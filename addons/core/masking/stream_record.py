"""The storage mask of a stream: what has been masked for its reader is masked again for the store, as it passes.

The reader may have seen what no store may hold (a view that reveals, or a service without masks). Marks stay as they are.
"""

from collections.abc import Callable

from addons.core.errors import Unmaskable
from addons.core.masking.answer import Answer, Terms
from addons.core.masking.body_mask import may_pass, media_of
from addons.core.masking.detector import Detector
from addons.core.masking.pseudonym import Place
from addons.core.masking.rules import MaskView
from addons.core.masking.stream import Budget, StreamPipe
from addons.core.masking.stream_plan import StreamMaking, kind_of, plan
from addons.core.masking.transforms import Transformer


class StoredStream:
    """Masks one stream for the store; safe to call from a worker thread."""

    def __init__(self, pipe: StreamPipe) -> None:
        self._pipe = pipe

    def feed(self, data: bytes) -> bytes:
        """What may be stored by now."""
        return b"".join(self._pipe.feed(data))

    def finish(self) -> bytes:
        """The rest."""
        return b"".join(self._pipe.finish())


def stored_stream(
    content_type: str | None,
    view: MaskView,
    place: Place,
    detector: Detector,
    transformer: Transformer,
    budget: Callable[[float], Callable[[], None]],
) -> StoredStream | None:
    """The storage mask of a stream of this type, None when there is none: then only its digest is stored."""
    fields = () if content_type is None else ((b"Content-Type", content_type.encode("latin-1", "replace")),)
    answer, terms = Answer("GET", 200, "", fields, b""), Terms(view, view.limits, place)
    try:
        if may_pass(media_of(content_type), view.pass_media):
            return None
        kind_of(media_of(content_type), content_type)
        chosen = plan(answer, terms, asked=True)
        if chosen is None or chosen.kind == "pass":
            return None
        return StoredStream(StreamMaking(answer, terms, detector, transformer, Budget(view.limits.time, budget)).pipe(chosen))
    except Unmaskable:
        return None
