"""The columns that exist for indexes, derived from the core and the fields; `verify` derives them again and compares.

An erased field takes its columns with it, so they are derived from what is still there.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from addons.core.audit.events import EFFECTS, KINDS, STAGES
from addons.core.audit.store import Columns

_HEX = re.compile(r"(?:[0-9a-f]{16}|[0-9a-f]{32})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
SMALL = 4096
INDEXED_TEXT = 2048  # a longer path is cut in the column; the field holds it whole


def columns_of(core: Mapping[str, Any], fields: Mapping[str, bytes]) -> Columns:
    """Return the columns of an event. Values of a wrong type are left out, never guessed."""
    principal, purpose, client, upstream = (_small(fields.get(name)) for name in ("principal", "purpose", "client", "upstream"))
    return Columns(
        ts_us=_number(core.get("ts_us")) or 0,
        stage=STAGES.get(str(core.get("stage")), 0),
        kind=KINDS.get(str(core.get("kind")), 0),
        flow=pack_id(_text(core.get("flow"))),
        session=pack_id(_text(core.get("session"))),
        trace=pack_id(_text(core.get("trace"))),
        span=pack_id(_text(core.get("span"))),
        parent=pack_id(_text(core.get("parent"))),
        principal=_principal(principal),
        service=_text(core.get("service")),
        purpose=_text(purpose.get("label")),
        verb=_text(core.get("verb")),
        path=_path(fields.get("path")),
        status=_number(core.get("status")),
        effect=EFFECTS.get(str(core.get("effect"))),
        dur_us=_number(core.get("dur_us")),
        client=_text(client.get("ip")),
        upstream=_text(upstream.get("address")),
        approval=_text(core.get("approval")),
    )


def pack_id(value: str | None) -> bytes | None:
    """Return an id as the bytes of its column: 16 for a UUID or trace id, 8 for a span id, else its own text."""
    if not value:
        return None
    if _UUID.fullmatch(value):
        return bytes.fromhex(value.replace("-", ""))
    if _HEX.fullmatch(value):
        return bytes.fromhex(value)
    return value.encode("utf-8")


def _principal(value: Mapping[str, Any]) -> tuple[str, str, str] | None:
    issuer, subject = _text(value.get("issuer")), _text(value.get("subject"))
    return None if issuer is None or subject is None else (issuer, subject, _text(value.get("kind")) or "")


def _path(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")[:INDEXED_TEXT]


def _small(value: bytes | None) -> Mapping[str, Any]:
    """The parsed object of a field; a huge one is parsed, and not remembered."""
    return _object.__wrapped__(value) if value is not None and len(value) > SMALL else _object(value)


@lru_cache(maxsize=2048)  # principals, purposes and clients come back with every event
def _object(value: bytes | None) -> Mapping[str, Any]:
    if not value:
        return {}
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _text(value: Any) -> str | None:
    """Text that SQLite can hold: a NUL would end it for other readers, a lone surrogate has no UTF-8."""
    if not isinstance(value, str):
        return None
    if value.isascii() and "\x00" not in value:
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
