"""What the reading of one file knows and collects: the names that all files define, problems, warnings, addresses."""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from addons.core.config.model import Address
from addons.core.errors import ConfigProblem

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_QUOTED = 60  # characters of a value that an error shows


@dataclass(frozen=True, slots=True)
class Names:
    """What the five files define, collected before anything is read, so that each use is checked where it stands."""

    services: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    approvals: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()
    development: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """An address that a file names: `bound` by us (listener, control, development) or reached (service, issuer)."""

    what: str
    address: Address
    bound: bool
    where: str


@dataclass(slots=True)
class Reading:
    """What the reading of one file adds to: its problems and warnings; and what it needs: names, places, the time."""

    file: str
    problems: list[ConfigProblem]
    warnings: list[str]
    names: Names
    home: Path
    state: Path
    now: float = 0.0
    places: list["Place"] = field(default_factory=list)

    def where(self, line: int) -> str:
        return f"{self.file}:{line}"

    def place(self, text: str) -> Path:
        """The path of `state:NAME`, `file:/abs` or a plain path; relative ones start at the home."""
        if text.startswith("state:"):
            return self.state / text.removeprefix("state:")
        return self.home / text.removeprefix("file:")

    def tell(self, line: int, problem: str, hint: str = "") -> None:
        self.problems.append(ConfigProblem(self.where(line), problem, hint))


def nearest(name: str, known: Collection[str]) -> str:
    """The hint for a name that is not known."""
    return did_you_mean(name, known) or (f"known: {', '.join(sorted(known))}" if known else "none is defined")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The nearest of these words, when one is near."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else ""


def cut(text: str) -> str:
    """At most so much of a text, with whatever is not printable escaped."""
    shown = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    return shown if len(shown) <= _QUOTED else shown[:_QUOTED] + "..."
