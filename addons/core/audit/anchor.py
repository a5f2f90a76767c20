"""The witness file: checkpoints kept outside the database, so that a log cut back to an older state is found.

Without an anchor, rows and checkpoints cut together verify clean. The file is a sequence of signed notes, each followed by
a blank line, appended and made durable; in production it lies on other storage. A note cut by a crash is reported, not
trusted; a whole note that does not verify is evidence against the log.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addons.core.audit import keys
from addons.core.audit.note import Checkpoint, NoteError, Signature, parse
from addons.core.audit.store import Checkpointed
from addons.core.clock import Clock
from addons.core.config.model import AuditTerms

logger = logging.getLogger(__name__)

MARK = "— "
SIGNATURE_SIZE = 64  # a shorter one is a cut write that happens to be base64


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a witness file says."""

    checkpoints: tuple[Checkpoint, ...]
    damaged: int = 0  # pieces that are no note: a cut write, or a hand in the file

    @property
    def newest(self) -> Checkpoint | None:
        """The anchor of the largest size."""
        return max(self.checkpoints, key=lambda c: c.size, default=None)


def read(path: Path) -> Anchors:
    """Read a witness file. Raises OSError when it cannot be read; a missing file is FileNotFoundError."""
    found: list[Checkpoint] = []
    damaged = 0
    for piece in _pieces(path.read_text("utf-8", "replace")):
        try:
            checkpoint = parse(piece)
        except NoteError:
            damaged += 1
            continue
        if all(len(s.value) == SIGNATURE_SIZE for s in checkpoint.signatures if s.name == checkpoint.origin):
            found.append(checkpoint)
        else:
            damaged += 1
    return Anchors(tuple(found), damaged)


def append(path: Path, checkpoint: Checkpoint) -> None:
    """Add one note and make it durable. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        end = os.pread(descriptor, 2, max(0, size - 2))
        prefix = b"" if size == 0 or end == b"\n\n" else b"\n\n"  # after a cut write: begin on a fresh line
        _write_all(descriptor, prefix + checkpoint.text().encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        keys.sync_folder(path.parent)


def append_all(paths: Sequence[Path], checkpoint: Checkpoint) -> list[str]:
    """Add the note to every file; return what failed, by file name. One bad place does not keep the others from it."""
    failed = []
    for path in paths:
        try:
            append(path, checkpoint)
        except OSError as error:
            failed.append(f"{path.name}: {error.strerror or type(error).__name__}")
    return failed


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _pieces(text: str) -> list[str]:
    """Cut the text after each run of signature lines; what stands between two of them is one piece."""
    pieces: list[str] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and not line and lines[-1].startswith(MARK):
            pieces.append("\n".join(lines) + "\n")
            lines = []
        elif line or lines:
            lines.append(line)
    if any(lines):
        pieces.append("\n".join(lines))
    return pieces


class Anchorer:
    """Writes the newest checkpoint to the witness files when it is time. A place that cannot be reached does not stop traffic."""

    def __init__(self, terms: AuditTerms, clock: Clock) -> None:
        self._terms, self._clock = terms, clock
        self._size, self._at = 0, clock.monotonic()
        self.failures: list[str] = []

    def is_due(self) -> bool:
        """True when the interval is over."""
        return self._clock.monotonic() - self._at >= self._terms.anchor_every

    def is_behind(self, size: int) -> bool:
        """True when so many events came since the last anchor that one is due before the interval is over."""
        return size - self._size >= self._terms.anchor_events

    def lag(self, size: int) -> float:
        """Seconds in which a rewrite would not be found; 0 when the newest event is anchored."""
        return round(self._clock.monotonic() - self._at, 3) if size > self._size else 0.0

    async def write(self, newest: Checkpointed | None) -> None:
        """Anchor this checkpoint, unless it is already."""
        if newest is None:
            return
        now = self._clock.monotonic()
        if newest.size == self._size and not self.failures:
            self._at = now
            return
        origin = self._terms.origin
        note = Checkpoint(origin, newest.size, newest.root, (Signature(origin, newest.key_id, newest.sig),))
        previous, self._size = self._size, newest.size  # so that no second one starts meanwhile
        self.failures = await asyncio.to_thread(append_all, self._terms.anchor_files, note)
        if self.failures:
            self._size = previous
            logger.warning("the witness file could not be written: %s", "; ".join(self.failures))
            return
        self._at = now
