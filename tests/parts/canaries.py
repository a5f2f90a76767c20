"""What `guardhouse doctor --canary` plants and looks for, by names that a test can write down: the same values for the same place."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from addons.core.audit import leaks
from addons.core.masking import canary


def planted(place: str) -> dict[str, str]:
    """The values of one place, by kind."""
    return {value.kind: value.text for value in canary.make(place, hashlib.sha256(place.encode()).digest())}


class Search:
    """Looks for every planted value in everything that was left behind."""

    def __init__(self) -> None:
        self.inner = canary.Search()

    def plant(self, place: str) -> dict[str, str]:
        return {value.kind: value.text for value in self.inner.plant(place, hashlib.sha256(place.encode()).digest())}

    def add(self, name: str, value: str) -> None:
        self.inner.add(canary.Value(name, "", value))

    def hits(self, data: bytes) -> set[str]:
        """Names of the planted values that stand in there, also in what is compressed in it."""
        return {f"{hit.place}/{hit.kind}".removesuffix("/") for hit in self.inner.hits(data)}


def cells(database: Path) -> Iterator[tuple[str, bytes]]:
    """Every cell of every table: (table.column, its bytes)."""
    return ((cell.where, cell.data) for cell in leaks.cells(database))


def files(*folders: Path) -> Iterable[Path]:
    """Every file below these folders."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
