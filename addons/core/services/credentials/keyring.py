"""One root key, and a key of its own for each purpose: HKDF-SHA256 with the purpose as label.

Nobody uses the root key itself, and no two parts share a key, so that what one part shows (a mask, a digest, a span id)
says nothing about another's. An override in gateway.yaml replaces the derived key of its label.
"""

from collections.abc import Mapping
from typing import NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_SIZE = 32
LABELS = (
    "masking", "approval-mac", "approval-digest", "evidence", "blob-address", "value-tags", "api-key-pepper", "span-id", "page-session",
)  # fmt: skip


class KeyRing:
    """Keys by label. It shows none of them: repr is `***`, and it cannot be pickled."""

    __slots__ = ("_keys",)

    def __init__(self, root: bytes, overrides: Mapping[str, bytes]) -> None:
        if len(root) != KEY_SIZE or any(len(key) != KEY_SIZE for key in overrides.values()):
            raise ValueError(f"a key has {KEY_SIZE} bytes")
        if unknown := sorted(set(overrides) - set(LABELS)):
            raise ValueError(f"unknown key label: {unknown[0]}")
        self._keys = {label: overrides.get(label) or _derive(root, label) for label in LABELS}

    def derive(self, label: str) -> bytes:
        """The 32 bytes of this label. A label that is not listed is a mistake in the program: KeyError."""
        return self._keys[label]

    def __repr__(self) -> str:
        return "KeyRing(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are never pickled or copied")


def _derive(root: bytes, label: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=label.encode()).derive(root)
