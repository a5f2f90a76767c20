"""Remembers what the detector said of a text.

The key holds every input of the verdict: the text, the key words, the neighbours, the info types asked for and the
engine's configuration. With less, a text first shown in a harmless context would plant "nothing found" for all others.
The value is spans only; the text itself is in the cache as a keyed hash, and leaves above 4 KB are not kept.
"""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence

from addons.core.masking.spans import Span

SIZE = 65_536
MAX_TEXT = 4096


class VerdictCache:
    """A bounded map from (every input) to spans; safe to use from several threads."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._salt = secrets.token_bytes(16)
        self._rows: OrderedDict[bytes, tuple[Span, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, inputs: Sequence[str]) -> bytes:
        """The key of these inputs; parts are length-prefixed, so that no two lists are one."""
        joined = "".join(f"{len(part)}:{part}" for part in inputs)
        return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=16).digest()

    def get(self, key: bytes) -> tuple[Span, ...] | None:
        with self._lock:
            found = self._rows.get(key)
            if found is not None:
                self._rows.move_to_end(key)
            return found

    def put(self, key: bytes, spans: tuple[Span, ...]) -> None:
        with self._lock:
            self._rows[key] = spans
            if len(self._rows) > self._size:
                self._rows.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()
