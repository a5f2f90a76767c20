"""The request target: one spelling, or 400.

Two readers (policy and the upstream) must cut and decode the target the same way, so every spelling that a lenient
reader could take for another path is refused, never repaired: dot segments, doubled slashes, encoded separators, escapes
of characters that need none, double encoding, bytes that are not UTF-8. What is left decodes in exactly one way, and
policy matches on that decoded path (`canonical_path`). The query keeps its own, looser grammar: it is never routed by,
and every reader decodes it, so only what changes its cutting is refused.
"""

import re
from urllib.parse import unquote_plus, unquote_to_bytes

from addons.core.errors import ValidationError

_PATH_BYTES = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*")  # RFC 3986 pchar and "/"
_QUERY_BYTES = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%\[\]{}|^`]*")  # what browsers leave as it is, WHATWG URL
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNRESERVED_ESCAPE = re.compile(rb"%(?:2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])")
_DOUBLE_ESCAPE = re.compile(rb"%25[0-9A-Fa-f]{2}")
_SEPARATOR_ESCAPE = re.compile(rb"%(?:2[fF]|5[cC]|3[fF]|23)")  # / \ ? #
_CONTROL_ESCAPE = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[fF])")
_MAX_NAMES = 1000  # query names; Django's DATA_UPLOAD_MAX_NUMBER_FIELDS


def malformed(rule: str, sentence: str) -> ValidationError:
    """Return the refusal. `rule` is a short slug for the audit, the sentence says what to send instead."""
    return ValidationError(sentence, detail=rule)


def split(target: bytes) -> tuple[bytes, bytes]:
    """Cut the target at the first `?`, as every reader does."""
    path, _, query = target.partition(b"?")
    return path, query


def check_target(target: bytes) -> str:
    """Return the canonical (decoded) path of an origin-form target, or say why it has none."""
    if target == b"*":
        raise malformed("target-asterisk", "`OPTIONS *` is not accepted. Send the request to a path.")
    if not target.startswith(b"/"):
        raise malformed("target-form", "The request target must start with `/`. Send the path alone, without scheme and host.")
    if any(byte < 0x21 or byte == 0x7F for byte in target):
        raise malformed("target-control", "The request target holds a control byte or a space. Percent-encode it.")
    if any(byte > 0x7E for byte in target):
        raise malformed("target-non-ascii", "The request target holds raw non-ASCII bytes. Percent-encode them as UTF-8.")
    if b"#" in target:
        raise malformed("target-fragment", "The request target holds a `#`. Leave the fragment out.")
    if b"\\" in target:
        raise malformed("target-backslash", "The request target holds a backslash. Use `/` between segments.")
    if _BROKEN_ESCAPE.search(target):
        raise malformed("target-escape", "A `%` in the request target is not followed by two hex digits. Write a percent sign as `%25`.")
    path, query = split(target)
    _check_query(query)
    return canonical_path(path)


def canonical_path(path: bytes) -> str:
    """Return the decoded path. The bytes it refuses are those that two readers decode or cut differently."""
    if not _PATH_BYTES.fullmatch(path):
        raise malformed("path-characters", "The path holds a character that must be percent-encoded there.")
    _check_escapes(path)
    if b"//" in path:
        raise malformed("path-empty-segment", "The path holds `//`. Send a single `/` between segments.")
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise malformed("path-utf8", "The escapes in the path are not UTF-8. Percent-encode the UTF-8 bytes.") from None
    if any(segment.partition(";")[0] in (".", "..") for segment in decoded.split("/")):
        raise malformed("path-dot-segment", "The path holds a `.` or `..` segment. Send the path that it stands for.")
    if any(0x80 <= ord(char) <= 0x9F for char in decoded):
        raise malformed("path-control", "The path holds an encoded control character. Leave it out.")
    return decoded


def _check_escapes(path: bytes) -> None:
    if _SEPARATOR_ESCAPE.search(path):
        raise malformed(
            "path-encoded-separator", "The path holds an encoded `/`, `\\`, `?` or `#`. Services must not be addressed with it."
        )
    if _CONTROL_ESCAPE.search(path):
        raise malformed("path-control", "The path holds an encoded control character. Leave it out.")
    if _UNRESERVED_ESCAPE.search(path):
        raise malformed("path-needless-escape", "The path escapes a letter, digit, `-`, `.`, `_` or `~`. Send the character itself.")
    if _DOUBLE_ESCAPE.search(path):
        raise malformed("path-double-encoding", "The path is encoded twice. Encode it once.")


def _check_query(query: bytes) -> None:
    if not _QUERY_BYTES.fullmatch(query):
        raise malformed("query-characters", "The query holds a character that must be percent-encoded there.")
    if b"%00" in query:
        raise malformed("query-control", "The query holds an encoded NUL. Leave it out.")
    names(query)


def names(query: bytes) -> list[str]:
    """Return the decoded names of the query, in order, repeated as often as they come."""
    return [name for name, _ in pairs(query)]


def pairs(query: bytes) -> list[tuple[str, str]]:
    """Return the decoded names and values. A name must decode in one way only; a value is data and may be anything."""
    pieces = [piece.partition(b"=") for piece in re.split(rb"[&;]", query) if piece]
    if len(pieces) > _MAX_NAMES:
        raise malformed("query-names", f"The query has more than {_MAX_NAMES} parameters. Send fewer.")
    return [(_name(name), unquote_plus(value.decode(), errors="replace")) for name, _, value in pieces]


def _name(raw: bytes) -> str:
    if _DOUBLE_ESCAPE.search(raw):
        raise malformed("query-name-encoding", "A parameter name in the query is encoded twice. Encode it once.")
    if _CONTROL_ESCAPE.search(raw):
        raise malformed("query-control", "A parameter name in the query holds an encoded control character. Leave it out.")
    try:
        return unquote_plus(raw.decode(), errors="strict")
    except UnicodeDecodeError:
        raise malformed("query-utf8", "A parameter name in the query is not UTF-8. Percent-encode the UTF-8 bytes.") from None
