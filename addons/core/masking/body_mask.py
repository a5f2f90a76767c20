"""Masks one decoded body by its media type, or says why it cannot be masked.

The declared type never lowers protection: a text that begins like JSON is walked as JSON, and a body without a type is
sniffed. What no masker reads is Unmaskable, unless the service lists its type in `pass_media`.
"""

import fnmatch
import re

from addons.core.errors import Unmaskable
from addons.core.masking import encodings
from addons.core.masking.form_mask import mask_multipart, mask_pairs
from addons.core.masking.json_walk import JsonMasker
from addons.core.masking.leaf_mask import Tools
from addons.core.masking.text_mask import TextMasker

UTF8_BOM = b"\xef\xbb\xbf"
STREAMS = frozenset(
    {
        "text/event-stream",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/json-seq",
        "application/stream+json",
    }
)
TEXTS = frozenset(
    [
        "application/yaml",
        "application/x-yaml",
        "application/xml",
        "application/javascript",
        "application/ecmascript",
        "application/toml",
        "application/x-sh",
        "application/sql",
        "application/graphql",
        "application/xhtml+xml",
        "application/x-httpd-php",
        "image/svg+xml",
    ]
)
LOOSE = re.compile(
    r"text/(?:plain|csv|yaml|x-[a-z0-9.+-]+|markdown)|application/(?:x-)?(?:yaml|toml)"
)  # `[` and `{` also begin INI, TOML and YAML
_CHARSET = re.compile(r"""(?i);\s*charset\s*=\s*"?([^\s;"]{1,40})""")


def media_of(content_type: str | None) -> str:
    """The bare media type, lower-case; empty when there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def declared_charset(content_type: str | None) -> str | None:
    """The charset parameter. Two different ones: Unmaskable."""
    found = {match.lower() for match in _CHARSET.findall(content_type or "")}
    if len(found) > 1:
        raise Unmaskable("charset")
    return found.pop() if found else None


def is_stream(content_type: str | None) -> bool:
    """Whether this answer may never end, so that a whole-body masker would wait for ever."""
    media = media_of(content_type)
    return media in STREAMS or (is_json(media) and "stream=" in (content_type or "").lower().replace(" ", ""))


def is_json(media: str) -> bool:
    return media.endswith(("/json", "+json"))


def is_text(media: str) -> bool:
    return media.startswith("text/") or media in TEXTS or media.endswith("+xml") or media.endswith("+yaml")


def may_pass(media: str, pass_media: tuple[str, ...]) -> bool:
    """Whether the service lists this type as one that needs no mask. Types that hold text never pass so."""
    return bool(media) and not is_json(media) and any(fnmatch.fnmatchcase(media, glob) for glob in pass_media)


class BodyMasker:
    """Masks bodies with one set of tools."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    def mask(self, body: bytes, content_type: str | None, *, key: str = "", level: int = 0) -> bytes:
        """The masked body, the same object when nothing was masked. Raises Unmaskable."""
        if not body:
            return body
        if len(body) > self.tools.view.limits.whole:
            raise Unmaskable("size")
        media, charset = media_of(content_type), declared_charset(content_type)
        if may_pass(media, self.tools.view.pass_media):
            return body
        if is_json(media) or (media in STREAMS and media != "text/event-stream"):
            return self._json(body, charset)
        if media == "application/x-www-form-urlencoded":
            return self._form(body, charset)
        if media.startswith("multipart/"):
            return mask_multipart(body, content_type or "", self._part, level)
        if is_text(media):
            return self._text(body, charset, media, key)
        if not media:
            return self._sniffed(body, key)
        raise Unmaskable("media")

    def _part(self, content: bytes, content_type: str, name: str, level: int) -> bytes:
        return self.mask(content, content_type, key=name, level=level)

    def _json(self, body: bytes, charset: str | None) -> bytes:
        if charset not in (None, "utf-8", "utf8", "us-ascii", "ascii"):
            raise Unmaskable("charset")
        mark = UTF8_BOM if body.startswith(UTF8_BOM) else b""
        bare = body[len(mark) :]
        try:
            bare.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unmaskable("charset") from error
        masked = JsonMasker(self.tools).mask(bare)
        return body if masked is bare else mark + masked

    def _form(self, body: bytes, charset: str | None) -> bytes:
        text, name, mark = encodings.decode_text(body, charset)
        masked = mask_pairs(text, JsonMasker(self.tools).leaf)
        return body if masked is text else mark + masked.encode(name)

    def _text(self, body: bytes, charset: str | None, media: str, key: str) -> bytes:
        text, name, mark = encodings.decode_text(body, charset)
        if text.lstrip()[:1] in ("{", "["):
            try:
                utf8 = text.encode("utf-8")
                masked_json = JsonMasker(self.tools).mask(utf8)
            except Unmaskable as error:
                if error.reason != "syntax" or not LOOSE.fullmatch(media):
                    raise
            else:
                return body if masked_json is utf8 else mark + masked_json.decode("utf-8").encode(name, "xmlcharrefreplace")
        masked = TextMasker(self.tools).mask(text, key)
        return body if masked is text else mark + masked.encode(name)

    def _sniffed(self, body: bytes, key: str) -> bytes:
        start = body.removeprefix(UTF8_BOM).lstrip()[:1]
        if start in (b"{", b"["):
            try:
                return self._json(body, None)
            except Unmaskable as error:
                if error.reason != "syntax":
                    raise
        if b"\x00" in body and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise Unmaskable("media")
        return self._text(body, None, "text/plain", key)


def stand_in(content_type: str | None, body: bytes) -> bytes:
    """The empty body of the same type that takes a withheld one's place."""
    media = media_of(content_type)
    if is_json(media):
        return b"[]" if body.lstrip()[:1] == b"[" else b"{}"
    return b""
