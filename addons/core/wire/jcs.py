"""Canonical JSON (RFC 8785) for what is hashed, signed or compared.

In the subset that Guardhouse allows (strings, integers, booleans, null, lists, objects with ASCII keys) Python's own
encoder gives exactly the JCS form. Floats are refused, and so are lone surrogates: neither has one spelling.
"""

import hashlib
import json
from typing import Any

MAX_INT = (1 << 53) - 1
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> bytes:
    """Return the one spelling of `value`. Raises ValueError for a float, a large integer, a lone surrogate or a non-ASCII key."""
    _check(value)
    return encode(value)


def encode(value: Any) -> bytes:
    """Return the canonical form of what is known to have one."""
    return _ENCODER.encode(value).encode("utf-8")


def digest(value: Any) -> str:
    """Return `sha-256:` and the hex SHA-256 of the canonical form."""
    return "sha-256:" + hashlib.sha256(canonical(value)).hexdigest()


def _check(value: Any) -> None:
    kind = type(value)
    if kind is str or kind is bool or value is None or isinstance(value, str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INT:
            raise ValueError("an integer beyond 2^53-1 has no canonical form")
        return
    if isinstance(value, list | tuple):
        for item in value:
            _check(item)
        return
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str) or not name.isascii():
                raise ValueError("a key that is not ASCII text has no canonical form here")
            _check(item)
        return
    raise ValueError(f"a {type(value).__name__} has no canonical form")
