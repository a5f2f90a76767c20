"""The transcript of a WebSocket: its messages in order, as the record has them. Reads events, knows no store.

Everything in it was masked before it was stored. A message beyond the cap of its session has its length and digest only.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KIND = "ws"  # of the events that a transcript is made of


@dataclass(frozen=True, slots=True)
class Line:
    """One message, or the control frames between two."""

    seq: int
    ts_us: int
    number: int | None
    side: str  # client | upstream | gateway
    kind: str  # text | binary | control
    is_passed: bool
    size: int
    content: str  # masked; empty when it is not kept
    reason: str = ""  # why it was refused
    rules: tuple[str, ...] = ()
    approval: str | None = None
    operation: str = ""


def lines(events: Iterable[Mapping[str, Any]]) -> list[Line]:
    """The transcript of these events of one flow (as `guardhouse show --json` has them), in the order of the log."""
    return [_line(event) for event in events if event.get("kind") == KIND and event.get("stage") == "Mark"]


def _line(event: Mapping[str, Any]) -> Line:
    core, fields = event.get("core") or {}, event.get("fields") or {}
    operation = fields.get("operation")
    return Line(
        seq=event["seq"],
        ts_us=event["ts_us"],
        number=core.get("number"),
        side=str(core.get("side", "")),
        kind=str(core.get("verb", "")),
        is_passed=bool(core.get("passed", True)),
        size=int(core.get("bytes", 0)),
        content=_content(fields),
        reason=str(fields.get("reason", "")),
        rules=tuple(core.get("rules") or ()),
        approval=core.get("approval"),
        operation=str(operation.get("text", "")) if isinstance(operation, Mapping) else "",
    )


def _content(fields: Mapping[str, Any]) -> str:
    for name in ("chunk", "note"):
        value = fields.get(name)
        if value is not None:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ""
