"""What an audit event is: a fixed core that is never personal, and fields that can each be erased.

The core is plain data (strings, integers, booleans, lists, objects; no floats, no null: a key without a value is left
out). A field is bytes under a name. What lies outside both proves nothing, so every column of the store is a copy of one
of them. Stages and kinds are stored as the small integers beside them; the numbers are part of the format and never
change their meaning. Encoding and hashing stand in `canonical`.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from addons.core.wire import jcs

VERSION = 1

STAGES: Mapping[str, int] = {
    "RequestReceived": 1,
    "ResponseStarted": 2,
    "ResponseComplete": 3,
    "Denied": 4,
    "Interrupted": 5,
    "Failed": 6,
    "Panic": 7,
    "Mark": 8,
}
TERMINAL = frozenset({"ResponseComplete", "Denied", "Interrupted", "Failed", "Panic"})
KINDS: Mapping[str, int] = {
    name: number
    for number, name in enumerate(
        [
            "http",
            "ws",
            "exec",
            "chunk",
            "session",
            "approval",
            "policy",
            "config",
            "auth",
            "connection",
            "suppressed",
            "unseal",
            "read",
            "export",
            "replay",
            "purge",
            "erase",
            "legal",
            "key",
            "anchor",
            "heartbeat",
            "log",
        ],
        start=1,
    )
}
EFFECTS: Mapping[str, int] = {"allow": 1, "deny": 2, "hold": 3}
STAGE_NAMES = {number: name for name, number in STAGES.items()}
KIND_NAMES = {number: name for name, number in KINDS.items()}

NAME = re.compile(r"[a-z0-9_.]{1,64}", re.ASCII)
CORE_LIMIT = 64 << 10  # a core is rule names, ids and counts; more is somebody's body in the wrong place
FIELD_LIMIT = 64 << 20  # the decoded cap of masking.yaml: nothing larger was ever let through


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, before it has a number. The log adds `v ts_us mono_us replica boot snapshot stage kind`."""

    stage: str
    kind: str
    core: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def flow(self) -> str | None:
        """The flow it belongs to, None for what is outside a flow's life."""
        flow = self.core.get("flow")
        return flow if isinstance(flow, str) else None

    @property
    def is_begin(self) -> bool:
        """True for the intent of a flow, which owes exactly one terminal."""
        return self.stage == "RequestReceived"

    @property
    def is_terminal(self) -> bool:
        """True for the one event that ends a flow."""
        return self.stage in TERMINAL


def make(stage: str, kind: str, core: Mapping[str, Any] | None = None, fields: Mapping[str, bytes | None] | None = None) -> Event:
    """Return a valid event; keys and fields without a value (None) are left out. Raises ValueError."""
    event = Event(
        stage,
        kind,
        {name: value for name, value in (core or {}).items() if value is not None},
        {name: value for name, value in (fields or {}).items() if value is not None},
    )
    check(event)
    return event


def check(event: Event) -> None:
    """Raise ValueError for an event that has no exact encoding. The text names the key, never the value."""
    if event.stage not in STAGES:
        raise ValueError("unknown stage")
    if event.kind not in KINDS:
        raise ValueError("unknown kind")
    if event.stage != "Mark" and event.flow is None:
        raise ValueError(f"{event.stage} needs a flow")
    for name, value in event.core.items():
        _check_name(name)
        _check_value(name, value)
    for name, data in event.fields.items():
        _check_name(name)
        if not isinstance(data, bytes):
            raise ValueError(f"field {name} is not bytes")
        if len(data) > FIELD_LIMIT:
            raise ValueError(f"field {name} is too large")


def json_field(value: Any) -> bytes:
    """Return the canonical JSON of a structured field. Strings that are not Unicode text are escaped, never refused."""
    return jcs.encode(_presentable(value))


def text(data: bytes) -> Any:
    """Return bytes as text, or as `{"b64": ...}` when they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode("ascii")}


@lru_cache(maxsize=1024)  # names are few and come back with every event
def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("a key that is not [a-z0-9_.]+")


def _key(name: Any) -> str:
    text = name if type(name) is str else str(name)
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode("ascii")


def _check_value(name: str, value: Any) -> None:
    kind = type(value)
    if kind is str or kind is int:
        return
    if value is None:
        raise ValueError(f"core key {name} has no value; leave it out")
    if isinstance(value, list | tuple):
        for item in value:
            _check_value(name, item)
    elif isinstance(value, Mapping):
        for item in value.values():
            _check_value(name, item)
    elif isinstance(value, float):
        raise ValueError(f"core key {name} is a float")


def _presentable(value: Any) -> Any:
    """Make anything canonical: floats as text, lone surrogates and non-ASCII keys escaped, foreign types by their name."""
    kind = type(value)
    if kind is str and value.isascii():
        return value
    if value is None or kind is bool:
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= jcs.MAX_INT else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if kind is dict or isinstance(value, Mapping):
        return {_key(name): _presentable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_presentable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_presentable(item) for item in value), key=repr)
    return f"<{type(value).__name__}>"
