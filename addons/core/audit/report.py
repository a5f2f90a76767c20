"""What a verification found, and the exit code that a script can use: 0 sound, 1 tampered, 2 not provably complete, 3 unreadable."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_FINDINGS = 1000  # of each level are kept in words; all are counted


class Level(StrEnum):
    TAMPERED = "tampered"  # somebody changed it
    INCOMPLETE = "incomplete"  # nobody can say whether something is missing
    NOTE = "note"  # worth knowing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `code` is for scripts, `text` for people, `seq` the event it is about."""

    level: Level
    code: str
    text: str
    seq: int | None = None


@dataclass(slots=True)
class Report:
    """The findings, and what was looked at."""

    origin: str = ""
    events: int = 0
    checkpoints: int = 0
    anchors: int = 0
    root: str = ""
    open_flows: int = 0
    proven: list[int] | None = None  # events that bind to the claimed bytes; None when nobody asked
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, level: Level, code: str, text: str, seq: int | None = None) -> None:
        """Note one finding. Never stops: what comes later may be the worse."""
        count = self.counts[level] = self.counts.get(level, 0) + 1
        if count <= MAX_FINDINGS:
            self.findings.append(Finding(level, code, text, seq))

    def tampered(self, code: str, text: str, seq: int | None = None) -> None:
        self.add(Level.TAMPERED, code, text, seq)

    def incomplete(self, code: str, text: str, seq: int | None = None) -> None:
        self.add(Level.INCOMPLETE, code, text, seq)

    @property
    def exit_code(self) -> int:
        """0, 1 or 2; 3 is for what could not be read at all."""
        if self.counts.get(Level.TAMPERED) or self.proven == []:
            return 1
        return 2 if self.counts.get(Level.INCOMPLETE) else 0

    @property
    def verdict(self) -> str:
        """The exit code in words."""
        if self.exit_code == 1 and not self.counts.get(Level.TAMPERED):
            return "refuted: no event binds to these bytes"
        return {0: "sound", 1: "tampered", 2: "not provably complete"}[self.exit_code]

    def to_plain(self) -> dict[str, Any]:
        """The report as plain data, for `--json`."""
        return {
            "verdict": self.verdict, "exit_code": self.exit_code, "origin": self.origin, "events": self.events, "checkpoints": self.checkpoints,
            "anchors": self.anchors, "root": self.root, "open_flows": self.open_flows, "proven": self.proven, "counts": dict(self.counts),
            "findings": [{"level": str(f.level), "code": f.code, "seq": f.seq, "text": f.text} for f in self.findings],
        }  # fmt: skip
