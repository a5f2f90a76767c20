"""Which answers pass as a stream, and by which masker.

A stream must be streamed: buffered, its reader would wait for an end that may never come. So must what is too large to be masked
whole. Everything else is masked whole: a small answer that cannot be masked then gets a clean 502, not a cut.
"""

from dataclasses import dataclass, replace

from addons.core.errors import Unmaskable
from addons.core.masking import encodings, http_rules
from addons.core.masking.answer import BODILESS, Answer, Terms, scrub_fields, scrub_text
from addons.core.masking.body_mask import declared_charset, is_json, is_stream, is_text, may_pass, media_of
from addons.core.masking.detector import Detector
from addons.core.masking.http_rules import Fields
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import Site, Tools
from addons.core.masking.receipt import Tally
from addons.core.masking.stream import Budget, Passing, Scrubber, StreamMasker, StreamPipe
from addons.core.masking.stream_decode import decoder_of
from addons.core.masking.stream_deltas import DeltaMasker
from addons.core.masking.stream_json import JsonStreamMasker
from addons.core.masking.stream_lines import NdjsonMasker, TextStreamMasker
from addons.core.masking.stream_sse import SseMasker
from addons.core.masking.transforms import Transformer

SSE = "text/event-stream"
GRPC = "application/grpc"
LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/stream+json"})
MARKUP = frozenset({"text/html", "text/xml"})
UTF8 = (None, "utf-8", "utf8", "us-ascii", "ascii")


@dataclass(frozen=True, slots=True)
class Plan:
    """How an answer passes: `kind` is pass | sse | ndjson | json | text."""

    kind: str
    charset: str | None = None


def plan(answer: Answer, terms: Terms, asked: bool) -> Plan | None:
    """The plan of a streamed answer, None when it is masked whole. `asked`: the request asks for a stream (watch, follow).

    Raises Unmaskable for a stream that no masker reads.
    """
    if answer.method == "HEAD" or answer.status in BODILESS:
        return None
    content_type = http_rules.content_type_of(answer.fields)
    media, length = media_of(content_type), declared_length(answer)
    endless = is_stream(content_type) or is_grpc(media) or (asked and length is None)
    readable = is_json(media) or is_text(media)
    if terms.view is None or may_pass(media, terms.view.pass_media):
        is_long = length > terms.limits.whole if length is not None else not readable
        return Plan("pass") if endless or is_long else None
    if not endless and not (readable and is_too_large(media, length, terms.limits.whole)):
        return None
    http_rules.refuse_partial(answer.status, answer.fields)
    return Plan(kind_of(media, content_type), _charset(media, content_type))


def is_too_large(media: str, length: int | None, whole: int) -> bool:
    """Whether this text cannot be awaited. Without a declared length only plain text is taken for endless: a log."""
    return length > whole if length is not None else media == "text/plain"


def is_grpc(media: str) -> bool:
    """gRPC, whatever its encoding of messages."""
    return media == GRPC or media.startswith(GRPC + "+")


def kind_of(media: str, content_type: str | None) -> str:
    """The masker of this media type. Raises Unmaskable when there is none."""
    if media == SSE:
        return "sse"
    if media in LINES or (is_json(media) and is_stream(content_type)):
        return "ndjson"
    if is_json(media) or media == "application/json-seq":
        return "json"
    if is_text(media):
        return "text"
    raise Unmaskable("media", detail="a stream of a type that no masker reads")


def declared_length(answer: Answer) -> int | None:
    """Content-Length, None when there is none that can be read."""
    found = http_rules.values(answer.fields, b"content-length")
    return int(found[0]) if len(found) == 1 and found[0].isascii() and found[0].isdigit() else None


def masker_of(chosen: Plan, tools: Tools, joined: tuple[str, ...] = ()) -> StreamMasker:
    """The masker of a plan that has one. `joined` are paths whose texts go on from event to event."""
    match chosen.kind:
        case "sse":
            return SseMasker(tools, DeltaMasker(tools, joined) if joined else None)
        case "ndjson" if joined:
            raise Unmaskable("media", detail="joined_paths are read in server-sent events only")
        case "ndjson":
            return NdjsonMasker(tools)
        case "json":
            return JsonStreamMasker(tools)
        case "text":
            return TextStreamMasker(tools, chosen.charset)
    raise Unmaskable("media", detail="a stream without a masker")


class StreamMaking:
    """What one streamed answer is masked with: the pipe for its body, and its head and trailers."""

    def __init__(self, answer: Answer, terms: Terms, detector: Detector, transformer: Transformer, budget: Budget) -> None:
        self.answer, self.terms = answer, terms
        self.transformer, self.budget, self.tally = transformer, budget, Tally()
        self.tools = None if terms.view is None else Tools(detector, transformer, terms.view, terms.place, self.tally, budget)

    def pipe(self, chosen: Plan) -> StreamPipe:
        """The pipe of this plan. Raises Unmaskable for a coding nobody reads."""
        coding = encodings.coding_of(http_rules.values(self.answer.fields, b"content-encoding"))
        scrubber = Scrubber(self.terms.scrub, self.transformer, self.tally)
        if chosen.kind == "pass":
            if self.terms.scrub and coding != "identity":
                raise Unmaskable("opaque", detail="the injected credential cannot be looked for inside a coding")
            return StreamPipe(decoder_of("identity", 1), scrubber, Passing(), self.tally, self.budget)
        assert self.tools is not None
        decoder = decoder_of(coding, self.terms.limits.ratio)
        return StreamPipe(decoder, scrubber, masker_of(chosen, self.tools, self.terms.joined), self.tally, self.budget)

    def head(self, chosen: Plan) -> tuple[str, Fields]:
        """The reason phrase and the fields that may leave. What measures the original body is gone where the body may change."""
        reason, fields = self.fields(self.answer.reason, self.answer.fields)
        if chosen.kind == "pass" and not self.terms.scrub:
            return reason, fields if self.terms.view is None else http_rules.private(fields)
        digest = self.terms.view.digest if self.terms.view else ""
        if self.terms.view is None:
            return reason, http_rules.without(fields, (b"content-length", b"etag"))
        kept = http_rules.answer_fields(fields, self.transformer, digest, changed=True, bodiless=False)
        return reason, http_rules.without(kept, (b"content-length",))

    def fields(self, reason: str, fields: Fields) -> tuple[str, Fields]:
        """Fields and reason phrase without the credential, and masked."""
        self.budget.renew()
        fields = scrub_fields(fields, self.terms, self.transformer, self.tally)
        reason = scrub_text(reason, self.terms, self.transformer, self.tally)
        if self.tools is None:
            return reason, fields
        tools = replace(self.tools, place=replace(self.terms.place, name=f"{self.terms.place.name}#headers"))
        leaf = JsonMasker(tools).leaf
        return leaf.mask(reason, Site(general="reason")) or reason, http_rules.mask_fields(fields, leaf)


def _charset(media: str, content_type: str | None) -> str | None:
    charset = declared_charset(content_type)
    if not is_text(media) or media == SSE:
        if charset not in UTF8:
            raise Unmaskable("charset")
        return None
    encodings.charset_of(b"", charset)
    return charset
