"""Masks one WebSocket message: JSON or text by its content. A binary message is Unmaskable unless its subprotocol is let pass.

The books of a session add up over its messages and stay bounded, however many there are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.core.errors import Unmaskable
from addons.core.exchange import Exchange
from addons.core.masking.answer import Terms, scrub
from addons.core.masking.body_mask import BodyMasker
from addons.core.masking.detector import Detector
from addons.core.masking.leaf_mask import Tools
from addons.core.masking.receipt import MAX_FIELDS, MAX_ROWS, Tally
from addons.core.masking.transforms import Transformer

TEXT = "text/plain; charset=utf-8"  # read as JSON when it is JSON


@dataclass(frozen=True, slots=True)
class MaskedMessage:
    """What may be passed on, and the books of this one message."""

    content: bytes
    counts: Mapping[str, int] = field(default_factory=dict)
    receipt: list[dict[str, Any]] = field(default_factory=list)
    fields_seen: Mapping[str, int] = field(default_factory=dict)


def check_kind(is_text: bool, subprotocol: str, pass_media: tuple[str, ...], masks: bool) -> None:
    """Refuse a binary message that nobody vouches for, where anything is masked at all."""
    if not is_text and masks and (not subprotocol or subprotocol not in pass_media):
        raise Unmaskable("media", detail="a binary message; `pass_media` in masking.yaml may name the subprotocol")


def mask_message(
    content: bytes, is_text: bool, terms: Terms, detector: Detector, transformer: Transformer, alive: Callable[[], None]
) -> MaskedMessage:
    """The message without the injected credential and with its values masked. Raises Unmaskable."""
    tally = Tally()
    plain = scrub(content, terms.scrub, transformer, tally)
    if is_text and terms.view is not None:
        plain = BodyMasker(Tools(detector, transformer, terms.view, terms.place, tally, alive)).mask(plain, TEXT)
    return MaskedMessage(plain, dict(tally.counts), tally.receipt(), dict(tally.seen))


def add(record: Exchange, made: MaskedMessage) -> None:
    """Enter the books of a message into those of its session."""
    for info_type, count in made.counts.items():
        record.masked[info_type] = record.masked.get(info_type, 0) + count
    rows = {_row(entry): entry for entry in record.receipt}
    for entry in made.receipt:
        if (known := rows.get(_row(entry))) is not None:
            known["count"] += entry["count"]
        elif len(record.receipt) < MAX_ROWS:
            record.receipt.append(dict(entry))
    for path, count in made.fields_seen.items():
        if path in record.fields_seen or len(record.fields_seen) < MAX_FIELDS:
            record.fields_seen[path] = record.fields_seen.get(path, 0) + count


def _row(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in ("profile", "info_type", "path", "transform", "revealed"))
