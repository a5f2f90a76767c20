"""Reads W3C Baggage: the weakest place of a purpose and of a session id.

Anybody on the way can add a member, so nothing here is trusted; a header that is too long or not baggage is no baggage.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

MAX_LENGTH = 8192  # W3C Baggage section 3.3.2: what everybody must be able to propagate
MAX_MEMBERS = 64
_MEMBER = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*([\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)[ \t]*(?:;.*)?\Z")


def parse(values: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return each member's values, percent-decoded, in order. What cannot be read is nothing at all."""
    text = ",".join(values)
    if not text or len(text) > MAX_LENGTH:
        return {}
    members: dict[str, list[str]] = {}
    pieces = text.split(",")
    if len(pieces) > MAX_MEMBERS:
        return {}
    for piece in pieces:
        match = _MEMBER.match(piece)
        if match is None:
            return {}
        members.setdefault(match[1], []).append(unquote(match[2], errors="replace"))
    return members
