"""Where `guardhouse doctor --canary` looks: approvals, answers, every cell of the store, exports, files and logs.

What counts as a leak is decided here: anything in what we store, say or export; in an answer that was passed on, only what
was owed a mask, because the rest is the caller's to see.
"""

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from addons.cli.canary_wire import Heard
from addons.cli.client import Client, Refused
from addons.cli.console import CannotRead, tracked
from addons.cli.evidence import Bare, Remote
from addons.cli.export import write_file, write_flow_file
from addons.core.audit import leaks
from addons.core.audit.reader import Reader
from addons.core.config.model import Snapshot
from addons.core.masking.canary import Hit, Search

PIECE = 1 << 20  # of a file that is searched
MAX_DATABASE = 256 << 20  # bytes; of a larger file the cells are searched, and not also its raw pages
RATE_PAUSE = 1.1  # seconds; control.rate_limit counts in seconds
SETTLE = 5.0  # seconds for the last events to be written after the last answer


@dataclass(frozen=True, slots=True)
class Leak:
    """One planted value where it should not be."""

    where: str
    row: str
    info_type: str
    spelling: str
    planted: str  # the place of the request in which it came


@dataclass
class Run:
    """One run: what was planted, what was heard, what was found."""

    snapshot: Snapshot
    search: Search = field(default_factory=Search)
    heard: list[Heard] = field(default_factory=list)
    leaks: set[Leak] = field(default_factory=set)
    looked: Counter[str] = field(default_factory=Counter)

    def look(self, kind: str, where: str, row: str, data: bytes, counts: Callable[[Hit], bool] = lambda _: True) -> None:
        """Search one thing."""
        self.looked[kind] += 1
        self.leaks |= {Leak(where, row, hit.info_type, hit.spelling, hit.place) for hit in self.search.hits(data) if counts(hit)}


def at_approvals(made: Run, client: Client) -> None:
    """The list and every card that the caller sees; what the canary itself asked for is withdrawn again."""
    try:
        cards = patiently(lambda: client.get("/v1/approvals", mine=True))["approvals"]
        ours = {heard.approval for heard in made.heard if heard.approval}
        for card in cards:
            made.look("approvals", "approval list", card["id"], str(card).encode())
        for id in sorted(ours):
            made.look("approvals", "approval card", id, str(patiently(lambda id=id: client.get(f"/v1/approvals/{id}"))).encode())  # type: ignore[misc]
            with contextlib.suppress(Refused):
                patiently(lambda id=id: client.post(f"/v1/approvals/{id}/cancel"))  # type: ignore[misc]
    except Refused as error:
        if error.status not in (401, 403):
            raise
        made.looked["approvals"] += 0  # not theirs to see; the store is searched all the same


def patiently(call: Callable[[], Any]) -> Any:
    """The answer; when the control plane says that this was too much at once, once more after a second."""
    try:
        return call()
    except Refused as error:
        if error.status != 429:
            raise
        time.sleep(RATE_PAUSE)
        return call()


def settle(database: Path) -> None:
    """Wait until the log stands still: the last events are written after the last answer."""
    until, last = time.monotonic() + SETTLE, -1
    while time.monotonic() < until and (now := leaks.reached(database)["event"]) != last:
        last = now
        time.sleep(0.5)


def at_answers(made: Run, database: Path, after: int) -> None:
    """Our own answers hold no value at all; a passed-on answer none that was owed a mask (the rest is the caller's to see)."""
    with Reader.open(database) as reader:
        owed = {event.core.get("trace"): obligations(made.snapshot, event.core) for event in reader.events("seq > ?", (after,))}
    for heard in made.heard:
        types = owed.get(heard.trace) if not heard.is_ours else None
        made.look("answers", "answer", heard.place, heard.data, lambda hit, types=types: types is None or hit.info_type in types)  # type: ignore[misc]


def obligations(snapshot: Snapshot, core: Any) -> frozenset[str]:
    """The info types that this flow's answer was to be masked for."""
    profiles = snapshot.masking.profiles
    always = snapshot.masking.service(core.get("service") or "").always
    names = {*always, *core.get("obligations", ())}
    return frozenset(name for one in names if one in profiles for name in profiles[one].entities) | {"ACCESS_TOKEN"}


def at_store(made: Run, database: Path, before: dict[str, int]) -> None:
    """Every cell, and the words of the index."""
    for cell in tracked(leaks.cells(database, before), "searching the store"):
        made.look("cells", cell.where, cell.row, cell.data)
    for value in made.search.values:
        for seq in leaks.indexed(database, value.text):
            made.leaks.add(Leak("event_fts", f"seq {seq}", value.info_type, "word of the index", value.place))


def at_exports(made: Run, client: Client, database: Path, seconds: int) -> None:
    """What `guardhouse export` writes, through the control plane where the caller may, else from the file."""
    query = f"since:{seconds}s"
    with tempfile.TemporaryDirectory(prefix="guardhouse-canary-") as folder:
        for kind, name in (("jsonl", "events.jsonl"), ("flows", "case.flows"), ("har", "case.har")):
            place = Path(folder) / name
            form = "jsonl" if kind == "jsonl" else "flows"
            try:
                rows = list(Remote(client, "guardhouse doctor --canary").exported(query, form))
            except Refused:
                rows = list(Bare(database).exported(query, form))
            if kind == "jsonl":
                write_file(place, iter(rows))
            else:
                write_flow_file(place, iter(rows), kind)
            at_file(made, "exports", place, name)


def files(database: Path) -> Iterable[Path]:
    """The store's own file, unless it is too large to be read twice, and those beside it. The ballast is zeros."""
    there = (path for path in sorted(database.parent.rglob("*")) if path.is_file() and path.suffix not in (".ballast", ".lock"))
    return [path for path in there if path != database or path.stat().st_size <= MAX_DATABASE]


def at_file(made: Run, kind: str, path: Path, name: str, offset: int = 0) -> None:
    """Search a file in pieces that overlap by the longest spelling."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            kept = b""
            while piece := file.read(PIECE):
                made.look(kind, name, "", kept + piece)
                kept = piece[-made.search.longest :]
    except OSError as error:
        raise CannotRead(f"{name} cannot be read: {error.strerror}") from error
