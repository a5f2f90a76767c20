"""Opening the log: lock, schema, key and pin, recovery. Blocking, run in a thread by `AuditLog.open`.

The first start makes the key, the pin and the origin of the log. Later starts never make a new *first* key: a lost key
file goes on under an unlinked one, which `verify` answers with 2 until a person pins it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from addons.core.audit import keys
from addons.core.audit.keys import Signer
from addons.core.audit.note import ORIGIN, LogKey, NoteError
from addons.core.audit.recover import Recovered, RecoveryError, recover
from addons.core.audit.sqlite_store import SqliteStore
from addons.core.audit.store import KeyRow, StoreError
from addons.core.errors import AuditError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """An open store, proven to be where its last signature says."""

    store: SqliteStore
    signer: Signer
    recovered: Recovered
    unlinked: bool = False


def start(
    database: Path, origin: str, state: Path, anchors: Sequence[Path], store_type: Callable[[Path], SqliteStore] = SqliteStore
) -> Started:
    """Open the store for writing. Raises AuditError with a reason for the operator in `detail`; then nothing stays open."""
    if not ORIGIN.fullmatch(origin):
        raise AuditError(detail="audit.origin is not a name: no spaces and no plus signs")
    store = store_type(database)
    try:
        store.open()
        return _begin(store, origin, state, anchors)
    except (StoreError, RecoveryError, NoteError, ValueError, OSError) as error:
        store.close()
        raise AuditError(detail=str(error)) from error


def _begin(store: SqliteStore, origin: str, state: Path, anchors: Sequence[Path]) -> Started:
    known = store.meta("origin")
    if known is None:
        return _first(store, origin, state, anchors)
    if known.decode() != origin:
        raise RecoveryError(f"the store is the log {known.decode()}, gateway.yaml says {origin}")
    recovered = recover(store, origin, anchors)
    signer, unlinked = _signer(store, origin, state, recovered)
    return Started(store, signer, recovered, unlinked)


def _first(store: SqliteStore, origin: str, state: Path, anchors: Sequence[Path]) -> Started:
    recovered = recover(store, origin, anchors)  # refuses when a witness remembers a log that is gone
    if recovered.tip is not None:
        raise RecoveryError("the store has checkpoints but no origin")
    signer = keys.load_signer(state, origin) or keys.make_signer(state, origin)
    pins = keys.read_pins(state / keys.PIN_FILE) if (state / keys.PIN_FILE).exists() else ()
    if not pins:
        keys.write_pin(state, signer.key)
    elif signer.key not in pins:
        raise RecoveryError("the state folder pins another log's key; move log.pin away if this is a new log")
    store.add_key(KeyRow(signer.key.key_id, signer.key.public, 0))
    store.set_meta({"format": b"1", "origin": origin.encode(), "first_key": signer.key.text().encode()})
    return Started(store, signer, recovered)


def _signer(store: SqliteStore, origin: str, state: Path, recovered: Recovered) -> tuple[Signer, bool]:
    signer = keys.load_signer(state, origin)
    rows = store.log_keys()
    if signer is not None and rows and rows[-1].pub == signer.key.public:
        return signer, not _is_pinned(state, signer.key)
    if signer is not None:
        raise RecoveryError("log.key in the state folder is not the key this log was last signed with")
    signer = keys.make_signer(state, origin)
    logger.warning("THE KEY OF THE AUDIT LOG WAS LOST. It goes on under an unlinked key; verify answers 2 until it is pinned by a person.")
    store.add_key(KeyRow(signer.key.key_id, signer.key.public, recovered.frontier.size))
    return signer, True


def _is_pinned(state: Path, key: LogKey) -> bool:
    try:
        return key in keys.read_pins(state / keys.PIN_FILE)
    except (OSError, NoteError):
        return False
