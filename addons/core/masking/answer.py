"""Masks a whole answer: status line, fields, body, trailers; and what a profile says when that is not possible.

Pure: the shell makes an `Answer` from the flow, sends it to the engine's thread, and puts the `MaskedAnswer` back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from addons.core.config.model import EntityRule, MaskLimits
from addons.core.errors import Unmaskable
from addons.core.masking import encodings, http_rules
from addons.core.masking.body_mask import BodyMasker, is_stream, media_of, stand_in
from addons.core.masking.detector import Detector
from addons.core.masking.http_rules import Fields
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import Site, Tools
from addons.core.masking.pseudonym import Place
from addons.core.masking.receipt import Tally
from addons.core.masking.rules import MaskView
from addons.core.masking.transforms import Transformer

BODILESS = frozenset({204, 304})
UPSTREAM_SECRET = "UPSTREAM_SECRET"


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's answer as it came: `body` is still encoded."""

    method: str
    status: int
    reason: str
    fields: Fields
    body: bytes
    trailers: Fields = ()


@dataclass(frozen=True, slots=True)
class MaskedAnswer:
    """What may leave, and the books. `withheld` names the reason when a stand-in took the body's place."""

    reason: str
    fields: Fields
    body: bytes
    trailers: Fields
    counts: Mapping[str, int] = field(default_factory=dict)
    receipt: list[dict[str, Any]] = field(default_factory=list)
    fields_seen: Mapping[str, int] = field(default_factory=dict)
    complete: bool = True
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one answer is masked by. `view` is None when no profile applies: then only the scrub is left to do."""

    view: MaskView | None
    limits: MaskLimits
    place: Place
    scrub: tuple[bytes, ...] = ()
    joined: tuple[str, ...] = ()  # paths whose texts go on from event to event


def refuse_partial(answer: Answer) -> None:
    """A part of a body cannot be judged."""
    http_rules.refuse_partial(answer.status, answer.fields)


def refuse_stream(answer: Answer) -> None:
    """What is a stream is masked as one, event by event and line by line, and not as a whole."""
    refuse_partial(answer)
    if answer.method != "HEAD" and answer.body and any(is_stream(one) for one in http_rules.values(answer.fields, b"content-type")):
        raise Unmaskable("media", detail="a stream")


def mask_answer(answer: Answer, terms: Terms, detector: Detector, transformer: Transformer, alive: Callable[[], None]) -> MaskedAnswer:
    """Mask it, or do what the profiles say of what cannot be masked. Raises Unmaskable for `block`."""
    tally = Tally()
    try:
        return _mask(answer, terms, detector, transformer, alive, tally)
    except Unmaskable as error:
        if terms.view is None or terms.view.on_unmaskable == "block" or error.reason in ("crash", "deadline"):
            raise
        return _instead(answer, terms, error, detector, transformer, alive)


def _mask(
    answer: Answer, terms: Terms, detector: Detector, transformer: Transformer, alive: Callable[[], None], tally: Tally
) -> MaskedAnswer:
    refuse_stream(answer)
    bodiless = answer.method == "HEAD" or answer.status in BODILESS
    if terms.view is None and not terms.scrub:
        return MaskedAnswer(answer.reason, answer.fields, answer.body, answer.trailers)
    content_type = http_rules.content_type_of(answer.fields)
    plain = (
        b""
        if bodiless
        else encodings.decode(answer.body, encodings.coding_of(http_rules.values(answer.fields, b"content-encoding")), terms.limits)
    )
    body = scrub(plain, terms.scrub, transformer, tally)
    fields = scrub_fields(answer.fields, terms, transformer, tally)
    trailers = scrub_fields(answer.trailers, terms, transformer, tally)
    reason = scrub_text(answer.reason, terms, transformer, tally)
    if terms.view is not None:
        tools = Tools(detector, transformer, terms.view, terms.place, tally, alive)
        leaf = JsonMasker(tools).leaf
        body = BodyMasker(tools).mask(body, content_type)
        heads = replace(terms.place, name=f"{terms.place.name}#headers")
        tools.place = heads
        fields, trailers = http_rules.mask_fields(fields, leaf), http_rules.mask_fields(trailers, leaf)
        reason = leaf.mask(reason, Site(general="reason")) or reason
    return _closed(
        answer, terms, transformer, MaskedAnswer(reason, fields, body, trailers), tally, changed=body != plain, bodiless=bodiless
    )


def _closed(
    answer: Answer, terms: Terms, transformer: Transformer, made: MaskedAnswer, tally: Tally, *, changed: bool, bodiless: bool
) -> MaskedAnswer:
    fields = made.fields
    if terms.view is not None:
        fields = http_rules.answer_fields(fields, transformer, terms.view.digest, changed=changed, bodiless=bodiless)
    elif changed:
        fields = http_rules.without(fields, (b"content-encoding", b"etag"))
    else:
        made = replace(made, body=answer.body)  # nothing was masked and nothing owed: as it came, coding and all
    return replace(made, fields=fields, counts=dict(tally.counts), receipt=tally.receipt(), fields_seen=dict(tally.seen))


def _instead(
    answer: Answer, terms: Terms, error: Unmaskable, detector: Detector, transformer: Transformer, alive: Callable[[], None]
) -> MaskedAnswer:
    """`withhold`: an empty stand-in of the same type. `pass`: as it came, marked incomplete (never for secrets)."""
    assert terms.view is not None
    types = http_rules.values(answer.fields, b"content-type")
    body = stand_in(types[0] if types else None, answer.body)
    fields = http_rules.without(answer.fields, (b"content-encoding", b"content-range", b"content-type", b"transfer-encoding"))
    if types:
        fields = (*fields, (b"Content-Type", (media_of(types[0]) or "application/octet-stream").encode("latin-1", "replace")))
    bare = replace(answer, fields=fields, body=body)
    if terms.view.on_unmaskable == "withhold":
        emptied = _mask(
            replace(bare, body=b"", fields=http_rules.without(fields, (b"content-type",))), terms, detector, transformer, alive, Tally()
        )
        kept = tuple(pair for pair in fields if pair[0].lower() == b"content-type")
        shown = http_rules.answer_fields((*emptied.fields, *kept), transformer, terms.view.digest, changed=True, bodiless=False)
        return replace(emptied, fields=(*shown, (b"Guardhouse-Masking", b"withheld")), body=body, withheld=error.reason)
    if terms.scrub and encodings.coding_of(http_rules.values(answer.fields, b"content-encoding")) != "identity":
        raise error  # the injected credential cannot be looked for inside a coding
    raw = scrub(answer.body, terms.scrub, transformer, Tally())
    return MaskedAnswer(answer.reason, http_rules.private(answer.fields), raw, answer.trailers, complete=False)


def scrub(data: bytes, values: tuple[bytes, ...], transformer: Transformer, tally: Tally) -> bytes:
    """Replace every spelling of the injected credential by a mark; the longest spelling first."""
    mark = b""
    for value in sorted(values, key=len, reverse=True):
        if value and value in data:
            mark = (
                mark
                or transformer.apply(
                    EntityRule(UPSTREAM_SECRET, "redact"), UPSTREAM_SECRET, "", Place(), scope="tenant", region="US"
                ).encode()
            )
            for _ in range(data.count(value)):
                tally.note("gateway", UPSTREAM_SECRET, "", "redact")
            data = data.replace(value, mark)
    return data


def scrub_text(text: str, terms: Terms, transformer: Transformer, tally: Tally) -> str:
    """The reason phrase without the injected credential."""
    return scrub(text.encode("utf-8", "surrogateescape"), terms.scrub, transformer, tally).decode("utf-8", "surrogateescape")


def scrub_fields(fields: Fields, terms: Terms, transformer: Transformer, tally: Tally) -> Fields:
    """Header fields without the injected credential."""
    if not terms.scrub:
        return fields
    if any(value.lower() in name.lower() for name, _ in fields for value in terms.scrub):
        raise Unmaskable("opaque", detail="the injected credential in the name of a header")
    return tuple((name, scrub(value, terms.scrub, transformer, tally)) for name, value in fields)
