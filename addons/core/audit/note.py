"""Checkpoints as C2SP signed notes: what is signed, and how it is written down (design/audit.md 3.5).

The body is three lines (origin, size, base64 of the root); the signature is Ed25519 over exactly these bytes. Anybody can
check one with a public key and no code of ours. The pin is a C2SP verifier key, one line of text.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ALGORITHM = b"\x01"  # Ed25519 in signed notes
ORIGIN = re.compile(r"[^\s+]{1,200}", re.ASCII)
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NoteError(ValueError):
    """The text is not a checkpoint of the form that we write."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement: the log named `origin` had `size` events and this root."""

    origin: str
    size: int
    root: bytes
    signatures: tuple[Signature, ...] = ()

    def body(self) -> bytes:
        """Return the signed bytes."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n".encode()

    def text(self) -> str:
        """Return the whole note: body, blank line, signature lines."""
        lines = [f"— {s.name} {_b64(s.key_id + s.value)}\n" for s in self.signatures]
        return self.body().decode() + "\n" + "".join(lines)

    def signed_by(self, key: "LogKey") -> bool:
        """True when one signature line is this key's, for this origin, over this body."""
        return any(s.name == self.origin and s.key_id == key.key_id and key.verifies(s.value, self.body()) for s in self.signatures)


@dataclass(frozen=True, slots=True)
class LogKey:
    """A public key of a log, with the origin it speaks for."""

    origin: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signature line."""
        return hashlib.sha256(self.origin.encode() + b"\n" + ALGORITHM + self.public).digest()[:4]

    def verifies(self, signature: bytes, body: bytes) -> bool:
        """True when this key made the signature."""
        try:
            _public(self.public).verify(signature, body)
        except (InvalidSignature, ValueError):
            return False
        return True

    def text(self) -> str:
        """The verifier key as one line: `<origin>+<key id>+<base64>`."""
        return f"{self.origin}+{self.key_id.hex()}+{_b64(ALGORITHM + self.public)}"

    @classmethod
    def parse(cls, line: str) -> "LogKey":
        """Read a verifier key. Raises NoteError."""
        parts = line.strip().split("+", 2)
        if len(parts) != 3 or not ORIGIN.fullmatch(parts[0]):
            raise NoteError("not a verifier key: expected <origin>+<key id>+<base64>")
        raw = _unb64(parts[2])
        if len(raw) != 33 or raw[:1] != ALGORITHM:
            raise NoteError("not an Ed25519 verifier key")
        key = cls(parts[0], raw[1:])
        if key.key_id.hex() != parts[1]:
            raise NoteError("the key id does not belong to this key")
        return key


@lru_cache(maxsize=16)
def _public(data: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(data)


def parse(text: str) -> Checkpoint:
    """Read one note. Raises NoteError for anything that `Checkpoint.text` would not write."""
    head, blank, tail = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or len(lines) != 3:
        raise NoteError("a checkpoint has three lines, a blank line and signatures")
    if not ORIGIN.fullmatch(lines[0]) or not _SIZE.fullmatch(lines[1]):
        raise NoteError("bad origin or size")
    root = _unb64(lines[2])
    if len(root) != 32 or not tail.endswith("\n"):
        raise NoteError("bad root or cut note")
    signatures = tuple(_signature(line) for line in tail[:-1].split("\n"))
    return Checkpoint(lines[0], int(lines[1]), root, signatures)


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise NoteError("bad signature line")
    raw = _unb64(parts[2])
    if len(raw) < 5:
        raise NoteError("bad signature line")
    return Signature(parts[1], raw[:4], raw[4:])


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("bad base64") from error
