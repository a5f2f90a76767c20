"""JSON as two readers would both read it: for tokens, webhooks and signal files.

`json.loads` takes UTF-16, a byte order mark, duplicate keys (the last wins), NaN and any depth; each of these lets two
readers see two documents. Here all of them are refused.
"""

import json
import re
from typing import Any

_NESTING = re.compile(r'[\[{\]}]|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # a bracket, or a whole string; linear, also unclosed
_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_DEPTH = 16  # tokens and decisions are flat; RFC 8259 section 9 lets a parser set its own limit


class StrictJsonError(ValueError):
    """The bytes are not one unambiguous JSON document. The text names the rule, never the content."""


def loads(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse strict UTF-8 JSON. Raises StrictJsonError for a BOM, bad UTF-8, duplicate keys, NaN, lone surrogates or too much depth."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise StrictJsonError("byte order mark")
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise StrictJsonError("not UTF-8") from error
    if _too_deep(text, max_depth):
        raise StrictJsonError("too deep")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except StrictJsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise StrictJsonError("not JSON") from error
    _no_surrogates(value)
    return value


def load_object(data: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse a strict JSON object. Raises StrictJsonError for any other value."""
    value = loads(data, max_depth=max_depth)
    if not isinstance(value, dict):
        raise StrictJsonError("not an object")
    return value


def _too_deep(text: str, max_depth: int) -> bool:
    depth = 0
    for found in _NESTING.finditer(text):
        if found[0][0] in "[{":
            depth += 1
            if depth > max_depth:
                return True
        elif found[0][0] in "]}":
            depth -= 1
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise StrictJsonError("duplicate key")
        result[name] = value
    return result


def _no_constant(name: str) -> Any:
    raise StrictJsonError("NaN or Infinity")


def _no_surrogates(value: Any) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise StrictJsonError("lone surrogate")
    elif isinstance(value, dict):
        for name, item in value.items():
            _no_surrogates(name)
            _no_surrogates(item)
    elif isinstance(value, list):
        for item in value:
            _no_surrogates(item)
