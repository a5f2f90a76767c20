"""What masking does to the headers of a request and of an answer (design/masking.md 3.7).

Header fields are lists of (name, value) as bytes, in order, as they came.
"""

import re
from collections.abc import Iterable

from addons.core.errors import Unmaskable
from addons.core.masking.body_mask import is_json, is_text, media_of
from addons.core.masking.form_mask import mask_url
from addons.core.masking.leaf_mask import LeafMasker, Site
from addons.core.masking.transforms import Transformer

Fields = tuple[tuple[bytes, bytes], ...]

_DIGESTS = re.compile(rb"(?i)content-md5|digest|.*-digest|signature.*|x-.*-hash|x-.*checksum.*|x-amz-meta-.*md5")
_TAG = re.compile(r'(?:W/)?"[^"]*"|\*')
_OURS = re.compile(r'(?:W/)?"([A-Za-z0-9_-]{20,2048});m=([0-9a-f]{8})"')
STRUCTURE = frozenset(
    b"content-type content-length content-encoding transfer-encoding connection keep-alive date etag last-modified expires cache-control vary age "
    b"www-authenticate proxy-authenticate strict-transport-security accept-ranges allow retry-after alt-svc upgrade pragma trailer "
    b"access-control-allow-origin access-control-allow-methods access-control-allow-headers access-control-max-age "
    b"access-control-allow-credentials access-control-expose-headers content-security-policy x-content-type-options x-frame-options "
    b"mcp-session-id mcp-protocol-version".split()
)
NO_MATCH = '"guardhouse-no-match"'
URLS = frozenset({b"location", b"content-location", b"refresh"})
_LINK = re.compile(r"<([^>]*)>")
_COOKIES = b"set-cookie"  # belongs to the credentials step; masked in records
_ORDINARY = re.compile(rb"[\w*/+.=-]{1,64}(?:[,;] ?[\w*/+.=-]{1,64})*")  # tokens, media types, lists of them
_DATE = re.compile(rb"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
_FEW_DIGITS = 6  # no phone, card, account or national number is shorter
READABLE = ("application/x-www-form-urlencoded", "application/*", "text/*", "*/*")


def values(fields: Fields, name: bytes) -> list[str]:
    """Every value of this field."""
    return [value.decode("latin-1") for key, value in fields if key.lower() == name]


def without(fields: Fields, names: Iterable[bytes]) -> Fields:
    """The fields without these."""
    gone = frozenset(names)
    return tuple(pair for pair in fields if pair[0].lower() not in gone)


def request_fields(fields: Fields, transformer: Transformer, pass_media: tuple[str, ...], view_digest: str) -> Fields:
    """Ask the upstream for what can be masked: no coding, no ranges, types we read; our entity tags become the upstream's."""
    kept = without(fields, (b"accept-encoding", b"range", b"if-range"))
    result: list[tuple[bytes, bytes]] = []
    for name, value in kept:
        lower = name.lower()
        if lower == b"accept":
            value = _acceptable(value.decode("latin-1"), pass_media).encode("latin-1")
        elif lower in (b"if-none-match", b"if-match"):
            opened = _open_tags(value.decode("latin-1"), transformer, view_digest, is_write=lower == b"if-match")
            if not opened:
                continue
            value = opened.encode("latin-1")
        result.append((name, value))
    return (*result, (b"Accept-Encoding", b"identity"))


def _acceptable(accept: str, pass_media: tuple[str, ...]) -> str:
    kept = [member.strip() for member in accept.split(",") if _is_readable(media_of(member), pass_media)]
    return ", ".join(kept) or "application/json"


def _is_readable(media: str, pass_media: tuple[str, ...]) -> bool:
    return is_json(media) or is_text(media) or media in READABLE or media in pass_media


def _open_tags(value: str, transformer: Transformer, view_digest: str, *, is_write: bool) -> str:
    """Our sealed tags become the upstream's own. A foreign tag in If-None-Match would confirm a guess of the body, and one of
    another view would keep that view's copy alive, so both match nothing. In If-Match a foreign tag stays: an answer in which
    nothing was masked keeps the upstream's tag, and a write needs it."""
    tags = []
    for tag in _TAG.findall(value):
        ours = _OURS.fullmatch(tag)
        opened = transformer.open_etag(ours[1]) if ours and (is_write or ours[2] == view_digest[:8]) else None
        if opened is not None:
            tags.append(opened)
        elif is_write:
            tags.append(NO_MATCH if ours else tag)
        elif tag == "*":
            tags.append(tag)
    return ", ".join(tags)


def sealed_etag(value: str, transformer: Transformer, view_digest: str) -> str:
    """The tag of a changed body. One that is ours already stays."""
    return value if _OURS.fullmatch(value) else f'W/"{transformer.seal_etag(value)};m={view_digest[:8]}"'


def refuse_partial(status: int, fields: Fields) -> None:
    """A part of a body cannot be judged: a value may begin before it. Nor one in a transfer coding that nobody undid."""
    if any(coding.strip().lower() != "chunked" for coding in values(fields, b"transfer-encoding")):
        raise Unmaskable("coding")
    if (
        status == 206
        or values(fields, b"content-range")
        or any(media_of(one) == "multipart/byteranges" for one in values(fields, b"content-type"))
    ):
        raise Unmaskable("range")


def content_type_of(fields: Fields) -> str | None:
    """The one Content-Type. Two different ones: Unmaskable."""
    found = values(fields, b"content-type")
    if len({media_of(one) for one in found}) > 1:
        raise Unmaskable("media", detail="conflicting Content-Type")
    return found[0] if found else None


def answer_fields(fields: Fields, transformer: Transformer, view_digest: str, *, changed: bool, bodiless: bool) -> Fields:
    """The answer's fields after masking: nothing that measures or names the original body is left."""
    drop: set[bytes] = {b"content-encoding", b"accept-ranges"} if not bodiless else {b"accept-ranges", b"content-length"}
    result: list[tuple[bytes, bytes]] = []
    for name, value in without(fields, drop):
        lower = name.lower()
        if (changed or bodiless) and _DIGESTS.fullmatch(lower):
            continue
        if lower == b"etag" and (changed or bodiless):
            value = sealed_etag(value.decode("latin-1"), transformer, view_digest).encode("ascii")
        result.append((name, value))
    return private(tuple(result))


def private(fields: Fields) -> Fields:
    """Views differ per principal: no shared cache may keep them."""
    control = [part.strip() for value in values(fields, b"cache-control") for part in value.split(",") if part.strip()]
    control = [part for part in control if part.lower() != "public" and not part.lower().startswith("s-maxage")]
    if not any(part.lower() in ("private", "no-store") for part in control):
        control.append("private")
    vary = [part.strip() for value in values(fields, b"vary") for part in value.split(",") if part.strip()]
    for name in ("Authorization", "Cookie"):
        if "*" not in vary and name.lower() not in {part.lower() for part in vary}:
            vary.append(name)
    rest = without(fields, (b"cache-control", b"vary"))
    return (*rest, (b"Cache-Control", ", ".join(control).encode("latin-1")), (b"Vary", ", ".join(vary).encode("latin-1")))


def mask_fields(fields: Fields, leaf: LeafMasker) -> Fields:
    """Scan every field; URLs by their query pairs. The same object when nothing was masked. A value in a name: Unmaskable."""
    result = tuple((_name(name, leaf), value if name.lower() == _COOKIES else _value(name, value, leaf)) for name, value in fields)
    return fields if result == fields else result


def is_ordinary(value: bytes) -> bool:
    """True for what cannot hold a personal value: tokens with few digits, and dates."""
    digits = sum(0x30 <= byte <= 0x39 for byte in value)
    return (digits <= _FEW_DIGITS and _ORDINARY.fullmatch(value) is not None) or _DATE.fullmatch(value) is not None


def _name(name: bytes, leaf: LeafMasker) -> bytes:
    if not is_ordinary(name) and leaf.find(name.decode("latin-1").replace("-", " "), Site(general="header-name")):
        raise Unmaskable("opaque", detail="a value in the name of a header")
    return name


def _structure(name: bytes, value: bytes, leaf: LeafMasker) -> bytes:
    """A field by which clients and caches work. It stays as it is, nonces and tags too, unless it holds a personal value."""
    if is_ordinary(value):
        return value
    text, site = value.decode("utf-8", "surrogateescape"), Site(general=f"header:{name.decode('latin-1').lower()}")
    if all(hit.span.info_type == "SECRET" for hit in leaf.find(text, site)):
        return value
    if name.lower() == b"etag":
        return sealed_etag(value.decode("latin-1"), leaf.tools.transformer, leaf.tools.view.digest).encode("ascii")
    return (leaf.mask(text, site) or text).encode("utf-8", "surrogateescape")


def _link(text: str, leaf: LeafMasker) -> str:
    """The targets as URLs, the parameters between them as text."""
    pieces = _LINK.split(text)  # every second piece is a target
    return "".join(
        f"<{mask_url(piece, leaf)}>" if at % 2 else leaf.mask(piece, Site(general="header:link")) or piece
        for at, piece in enumerate(pieces)
    )


def _value(name: bytes, value: bytes, leaf: LeafMasker) -> bytes:
    if name.lower() in STRUCTURE:
        return _structure(name, value, leaf)
    text = value.decode("utf-8", "surrogateescape")
    label = name.decode("latin-1")
    if name.lower() in URLS:
        masked = mask_url(text, leaf)
    elif name.lower() == b"link":
        masked = _link(text, leaf)
    else:
        masked = leaf.mask(text, Site(key=label, general=f"header:{label.lower()}")) or text
    return value if masked == text else masked.encode("utf-8", "surrogateescape")
