"""The tree over the leaves: RFC 6962 section 2, with no additions of our own.

A hybrid "linear part and tree" had a real forgery hole in another product (GHSA-672p-m5jq-mrh8), so this is the plain
tree, and the tests try every size up to 69 with every single bit of a proof changed.

The `Frontier` is all a writer needs to go on: one hash for each complete subtree on the right edge, largest first, so as
many as the size has one-bits. `inclusion` and `consistency` make proofs from the leaves; `verify_*` check them with the
algorithms of RFC 9162 section 2.1.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

EMPTY = hashlib.sha256(b"").digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree of `size` leaves. Immutable: a transaction that fails simply keeps the old one."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def extend(self, leaves: Sequence[bytes]) -> "Frontier":
        """Return the frontier after these leaves."""
        size, hashes = self.size, list(self.hashes)
        for leaf in leaves:
            carry, bits = leaf, size
            while bits & 1:
                carry = node(hashes.pop(), carry)
                bits >>= 1
            hashes.append(carry)
            size += 1
        return Frontier(size, tuple(hashes))

    def root(self) -> bytes:
        """Return the root of the tree."""
        if not self.hashes:
            return EMPTY
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node(left, root)
        return root

    def to_bytes(self) -> bytes:
        """Return the hashes, one after the other; the size is kept beside them."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Read a stored frontier. Raises ValueError when the number of hashes does not fit the size."""
        if size < 0 or len(data) != 32 * size.bit_count():
            raise ValueError("the frontier does not fit its size")
        return cls(size, tuple(data[at : at + 32] for at in range(0, len(data), 32)))


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of these leaves."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return node(root_of(leaves[:split]), root_of(leaves[split:]))


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of the leaf at `index` (zero-based: seq - 1), from leaf to root."""
    if not 0 <= index < len(leaves):
        raise ValueError("no such leaf")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion(leaves[:split], index), root_of(leaves[split:])]
    return [*inclusion(leaves[split:], index - split), root_of(leaves[:split])]


def consistency(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """Return the proof that the tree of the first `old` leaves is a prefix of this one."""
    if not 0 < old <= len(leaves):
        raise ValueError("no such size")
    return _subproof(leaves, old, whole=True)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """True when the proof shows that `leaf` stands at `index` in the tree of this size and root."""
    if not 0 <= index < size:
        return False
    fn, sn, found = index, size - 1, leaf
    for piece in proof:
        if sn == 0 or len(piece) != 32:
            return False
        if fn & 1 or fn == sn:
            found = node(piece, found)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            found = node(found, piece)
        fn >>= 1
        sn >>= 1
    return sn == 0 and found == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """True when the proof shows that the old tree is a prefix of the new one."""
    if not 0 < old <= new or any(len(piece) != 32 for piece in proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    first = second = path[0]
    for piece in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node(piece, first), node(piece, second)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            second = node(second, piece)
        fn >>= 1
        sn >>= 1
    return sn == 0 and first == old_root and second == new_root


def _subproof(leaves: Sequence[bytes], old: int, *, whole: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [root_of(leaves)]
    split = _split(len(leaves))
    if old <= split:
        return [*_subproof(leaves[:split], old, whole=whole), root_of(leaves[split:])]
    return [*_subproof(leaves[split:], old - split, whole=False), root_of(leaves[:split])]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
