"""References to secrets, resolved when they are used: `env:` `file:` `state:` `auto`.

A file is read again when it was replaced or touched, so secrets that an agent or Kubernetes rotates are in use at the
next request, without a restart. A file that others can read, or that somebody else could have written, is refused: it is
not a secret. What is resolved is a `Secret`, which shows itself to nobody who does not ask for it by name.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets as random
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from addons.core.config.model import Reference, Snapshot
from addons.core.errors import ConfigError, ConfigProblem, CredentialError
from addons.core.services.credentials.keyring import KEY_SIZE, KeyRing

MAX_SECRET = 64 << 10  # a token, a key, a certificate; Kubernetes caps a whole Secret at 1 MiB
ROOT_KEY = "root-key"


class Secret:
    """A secret value. Only `reveal()` gives it away; str, repr, JSON, pickling and copying do not."""

    __slots__ = ("_value", "version")

    def __init__(self, value: bytes, version: str) -> None:
        self._value = value
        self.version = version  # which edition of it this is; says nothing about the value

    def reveal(self) -> bytes:
        """The value itself, for the one place that uses it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are never pickled or copied")


class Secrets:
    """Resolves references for one state folder and one environment."""

    def __init__(self, state: Path, environ: Mapping[str, str]) -> None:
        self._state = state
        self._environ = environ
        self._seen: dict[Path, tuple[tuple[int, int, int], Secret]] = {}

    def resolve(self, ref: Reference) -> Secret:
        """The secret as it is now. Raises CredentialError; its detail names the reference, never the value.

        A credential that says `auto` is made at its first use; a key that says so is not (see `open_keys`).
        """
        if ref.scheme == "env":
            return self._from_environment(ref)
        path = self.path_of(ref)
        if ref.scheme == "auto" and not _is_key(ref) and not path.exists():
            self.ensure(ref)
        return self._from_file(ref, path)

    def ensure(self, ref: Reference) -> None:
        """Make the file of an `auto` reference, if it is not there: mode 0600, in a folder that is ours alone.

        Keys are 32 random bytes. What is sent or configured elsewhere is the same as text: base64url, and for the secret of
        an integration `whsec_` and base64, as Standard Webhooks libraries take it.
        """
        if ref.scheme != "auto":
            return
        folder = _own_folder(self._state, ref)
        path = folder / ref.name
        if path.exists():
            return
        try:
            _write_once(path, _fresh(ref))
        except OSError as error:
            raise _unavailable(ref, f"cannot be made: {error.strerror}") from error

    def path_of(self, ref: Reference) -> Path:
        """Where the file of a `file:`, `state:` or `auto` reference lies."""
        if ref.scheme == "file":
            return Path(ref.rest)
        if ref.scheme == "state":
            return self._state / ref.rest
        if ref.scheme == "auto":
            return self._state / ref.name
        raise _unavailable(ref, "this kind of reference is not built yet")

    def _from_environment(self, ref: Reference) -> Secret:
        value = self._environ.get(ref.rest, "")
        if not value:
            raise _unavailable(ref, "the variable is not set")
        return Secret(value.encode("utf-8", "surrogateescape"), "env")

    def _from_file(self, ref: Reference, path: Path) -> Secret:
        try:
            status = path.stat()
        except OSError as error:
            raise _unavailable(ref, f"the file cannot be read: {error.strerror}") from error
        stamp = (status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        known = self._seen.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        value, stamp = _read(ref, path)
        if not _is_key(ref):
            value = value.rstrip(b"\r\n")  # editors and `echo` end a file with a newline
        if not value:
            raise _unavailable(ref, "the file is empty")
        secret = Secret(value, hashlib.sha256(repr(stamp).encode()).hexdigest()[:8])
        self._seen[path] = (stamp, secret)
        return secret


def open_keys(snapshot: Snapshot, secrets: Secrets) -> KeyRing:
    """The keys of this gateway. Made at the first start; never made anew beside a store that an older root key wrote.

    A new root key would orphan every approval, mask and proof in the store, silently. So that is a ConfigError: put the key
    back, or move the store away.
    """
    keys = snapshot.gateway.keys
    root = keys["root"]
    if root.scheme == "auto" and not secrets.path_of(root).exists() and snapshot.gateway.audit.database.exists():
        raise _refused("root", "the root key is missing beside an existing store", "put the key file back, or move the store away")
    found: dict[str, bytes] = {}
    for label, ref in keys.items():
        try:
            secrets.ensure(ref)
            found[label] = key_bytes(secrets.resolve(ref).reveal())
        except CredentialError as error:
            raise _refused(label, error.detail, "a key is 32 bytes in a file that only we can read") from error
        except ValueError as error:
            raise _refused(label, f"{ref} does not hold {KEY_SIZE} bytes", "as they are, in hex, or in base64") from error
    return KeyRing(found.pop("root"), found)


def key_bytes(value: bytes) -> bytes:
    """The 32 bytes of a key that is written as they are, in hex, or in base64 (either alphabet). ValueError else."""
    if len(value) == KEY_SIZE:
        return value
    text = value.strip()
    try:
        if len(text) == 2 * KEY_SIZE:
            return bytes.fromhex(text.decode("ascii"))
        plain = base64.b64decode(text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/")) + b"=", validate=True)
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not a key") from error
    if len(plain) != KEY_SIZE:
        raise ValueError("not a key")
    return plain


def _is_key(ref: Reference) -> bool:
    return ref.name == ROOT_KEY or ref.name.startswith("key-")


def _fresh(ref: Reference) -> bytes:
    value = random.token_bytes(KEY_SIZE)
    if _is_key(ref):
        return value
    if ref.name.startswith("integration-"):
        return b"whsec_" + base64.b64encode(value) + b"\n"
    return base64.urlsafe_b64encode(value).rstrip(b"=") + b"\n"


def _own_folder(folder: Path, ref: Reference) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise _unavailable(ref, f"the state folder cannot be made: {error.strerror}") from error
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise _unavailable(ref, "the state folder is not ours alone (expected mode 0700)")
    return folder


def _write_once(path: Path, value: bytes) -> None:
    """Write a file that appears whole or not at all. Who comes second keeps the first one's."""
    draft = path.with_name(f".{path.name}.{random.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(ref: Reference, path: Path) -> tuple[bytes, tuple[int, int, int]]:
    """Read a file that is a secret: regular, ours or root's, and closed to others. Symbolic links are followed (Kubernetes uses them)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            _check_file(ref, status)
            value = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise _unavailable(ref, f"the file cannot be read: {error.strerror}") from error
    if len(value) > MAX_SECRET:
        raise _unavailable(ref, f"the file has more than {MAX_SECRET} bytes")
    return value, (status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _check_file(ref: Reference, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unavailable(ref, "it is not a file")
    if status.st_uid not in (os.geteuid(), 0):
        raise _unavailable(ref, "the file belongs to somebody else")
    # A group may read a mounted secret (fsGroup); a file in our own state folder is for us alone.
    forbidden = 0o027 if ref.scheme == "file" else 0o077
    if status.st_mode & forbidden:
        raise _unavailable(ref, f"others can read or write the file (mode {stat.S_IMODE(status.st_mode):04o})")


def _unavailable(ref: Reference, why: str) -> CredentialError:
    return CredentialError(detail=f"{ref}: {why}")


def _refused(label: str, problem: str, hint: str) -> ConfigError:
    return ConfigError([ConfigProblem("gateway.yaml", f"keys.{label.replace('-', '_')}: {problem}", hint)])
