"""The masking engine: one worker thread, a warm-up, and the door for everybody who has to mask.

presidio takes seconds to import, so the worker thread does it after the listeners are up; whoever needs a mask before that
waits until a deadline and is then refused. Nothing is ever passed through because the engine was not ready.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from addons.core.clock import Clock
from addons.core.config.model import Masking, Snapshot
from addons.core.errors import GuardhouseError, MaskingError, Unmaskable
from addons.core.masking import write_back
from addons.core.masking.answer import Answer, MaskedAnswer, Terms, mask_answer
from addons.core.masking.answer_key import parts_of, put_date_back, set_date_aside, size_of
from addons.core.masking.body_mask import BodyMasker
from addons.core.masking.detector import Detector
from addons.core.masking.http_rules import Fields
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.kept import Kept
from addons.core.masking.leaf_mask import Site, Tools
from addons.core.masking.pseudonym import Place
from addons.core.masking.receipt import Masked, Tally, masked
from addons.core.masking.rules import MaskView
from addons.core.masking.transforms import Transformer
from addons.core.wire.plain_fields import is_plain

INLINE = 2 << 10  # bodies below this are masked in the event loop: a thread costs more than they do
MAX_UNMARKED = 1 << 20  # bytes of what is known of requests without marks
ALARM = 3  # failures in a row after which the engine says it is not well


class Keys(Protocol):
    """What the engine needs of the key ring."""

    def derive(self, label: str) -> bytes: ...


class MaskEngine:
    """Made by masking.Prepare; `start` begins the warm-up."""

    def __init__(self, keys: Keys, clock: Clock, detector: Detector | None = None) -> None:
        self.detector = detector or Detector()
        self.transformer = Transformer(keys.derive("masking"))
        self._clock = clock
        self._answers: Kept[MaskedAnswer] = Kept()
        self._unmarked: Kept[bool] = Kept(MAX_UNMARKED)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guardhouse-masking")
        self._warm = threading.Event()
        self._failures = 0
        if self.detector.is_loaded:
            self._warm.set()

    @property
    def is_warm(self) -> bool:
        """Whether the detector has been loaded."""
        return self._warm.is_set()

    @property
    def is_well(self) -> bool:
        """False after several failures in a row: the service's health turns red."""
        return self._failures < ALARM

    def start(self, masking: Masking | None = None) -> None:
        """Begin the warm-up in the worker thread; returns at once. Again after a reload: loads only what changed."""
        configuration = ("token", "US", ("US",)) if masking is None else (masking.nlp_engine, masking.home_region, masking.text_regions)
        self._worker.submit(self._load, *configuration)

    def _load(self, nlp_engine: Any, home: str, regions: tuple[str, ...]) -> None:
        try:
            self.detector.load(nlp_engine, home, regions)
        except Exception:  # noqa: BLE001  # the worker thread: a failed warm-up leaves the engine cold, and cold means 503
            self._failures = ALARM
            return
        self._warm.set()

    async def ready(self, seconds: float) -> None:
        """Wait until the engine is warm. Raises MaskingError (masking-warming-up, 503) after so many seconds."""
        deadline = self._clock.monotonic() + seconds
        while not self.is_warm:
            if self._clock.monotonic() >= deadline:
                raise MaskingError(
                    "The masking engine is still starting. Try again shortly.", code="masking-warming-up", headers={"Retry-After": "5"}
                )
            await self._clock.sleep(0.05)

    def wait(self, seconds: float) -> bool:
        """Wait in the calling thread; whether the engine is warm. Never call it in the event loop."""
        return self._warm.wait(seconds)

    async def run[T](self, work: Callable[[], T], size: int) -> T:
        """Do a piece of masking: inline when it is small, else in the worker thread. Any failure is Unmaskable(crash)."""
        try:
            if size < INLINE:
                result = work()
            else:
                result = await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except GuardhouseError:
            self._failures = 0
            raise
        except Exception as error:  # the worker thread: whatever a detector raises blocks the answer
            self._failures += 1
            raise Unmaskable("crash", detail=type(error).__name__) from error
        self._failures = 0
        return result

    async def mask_answer(self, answer: Answer, terms: Terms) -> MaskedAnswer:
        """Mask a whole answer, or remember what came of the same one. Raises Unmaskable for `block` and for whatever goes wrong."""
        plain, date = set_date_aside(answer)
        rules = terms.view or terms.limits
        key = self._answers.key(parts_of(plain, terms, self.detector.identity), plain.body)
        made = self._answers.get(key, rules)
        if made is None:
            budget = self.budget(terms.limits.time)
            made = await self.run(lambda: mask_answer(plain, terms, self.detector, self.transformer, budget), len(plain.body))
            self._answers.put(key, rules, made, size_of(made))
        return put_date_back(made, date)

    async def refuse_marks(self, target: bytes, fields: Fields, body: bytes, view: MaskView) -> None:
        """Raise WriteBackError for a request that carries a mark of ours. One in which none was found lately is not searched again."""
        told = [
            part
            for name, value in fields
            if not is_plain(name.decode("latin-1").lower(), value.decode("latin-1"))
            for part in (name, value)
        ]
        key = self._unmarked.key((self.detector.identity, target, *told), body)
        if self._unmarked.get(key, view):
            return
        tells = self.would_mask(view)
        await self.run(lambda: write_back.refuse_marks(target, fields, body, view, self.transformer.marks, tells), len(body))
        self._unmarked.put(key, view, True, 0)

    def mask_body(self, body: bytes, content_type: str | None, view: MaskView, place: Place, tally: Tally | None = None) -> Masked:
        """Mask a decoded body in the calling thread. Raises Unmaskable, or whatever the detector raises."""
        books = tally or Tally()
        tools = Tools(self.detector, self.transformer, view, place, books, self.budget(view.limits.time))
        result = BodyMasker(tools).mask(body, content_type)
        return masked(result, result is not body, books)

    def would_mask(self, view: MaskView) -> Callable[[str], bool]:
        """A question to ask of texts: is anything in it masked under this view?"""
        tools = Tools(self.detector, self.transformer, view, Place(), Tally(), self.budget(view.limits.time))
        leaf = JsonMasker(tools).leaf
        return lambda text: bool(leaf.find(text, Site()))

    def budget(self, seconds: float) -> Callable[[], None]:
        """A check that raises Unmaskable(deadline) once the time for one body is over."""
        end = self._clock.monotonic() + seconds

        def alive() -> None:
            if self._clock.monotonic() > end:
                raise Unmaskable("deadline")

        return alive

    async def close(self) -> None:
        """Stop the worker thread; a warm-up that is still running ends by itself."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def session_place(snapshot: Snapshot, service: str, session: str | None, path: str) -> Place:
    """Where the values of an answer stand: service, session, and the path that names the object."""
    scope = snapshot.masking.pseudonym_scope
    return Place(service=service, session=(session or "") if scope == "session" else "", name=path)
