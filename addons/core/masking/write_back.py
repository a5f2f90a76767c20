"""Finds our masks in a request, and moves or tests of masked places: a mask never travels back.

A mark is searched plain, percent-encoded, JSON-escaped, in base64 of any alignment, in UTF-16 and inside binary bodies.
A forged mark, one whose check is wrong, passes: else whoever plants the text upstream blocks every later write. JSON
Patch `copy`, `move` and `test` around a masked place are refused too: they would put the value where nothing masks it, or
confirm a guess.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from addons.core.errors import Unmaskable, WriteBackError
from addons.core.masking import encodings
from addons.core.masking.http_rules import Fields, values
from addons.core.masking.json_read import escape
from addons.core.masking.marks import EMAIL_DOMAIN, MarkMaker
from addons.core.masking.rules import MaskView, covers_pointer

LITERALS = (b"[MASKED:", b"@" + EMAIL_DOMAIN.encode())
_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\([/\\\"])")
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_\-]{16,}(?:\r?\n[A-Za-z0-9+/_\-]{16,}){0,4096}")
_ENTITY = re.compile(rb"&#(?:x([0-9a-fA-F]{1,4})|([0-9]{1,5}));")
MAX_LAYERS = 4
MOVES = frozenset({"copy", "move", "test"})


def _alignments(literal: bytes) -> Iterator[bytes]:
    """What the literal looks like inside base64 at each of the three offsets (the characters that do not depend on neighbours)."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + literal)
        first = (0, 2, 3)[offset]
        whole = (offset + len(literal)) // 3 * 4
        yield encoded[first:whole]


_IN_BASE64 = tuple({piece for literal in LITERALS for piece in _alignments(literal)})


def holds_mark(data: bytes, marks: MarkMaker, layers: int = MAX_LAYERS) -> bool:
    """Whether a mark of ours stands in these bytes, in any of the encodings above, a few layers deep."""
    if (
        any(literal in data.lower() for literal in (b"[masked:", LITERALS[1]))
        and next(marks.find(data.decode("latin-1")), None) is not None
    ):
        return True
    return layers > 0 and any(holds_mark(inner, marks, layers - 1) for inner in _decodings(data))


def _decodings(data: bytes) -> Iterator[bytes]:
    if b"%" in data:
        decoded = unquote_to_bytes(data)
        if decoded != data:
            yield decoded
    if b"\\" in data:
        decoded = _ESCAPE.sub(_unescape, data)
        if decoded != data:
            yield decoded
    if b"&#" in data:
        decoded = _ENTITY.sub(lambda found: _char(int(found[1], 16) if found[1] else int(found[2])), data)
        if decoded != data:
            yield decoded
    if b"\x00" in data:
        yield data.replace(b"\x00", b"")
    for run in _BASE64_RUN.finditer(data):
        standard = run[0].replace(b"-", b"+").replace(b"_", b"/").replace(b"\r", b"").replace(b"\n", b"")
        if _may_hold(standard):
            for offset in range(4):
                yield _base64(standard[offset:])


def _may_hold(run: bytes) -> bool:
    """The literal shows through base64 plainly; through a second layer of base64, or an escape inside it, only its decoding tells."""
    if any(piece in run for piece in _IN_BASE64):
        return True
    return any(_is_plain(_base64(run[offset : offset + 64])) for offset in range(4))


def _is_plain(data: bytes) -> bool:
    return bool(data) and all(9 <= byte < 127 for byte in data)


def _base64(run: bytes) -> bytes:
    usable = run[: len(run) // 4 * 4]
    rest = run[len(usable) :]
    if len(rest) > 1:
        usable += rest + b"=" * (4 - len(rest))
    return base64.b64decode(usable)


def _unescape(found: re.Match[bytes]) -> bytes:
    if found[3]:
        return found[3]
    return _char(int(found[1] or found[2], 16))


def _char(code: int) -> bytes:
    return bytes([code]) if code < 256 else chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else b""


type Tells = Callable[[str], bool]
"""Whether a text is, or holds, something that would be masked."""


def refuse_marks(target: bytes, fields: Fields, body: bytes, view: MaskView, marks: MarkMaker, tells: Tells = lambda text: False) -> None:
    """Raise WriteBackError when the URL, a header or the body carries a mark; Unmaskable (400) when the body cannot be searched."""
    if holds_mark(target, marks):
        raise WriteBackError(_sentence("the URL"), extra={"field": "url"})
    for name, value in fields:
        if holds_mark(value, marks):
            shown = name.decode("latin-1")
            raise WriteBackError(_sentence(f"the header {shown}"), extra={"field": f"header:{shown.lower()}"})
    plain = _decoded(fields, body, view)
    if holds_mark(plain, marks):
        pointer = next(_places(_parse(plain), marks), "")
        raise WriteBackError(_sentence(f"the field {pointer}" if pointer else "the body"), extra={"field": pointer or "body"})
    refuse_moves(plain, view, tells)


def _decoded(fields: Fields, body: bytes, view: MaskView) -> bytes:
    if not body:
        return b""
    try:
        return encodings.decode(body, encodings.coding_of(values(fields, b"content-encoding")), view.limits)
    except Unmaskable as error:
        raise Unmaskable(error.reason, code="request-unmaskable") from error


def _sentence(where: str) -> str:
    return f"This is a mask: {where} carries a value that Guardhouse masked. Leave the field out and send the rest."


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _places(value: Any, marks: MarkMaker, pointer: str = "") -> Iterator[str]:
    """JSON pointers of the strings (or keys) that hold a mark."""
    if isinstance(value, str):
        if holds_mark(value.encode("utf-8", "surrogatepass"), marks):
            yield pointer
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, marks, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, marks, f"{pointer}/{index}")


def refuse_moves(body: bytes, view: MaskView, tells: Tells) -> None:
    """Raise WriteBackError for a JSON Patch that copies, moves or tests around a masked place."""
    if b'"op"' not in body and b"\\u" not in body:
        return
    document = _parse(body)
    if not isinstance(document, list):
        return
    for step in document:
        if isinstance(step, dict) and isinstance(step.get("op"), str) and step["op"].lower() in MOVES:
            if any(tells(text) for text in _texts(step.get("value"), 0)):
                raise WriteBackError(
                    "A JSON Patch may not test for a value that would be masked. Leave that step out.", extra={"field": "body"}
                )
            for pointer in _pointers(step):
                if covers_pointer(view, pointer):
                    raise WriteBackError(
                        f"A JSON Patch may not {step['op'].lower()} a masked place: {pointer or '/'}. Leave that step out.",
                        extra={"field": pointer},
                    )


def _pointers(step: dict[str, Any]) -> Iterable[str]:
    """`from`, `path`, and every place inside the value that `test` compares."""
    for name in ("from", "path"):
        if isinstance(step.get(name), str):
            yield step[name]
    if step["op"].lower() == "test" and isinstance(step.get("path"), str):
        yield from _inside(step.get("value"), step["path"], 0)


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list) and depth < 32:
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item, depth + 1)


def _inside(value: Any, pointer: str, depth: int) -> Iterator[str]:
    if depth > 32:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{pointer}/{escape(key)}"
            yield from _inside(item, f"{pointer}/{escape(key)}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _inside(item, f"{pointer}/{index}", depth + 1)
