"""The key a log is signed with, and the pin that says whose signatures count.

The private key is a file of its own in the state folder (never derived from the root key: a log key must be deletable).
The pin is the public key and origin, written beside it by the first start; a person takes it elsewhere with
`guardhouse witness pin`. A lost key file never becomes a silent new first key: the log goes on under an *unlinked* key and
`verify` answers 2 until a person pins it.

Epoch keys (a new key per day and start) are full work; `log_key` rows and key ids are already as they will need them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from addons.core.audit.note import Checkpoint, LogKey, NoteError, Signature

KEY_FILE = "log.key"
PIN_FILE = "log.pin"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs checkpoints of one origin. Its repr never shows the key."""

    origin: str
    _private: Ed25519PrivateKey

    @property
    def key(self) -> LogKey:
        """The public half."""
        return LogKey(self.origin, self._private.public_key().public_bytes_raw())

    def sign(self, size: int, root: bytes) -> Checkpoint:
        """Return the signed checkpoint of a tree."""
        unsigned = Checkpoint(self.origin, size, root)
        return Checkpoint(self.origin, size, root, (Signature(self.origin, self.key.key_id, self._private.sign(unsigned.body())),))

    def __repr__(self) -> str:
        return f"Signer({self.origin!r}, ***)"


def signer_from(seed: bytes, origin: str) -> Signer:
    """Return a signer from its 32 private bytes."""
    return Signer(origin, Ed25519PrivateKey.from_private_bytes(seed))


def load_signer(state: Path, origin: str) -> Signer | None:
    """Return the signer of the state folder, None when there is no key file. Raises ValueError for a file that is no key."""
    path = state / KEY_FILE
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(seed) != 32:
        raise ValueError(f"{KEY_FILE} in the state folder is not an Ed25519 key")
    return signer_from(seed, origin)


def make_signer(state: Path, origin: str) -> Signer:
    """Make the key file (0600, never over an old one) and return its signer."""
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    write_new(state / KEY_FILE, seed)
    return signer_from(seed, origin)


def write_pin(state: Path, key: LogKey) -> None:
    """Write the pin of a new log. Raises FileExistsError when there is one: a pin is replaced by people only."""
    write_new(state / PIN_FILE, (key.text() + "\n").encode())


def read_pins(path: Path) -> tuple[LogKey, ...]:
    """Return the pinned keys, the first key of the log first. Raises NoteError or OSError."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise NoteError("the pin file is empty")
    return tuple(LogKey.parse(line) for line in lines)


def import_pin(state: Path, key: LogKey) -> bool:
    """Add a key to the pins of the state folder. False when it was pinned already. Raises NoteError for another log's key."""
    path = state / PIN_FILE
    pins = read_pins(path) if path.exists() else ()
    if key in pins:
        return False
    if any(pin.origin != key.origin for pin in pins):
        raise NoteError("this key is of another log (its origin differs)")
    with path.open("a", encoding="utf-8") as file:
        file.write(key.text() + "\n")
    path.chmod(0o600)
    return True


def write_new(path: Path, data: bytes) -> None:
    """Write a file that did not exist, readable by its owner only, and make it durable."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the name of a new file durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
