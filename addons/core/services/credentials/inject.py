"""Makes the header that carries the service's own credential.

It replaces every field of that name, in any spelling: whatever the caller put there, the upstream reads only ours.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

from addons.core.config.model import Credential
from addons.core.errors import CredentialError
from addons.core.services.credentials.strip import Fields, fold


@dataclass(frozen=True, slots=True)
class Injection:
    """One header for the upstream. The value is kept out of every repr."""

    name: str
    value: str = field(repr=False)


def injection_of(credential: Credential, secret: bytes) -> Injection:
    """Return the header for this credential. Raises CredentialError for a secret that no header can carry."""
    text = text_of(secret, credential)
    if credential.type == "bearer":
        return Injection(credential.header, f"Bearer {text}")
    if credential.type == "basic":
        if ":" not in text:
            raise CredentialError(detail=f"{credential.value.name}: basic needs user:password")
        return Injection(credential.header, "Basic " + base64.b64encode(text.encode()).decode())
    if credential.type == "header":
        return Injection(credential.header, text)
    raise CredentialError(detail=f"credential type {credential.type}")


def text_of(secret: bytes, credential: Credential) -> str:
    """The secret as header text: a file's last line end is not part of it; made keys (`auto`) are base64url."""
    trimmed = secret.removesuffix(b"\n").removesuffix(b"\r")
    if credential.value.scheme == "auto" and not (trimmed.isascii() and trimmed.decode("ascii").isprintable()):
        return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    if not trimmed or not all(0x20 <= byte < 0x7F for byte in trimmed) or trimmed != trimmed.strip():
        raise CredentialError(detail=f"{credential.value.name}: not header text")
    return trimmed.decode("ascii")


def inject(fields: Iterable[tuple[bytes, bytes]], injection: Injection) -> Fields:
    """Return the fields with ours in place of every one of that name."""
    folded = fold(injection.name.encode())
    kept = tuple((name, value) for name, value in fields if fold(name) != folded)
    return (*kept, (injection.name.encode(), injection.value.encode()))
