"""Remembers the masked form of what was masked lately: the same bytes under the same rules need not be judged again.

Masking is a function of its inputs, and the key holds every one of them: bytes, names, media type, place, the engine's
configuration, the injected credential. The rules stand beside the entry: a hit counts only for the very view object it
was made under, so a reload forgets by itself. The key is a keyed digest and the value is what came out, so nothing
unmasked is kept. A refusal is never remembered: it may have been the clock that ran out.
"""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable

MAX_ENTRY = 256 << 10  # a larger result is made again: a few of them would push out everything else
MAX_TOTAL = 8 << 20
OVERHEAD = 300  # bytes that an entry costs beside its value


class Kept[Value]:
    """A map from (every input) to a result, bounded by bytes; safe to use from several threads."""

    def __init__(self, most: int = MAX_TOTAL) -> None:
        self._most = most
        self._total = 0
        self._salt = secrets.token_bytes(32)
        self._rows: OrderedDict[bytes, tuple[object, Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, parts: Iterable[bytes | str], body: bytes = b"") -> bytes:
        """The key of these inputs. Parts are length-prefixed, so that no two lists are one; the body comes last."""
        digest = hashlib.blake2b(key=self._salt, digest_size=16)
        joined = []
        for part in parts:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            joined.append(b"%d:%b" % (len(data), data))
        digest.update(b"".join(joined))
        digest.update(b"|")
        digest.update(body)
        return digest.digest()

    def get(self, key: bytes, view: object) -> Value | None:
        """What came out under this very view, None when that is not known."""
        with self._lock:
            found = self._rows.get(key)
            if found is None or found[0] is not view:
                return None
            self._rows.move_to_end(key)
            return found[1]

    def put(self, key: bytes, view: object, value: Value, size: int) -> None:
        """Remember a result of so many bytes; the least recently used ones go when there are too many."""
        if size > MAX_ENTRY:
            return
        with self._lock:
            known = self._rows.pop(key, None)
            self._rows[key] = (view, value, size + OVERHEAD)
            self._total += size + OVERHEAD - (known[2] if known else 0)
            while self._total > self._most:
                self._total -= self._rows.popitem(last=False)[1][2]
