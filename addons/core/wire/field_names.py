"""Names of header fields as they may be stored: whoever sends a message chooses them, so one may be a value in disguise."""

import re
from collections.abc import Callable

_PLAIN = re.compile(r"[a-z]{1,24}[0-9]{0,3}(?:-[a-z]{1,24}[0-9]{0,3})*", re.IGNORECASE | re.ASCII)
_JOINTS = re.compile(r"([-_.])")


def stored_name(name: str, mask: Callable[[str], str]) -> str:
    """The name itself when it is words and small numbers, as all of the registered ones are; else its masked form."""
    if len(name) <= 64 and _PLAIN.fullmatch(name):
        return name
    masked = mask(name)
    return masked if masked != name else "".join(mask(word) for word in _JOINTS.split(name))
