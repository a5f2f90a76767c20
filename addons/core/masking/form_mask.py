"""Masks forms and query strings: pairs are decoded, judged under their name, and re-encoded only where changed.

Also multipart bodies: each part by its own type. URLs (`Location`, `Link`) are masked by their query pairs and their
path segments.
"""

import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from addons.core.errors import Unmaskable
from addons.core.masking.leaf_mask import LeafMasker, Site

MAX_PARTS = 1000
MAX_NESTED = 3
_BOUNDARY = re.compile(r"""(?i);\s*boundary\s*=\s*(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))""")
_NAME = re.compile(rb"""(?i)content-disposition:[^\r\n]*;\s*name\s*=\s*"?([^";\r\n]{1,256})""")
_TYPE = re.compile(rb"(?i)(?:^|\r\n)content-type:[ \t]*([^\r\n]{1,256})")


def mask_pairs(text: str, leaf: LeafMasker, *, plus: bool = True) -> str:
    """Mask `a=b&c=d`; the same object when nothing was masked."""
    decode, encode = (unquote_plus, quote_plus) if plus else (unquote, quote)
    pieces = re.split(r"([&;])", text)
    changed = False
    for index in range(0, len(pieces), 2):
        name, sign, value = pieces[index].partition("=")
        bare = decode(name, errors="surrogateescape")
        leaf.tools.tally.saw("/" + bare[:200] if looks_plain(bare) else "/*")
        judged = decode(value, errors="surrogateescape") if sign else bare
        masked = leaf.mask(
            judged, Site(key=bare if sign else "", pointer=f"/{bare}" if sign else "", general=f"/{bare}" if looks_plain(bare) else "/*")
        )
        if masked is not None:
            changed = True
            new = encode(masked, safe="[]:@", errors="surrogateescape")
            pieces[index] = f"{name}={new}" if sign else new
    return "".join(pieces) if changed else text


def looks_plain(name: str) -> bool:
    """Whether a parameter's name may stand in a receipt: a word, not a value."""
    return len(name) <= 64 and "@" not in name and sum(char.isdigit() for char in name) < 8


def mask_url(url: str, leaf: LeafMasker) -> str:
    """Mask a URL's query pairs, fragment and path segments; scheme and host stay."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*:)?(//[^/?#]*)?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$", url, re.DOTALL)
    if match is None:
        return leaf.mask(url, Site()) or url
    head = (match[1] or "") + _login(match[2] or "", leaf)
    path = "/".join(_segment(segment, leaf) for segment in match[3].split("/"))
    query = "" if match[4] is None else "?" + mask_pairs(match[4], leaf)
    fragment = "" if match[5] is None else "#" + mask_pairs(match[5], leaf)
    return head + path + query + fragment


def _login(authority: str, leaf: LeafMasker) -> str:
    login, sign, host = authority[2:].rpartition("@")
    if not sign:
        return authority
    masked = leaf.mask(login, Site(key="password")) or login
    return f"//{quote(masked, safe='')}@{host}"


def _segment(segment: str, leaf: LeafMasker) -> str:
    masked = leaf.mask(unquote(segment, errors="surrogateescape"), Site()) if segment else None
    return segment if masked is None else quote(masked, safe="[]:@", errors="surrogateescape")


def mask_multipart(body: bytes, content_type: str, part: Callable[[bytes, str, str, int], bytes], level: int = 0) -> bytes:
    """Mask each part by `part(content, type, field name, level)`. Raises Unmaskable when the boundary or the frame is wrong."""
    found = _BOUNDARY.search(content_type)
    if found is None or level >= MAX_NESTED:
        raise Unmaskable("syntax" if found is None else "depth")
    boundary = b"--" + (found[1] or found[2]).encode("ascii", "replace")
    pieces = re.split(rb"(?:^|(?<=\r\n))" + re.escape(boundary) + rb"(?=--|[ \t]*\r\n)", body)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--") or len(pieces) > MAX_PARTS:
        raise Unmaskable("syntax")
    if pieces[0].strip() or pieces[-1][2:].strip():
        raise Unmaskable("syntax", detail="bytes outside the parts")
    for index in range(1, len(pieces) - 1):
        pieces[index] = _part(pieces[index], part, level)
    return boundary.join(pieces)


def _part(piece: bytes, part: Callable[[bytes, str, str, int], bytes], level: int) -> bytes:
    lead, head, content = b"\r\n", b"", b""
    start = piece.index(b"\r\n") + 2
    if piece.startswith(b"\r\n", start):
        head, content = b"", piece[start + 2 :]
        lead = piece[: start + 2]
    else:
        head, sign, content = piece[start:].partition(b"\r\n\r\n")
        if not sign:
            raise Unmaskable("syntax")
        lead = piece[:start] + head + sign
    if not content.endswith(b"\r\n"):
        raise Unmaskable("syntax")
    kind, name = _TYPE.search(head), _NAME.search(head)
    if re.search(rb"(?i)content-transfer-encoding:[ \t]*(?!7bit|8bit|binary)", head):
        raise Unmaskable("coding")
    type_of = kind[1].decode("latin-1") if kind else "text/plain"
    masked = part(content[:-2], type_of, name[1].decode("utf-8", "replace") if name else "", level + 1)
    return lead + masked + b"\r\n"
