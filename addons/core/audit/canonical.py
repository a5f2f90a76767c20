"""The exact bytes of an event, and the hashes over them (design/audit.md 3.4). Change nothing here: old logs must verify.

    commit(f) = SHA256( 0x02 || salt[16] || u16(len name) || name || value )
    core_hash = SHA256( 0x03 || core )
    leaf_data = 0x01 || u64(seq) || core_hash || u16(n) || for each field by name: u16(len name) || name || commit
    leaf      = SHA256( 0x00 || leaf_data )

Integers are big-endian, names ASCII. Every field is committed under a salt of its own, so a field can be erased (salt and
value dropped, commitment kept) and the leaf still verifies, and nobody can confirm a guessed value from its commitment.

`pack` puts the fields of an event into one blob for the store. Its layout is not hashed; what it holds is.
"""

import hashlib
import secrets
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from addons.core.wire import jcs

SALT_SIZE = 16
HASH_SIZE = 32


class Kept(IntEnum):
    """Where the value of a field is."""

    ERASED = 0
    INLINE = 1
    BLOB = 2


@dataclass(frozen=True, slots=True)
class Field:
    """One committed field. An erased one has neither salt nor value; of one in a blob, `value` is None until it is fetched."""

    name: str
    commit: bytes
    kept: Kept
    salt: bytes = b""
    value: bytes | None = None

    @property
    def holds(self) -> bool:
        """True when salt and value give the commitment. A field whose value is not at hand does not hold."""
        return self.value is not None and commitment(self.name, self.salt, self.value) == self.commit

    def with_value(self, value: bytes) -> "Field":
        """The same field with its value fetched from the blob."""
        return replace(self, value=value)


def core_bytes(core: Mapping[str, Any]) -> bytes:
    """Return the canonical core. Raises ValueError for what has no canonical form."""
    return jcs.canonical(dict(core))


def commitment(name: str, salt: bytes, value: bytes) -> bytes:
    """Return the salted commitment of one field; the value stands last, so a stream can be hashed."""
    encoded = name.encode("ascii")
    digest = hashlib.sha256(b"\x02" + salt + struct.pack(">H", len(encoded)) + encoded)
    digest.update(value)
    return digest.digest()


def commit_fields(fields: Mapping[str, bytes]) -> tuple[Field, ...]:
    """Commit every field under a fresh salt, in the order of the leaf (by name, bytewise)."""
    made = []
    salts = secrets.token_bytes(SALT_SIZE * len(fields))  # one call to the system's random source for all
    for at, name in enumerate(sorted(fields)):
        salt = salts[at * SALT_SIZE : (at + 1) * SALT_SIZE]
        made.append(Field(name, commitment(name, salt, fields[name]), Kept.INLINE, salt, fields[name]))
    return tuple(made)


def core_hash(core: bytes) -> bytes:
    """Return the hash of the canonical core."""
    return hashlib.sha256(b"\x03" + core).digest()


def leaf_data(seq: int, core: bytes, fields: Iterable[Field]) -> bytes:
    """Return what the leaf commits to: the number, the core and every field's commitment."""
    ordered = sorted(fields, key=lambda f: f.name)
    parts = [b"\x01", struct.pack(">Q", seq), core_hash(core), struct.pack(">H", len(ordered))]
    for one in ordered:
        encoded = one.name.encode("ascii")
        parts += [struct.pack(">H", len(encoded)), encoded, one.commit]
    return b"".join(parts)


def leaf(seq: int, core: bytes, fields: Iterable[Field]) -> bytes:
    """Return the RFC 6962 leaf hash of an event."""
    return hashlib.sha256(b"\x00" + leaf_data(seq, core, fields)).digest()


def pack(fields: Sequence[Field]) -> bytes:
    """Return the fields as one blob: u8 length, name, flag, commit; then salt; then u32 length and value when inline."""
    parts = []
    for one in fields:
        encoded = one.name.encode("ascii")
        parts += [bytes([len(encoded)]), encoded, bytes([one.kept]), one.commit]
        if one.kept is not Kept.ERASED:
            parts.append(one.salt)
        if one.kept is Kept.INLINE:
            value = one.value or b""
            parts += [struct.pack(">I", len(value)), value]
    return b"".join(parts)


def unpack(data: bytes) -> tuple[Field, ...]:
    """Return the fields of a packed blob. Raises ValueError for anything that `pack` would not write."""
    made: list[Field] = []
    at = 0
    while at < len(data):
        one, at = _unpack_one(data, at)
        if made and one.name <= made[-1].name:
            raise ValueError("fields are not in order")
        made.append(one)
    return tuple(made)


def _unpack_one(data: bytes, at: int) -> tuple[Field, int]:
    size = data[at]
    name = data[at + 1 : at + 1 + size].decode("ascii")
    at += 1 + size
    if at >= len(data) or not name:
        raise ValueError("a field is cut")
    kept = Kept(data[at])
    commit, at = _take(data, at + 1, HASH_SIZE)
    if kept is Kept.ERASED:
        return Field(name, commit, kept), at
    salt, at = _take(data, at, SALT_SIZE)
    if kept is Kept.BLOB:
        return Field(name, commit, kept, salt), at
    length, at = _take(data, at, 4)
    value, at = _take(data, at, struct.unpack(">I", length)[0])
    return Field(name, commit, kept, salt, value), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    piece = data[at : at + size]
    if len(piece) != size:
        raise ValueError("a field is cut")
    return piece, at + size
