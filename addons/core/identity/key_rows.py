"""One API key as the store keeps it: terms, the HMAC of the secret, and a seal over both.

The table is no evidence and its file can be written by others, so every row carries an HMAC over all that makes it
count. Without it whoever can write the file could give their own key another group or another year. `last_used` stands outside
the seal: it decides nothing. Bringing back a whole older row is what the log's events show.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from addons.core.moves import Insert, Update
from addons.core.wire import jcs

TABLE = "api_key"


class DamagedRow(ValueError):
    """The row is not one that we wrote."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key. Times are microseconds. `previous` is the secret before a rotation, good until `previous_until`."""

    id: str
    digest: bytes = field(repr=False)
    name: str
    owner: str
    kind: str
    groups: tuple[str, ...]
    networks: tuple[str, ...]
    created_at: int
    expires_at: int
    generation: int = 0
    previous: bytes | None = field(default=None, repr=False)
    previous_until: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None

    @property
    def token_id(self) -> str:
        """What a flow remembers: the key and which of its secrets."""
        return f"{self.id}.{self.generation}"

    @property
    def earlier(self) -> "KeyRow":
        """The key as the holder of the previous secret has it."""
        until = min(self.expires_at, self.previous_until or 0)
        return replace(self, digest=self.previous or b"", generation=self.generation - 1, expires_at=until)


def columns(row: KeyRow, pepper: bytes) -> dict[str, Any]:
    """The row's columns, sealed."""
    return {
        "id": row.id, "mac": row.digest, "name": row.name, "owner": row.owner, "kind": row.kind, "groups": json.dumps(row.groups),
        "allowed_cidrs": json.dumps(row.networks), "created_at": row.created_at, "expires_at": row.expires_at, "generation": row.generation,
        "previous": row.previous, "previous_until": row.previous_until, "revoked_at": row.revoked_at, "last_used": row.last_used_at,
        "seal": _seal(row, pepper),
    }  # fmt: skip


def read(stored: Mapping[str, Any]) -> KeyRow:
    """The row of these columns; whether it is ours `is_ours` says. Raises DamagedRow for what cannot be one."""
    try:
        return KeyRow(
            id=stored["id"], digest=stored["mac"], name=stored["name"], owner=stored["owner"], kind=stored["kind"],
            groups=tuple(json.loads(stored["groups"])), networks=tuple(json.loads(stored["allowed_cidrs"])), created_at=stored["created_at"],
            expires_at=stored["expires_at"], generation=stored["generation"], previous=stored["previous"],
            previous_until=stored["previous_until"], revoked_at=stored["revoked_at"], last_used_at=stored["last_used"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRow("not a row of ours") from error


def is_ours(stored: Mapping[str, Any], row: KeyRow, pepper: bytes) -> bool:
    """True when the seal is that of this row."""
    try:
        return hmac.compare_digest(stored["seal"], _seal(row, pepper))
    except (TypeError, ValueError):
        return False


def insert(row: KeyRow, pepper: bytes) -> Insert:
    """The move that adds a key."""
    return Insert(TABLE, columns(row, pepper))


def change(before: KeyRow, after: KeyRow, pepper: bytes) -> Update:
    """The move from one state of a key to the next; nothing happens when somebody else was faster."""
    made = columns(after, pepper)
    del made["id"], made["last_used"]
    return Update(TABLE, made, {"id": before.id, "mac": before.digest, "revoked_at": before.revoked_at})


def used(key_id: str, at_us: int) -> Update:
    """The move that notes when a key was last used."""
    return Update(TABLE, {"last_used": at_us}, {"id": key_id})


def _seal(row: KeyRow, pepper: bytes) -> bytes:
    said = [
        row.id, row.digest.hex(), row.name, row.owner, row.kind, list(row.groups), list(row.networks), row.created_at, row.expires_at,
        row.generation, None if row.previous is None else row.previous.hex(), row.previous_until, row.revoked_at,
    ]  # fmt: skip
    return hmac.digest(pepper, b"row\0" + jcs.canonical(said), "sha256")
