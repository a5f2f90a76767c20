"""YAML 1.2 as one reader reads it, with the line of everything.

Only plain data in one document: no anchors, aliases, tags, merge keys or second documents, each of which lets a file
say something else than a reviewer sees; no duplicate keys (most parsers let the last win); no `${`, because nothing is
interpolated here and a text that looks as if it were is a mistake. Plain scalars follow the core schema of YAML 1.2
(`yes` and `2026-03-31` are texts). What is wrong is reported with its line and never quoted: it may be a secret.

The one door to `ruamel.yaml`. Only its event parser is used, so that no constructor of it ever runs.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from addons.core.errors import ConfigError, ConfigProblem

MAX_FILE = 1 << 20  # a policy file is read by people; Kubernetes caps a ConfigMap at the same size
MAX_DEPTH = 24
INTERPOLATION = "${"
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")  # text that a reviewer sees in another order (CVE-2021-42574)

type Scalar = str | int | float | bool | None
type Tell = Callable[[int, str, str], None]  # line, problem, hint

_INT = re.compile(r"[-+]?[0-9]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the line a person would look at for it: that of its key, or its own inside a list."""

    line: int
    value: Scalar | list["Node"] | dict[str, "Node"]

    @property
    def shape(self) -> str:
        """What it is, in words that quote nothing."""
        if self.value is None:
            return "nothing"
        names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a mapping"}
        return names[type(self.value)]

    def plain(self) -> Any:
        """The same without lines."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {name: item.plain() for name, item in self.value.items()}
        return self.value


def parse(text: str, tell: Tell) -> Node | None:
    """Return the one document of `text`, or None when it is not YAML. Everything that is wrong goes to `tell`."""
    for number, line in enumerate(text.splitlines(), 1):
        if BIDI.search(line):
            tell(number, "a character that changes the direction of text is not allowed here", "")
    try:
        events = _Events(iter(YAML(typ="safe", pure=True).parse(text)), tell)
        return events.document()
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if mark is None:  # a ReaderError: the place is an index into the text
            tell(text.count("\n", 0, getattr(error, "position", 0)) + 1, "not YAML: a character that is not allowed", "")
            return None
        problem = getattr(error, "problem", None) or "it cannot be read"
        tell(mark.line + 1, f"not YAML: {problem}", "")
        return None


def read(path: Path, tell: Tell) -> Node | None:
    """Read and parse one file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        tell(1, f"the file cannot be read: {error.strerror}", "all five policy files must be there")
        return None
    if len(data) > MAX_FILE:
        tell(1, f"the file has {len(data)} bytes, expected at most {MAX_FILE}", "")
        return None
    try:
        return parse(data.decode("utf-8", "strict"), tell)
    except UnicodeDecodeError as error:
        tell(data.count(b"\n", 0, error.start) + 1, "the file is not UTF-8", "")
        return None


def read_plain(path: Path) -> Any:
    """Read a YAML file that is not one of the five (policy test cases) under the same rules. Raises ConfigError."""
    problems: list[ConfigProblem] = []
    node = read(path, lambda line, problem, hint: problems.append(ConfigProblem(f"{path.name}:{line}", problem, hint)))
    if problems:
        raise ConfigError(problems)
    return None if node is None else node.plain()


class _Events:
    """Builds nodes from parser events."""

    def __init__(self, events: Iterator[Any], tell: Tell) -> None:
        self.events = events
        self.tell = tell

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self.events:
            if isinstance(event, StreamStartEvent | StreamEndEvent):
                continue
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if event.version is not None and tuple(event.version) != (1, 2):
                    self.tell(1, "a %YAML directive other than 1.2", "leave it out")
                if documents > 1:
                    self.tell(event.start_mark.line + 1, "a second document begins here, expected one document in a file", "")
                continue
            if isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent | AliasEvent):
                node = self._node(event, None, 0)
                root = root or node
        return root

    def _node(self, event: Any, line: int | None, depth: int) -> Node:
        line = line or event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            self.tell(line, "aliases (*name) are not used in these files", "write the value out")
            return Node(line, None)
        self._no_extras(event, line)
        if depth > MAX_DEPTH:
            self.tell(line, f"nested deeper than {MAX_DEPTH}", "")
            self._skip(event)
            return Node(line, None)
        if isinstance(event, SequenceStartEvent):
            return Node(line, self._list(depth))
        if isinstance(event, MappingStartEvent):
            return Node(line, self._mapping(depth))
        return Node(line, self._scalar(event, line))

    def _no_extras(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            self.tell(line, "anchors (&name) are not used in these files", "write the value out")
        if event.tag is not None:
            self.tell(line, "tags (!name) are not used in these files", "")

    def _skip(self, event: Any) -> None:
        """Drop a collection unread: without recursion, however deep it goes."""
        open_ones = int(isinstance(event, SequenceStartEvent | MappingStartEvent))
        while open_ones:
            event = next(self.events)
            open_ones += isinstance(event, SequenceStartEvent | MappingStartEvent)
            open_ones -= isinstance(event, SequenceEndEvent | MappingEndEvent)

    def _list(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self._node(event, None, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Node]:
        items: dict[str, Node] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            line = event.start_mark.line + 1
            name = self._key(event, line)
            node = self._node(next(self.events), line, depth + 1)
            if name is None:
                continue
            if name in items:
                self.tell(line, f"duplicate key `{name}`, first on line {items[name].line}", "keep one of them")
                continue
            items[name] = node
        return items

    def _key(self, event: Any, line: int) -> str | None:
        if not isinstance(event, ScalarEvent):
            self._skip(event)
            self.tell(line, "a key that is not a plain text", "")
            return None
        self._no_extras(event, line)
        if event.value == "<<" and event.style is None:
            self.tell(line, "merge keys (<<) are not used in these files", "write the values out")
            return None
        if INTERPOLATION in event.value:
            self._interpolation(line)
            return None
        return str(event.value)

    def _scalar(self, event: Any, line: int) -> Scalar:
        text = str(event.value)
        if INTERPOLATION in text:
            self._interpolation(line)
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _interpolation(self, line: int) -> None:
        self.tell(line, "`${` in a value: nothing is interpolated in these files", "name a secret by a reference such as env:NAME")
