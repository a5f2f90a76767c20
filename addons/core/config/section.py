"""A cursor on one mapping of a policy file: each read checks, and no wrong value stops the next read.

Every method returns a value of its type. What is wrong becomes a problem with file, line, what was got, what was
expected and the nearest known key, and a harmless stand-in is returned, so that all problems of all files are told
together. `load` throws the stand-ins away: with one problem there is no Snapshot. Values are quoted only where a
reviewer needs them, and never inside a `quiet` section (credentials, keys), where a wrong value may be the secret.
"""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from addons.core.config import units
from addons.core.config.document import INTERPOLATION, Node
from addons.core.config.model import Address, Reference
from addons.core.config.reading import Reading, cut, did_you_mean, nearest
from addons.core.config.shapes import SHAPES


class Section:
    """One mapping, read by the keys of its shape."""

    def __init__(self, reading: Reading, node: Node, shape: str, title: str = "", quiet: bool = False) -> None:
        self.reading = reading
        self.line = node.line
        self.title = title or shape
        self.quiet = quiet
        self.broken = False  # not a mapping at all: what it lacks is not worth telling
        self.values: dict[str, Node] = {}
        if isinstance(node.value, dict):
            self.values = {name: item for name, item in node.value.items() if self._known(name, item.line, SHAPES[shape])}
        elif node.value is not None:
            self.broken = True
            reading.tell(node.line, f"`{self.title}` is {node.shape}, expected a mapping")

    def _known(self, name: str, line: int, keys: tuple[str, ...]) -> bool:
        if name in keys:
            return True
        shown = "" if self.quiet else f" `{cut(name)}`"
        self.reading.tell(line, f"unknown key{shown} in `{self.title}`", nearest(name, keys))
        return False

    @property
    def where(self) -> str:
        return self.reading.where(self.line)

    def line_of(self, key: str) -> int:
        return self.values[key].line if key in self.values else self.line

    def wrong(self, key: str, problem: str, hint: str = "") -> None:
        self.reading.tell(self.line_of(key), problem, hint)

    def has(self, key: str) -> bool:
        """True when the key is there and is not null."""
        return key in self.values and self.values[key].value is not None

    # -- one value -------------------------------------------------------------------------------------------------

    def text(self, key: str, default: str | None = None, pattern: re.Pattern[str] | None = None, expected: str = "a text") -> str:
        """A text. Without a default the key must be there."""
        if key not in self.values:
            return self._absent(key, expected) if default is None else default
        return self._text_of(key, self.values[key], pattern, expected)

    def maybe_text(self, key: str, pattern: re.Pattern[str] | None = None, expected: str = "a text or null") -> str | None:
        return self._text_of(key, self.values[key], pattern, expected) if self.has(key) else None

    def choice(self, key: str, options: Collection[str], default: str | None = None) -> str:
        """One of these words."""
        expected = f"one of: {', '.join(options)}"
        value = self.text(key, default, expected=expected)
        if key in self.values and value and value not in options:
            self.wrong(key, f"`{key}` is {self.quote(value)}, expected {expected}", did_you_mean(value, options))
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        if key not in self.values:
            return default
        value = self.values[key].value
        if isinstance(value, bool):
            return value
        self._got(key, "true or false")
        return default

    def integer(self, key: str, default: int, least: int = 1, most: int = 1 << 31) -> int:
        if key not in self.values:
            return default
        value = self.values[key].value
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self._got(key, f"a whole number from {least} to {most}")
        return default

    def maybe_number(self, key: str, least: float, most: float) -> float | None:
        if key not in self.values:
            return None
        value = self.values[key].value
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        self._got(key, f"a number from {least:g} to {most:g}")
        return None

    def duration(self, key: str, default: float, least: float = 0.001, most: float = 100 * 365 * 86400.0) -> float:
        """Seconds. `0` needs no unit, where it is allowed."""
        if key in self.values and least == 0 and self.values[key].value == 0 and not isinstance(self.values[key].value, bool):
            return 0.0
        value = self._unit(key, units.duration, default)
        if not least <= value <= most:
            self._got(key, f"from {least:g}s to {most:g}s")
        return value

    def size(self, key: str, default: int) -> int:
        value = self._unit(key, units.size, default)
        if value <= 0:
            self._got(key, "more than nothing")
        return value

    def address(self, key: str) -> Address:
        if key not in self.values:
            self._absent(key, "an address such as 127.0.0.1:8443")
            return Address("", 0)
        return self._unit(key, units.address, Address("", 0))

    def rate(self, key: str, default: float) -> float:
        return self._unit(key, units.rate, default)

    def safe_url(self, key: str, path: bool = True) -> str:
        """An https url, or http to a loopback literal."""
        text = self.text(key, expected="a url")
        if text:
            self._unit(key, lambda value: units.safe_url(value, path=path), None)
        return text

    def reference(self, key: str, name: str, schemes: Collection[str] = ("env", "file", "state", "auto")) -> Reference:
        """A reference to a secret; what is not one is never quoted."""
        nothing = Reference("auto", "", name)
        if key not in self.values:
            self._absent(key, f"a reference: {units.REFERENCE_GRAMMAR}")
            return nothing
        return self.reference_of(self.values[key], key, name, schemes)

    def maybe_reference(self, key: str, name: str, schemes: Collection[str]) -> Reference | None:
        return self.reference_of(self.values[key], key, name, schemes) if self.has(key) else None

    def reference_of(self, node: Node, key: str, name: str, schemes: Collection[str]) -> Reference:
        try:
            found = units.reference(node.value if isinstance(node.value, str) else "", name)
        except units.Wrong as error:
            self.reading.tell(node.line, f"`{key}`: {error}", "" if isinstance(error, units.NotBuilt) else "the value is not shown")
            return Reference("auto", "", name)
        if found.scheme not in schemes:
            self.reading.tell(node.line, f"`{key}` cannot be `{found.scheme}` here, expected one of: {', '.join(schemes)}")
        return found

    def path(self, key: str, default: str | None = None) -> Path:
        """A path; relative ones start at the home."""
        return self.reading.home / (self.text(key, default, expected="a path") or "missing")

    # -- lists and mappings ----------------------------------------------------------------------------------------

    def texts(
        self,
        key: str,
        default: tuple[str, ...] = (),
        pattern: re.Pattern[str] | None = None,
        expected: str = "a list of texts",
        least: int = 0,
    ) -> tuple[str, ...]:
        """A list of texts without repetitions, of at least so many."""
        if key not in self.values:
            if least and not default:
                self._absent(key, expected)
            return default
        items = self.values[key].value
        if items is None and not least:
            return ()
        if not isinstance(items, list):
            self._got(key, expected)
            return default
        if len(items) < least:
            hint = "" if "at least one" in expected else "leave the key out, or name something"
            self.wrong(key, f"`{key}` is an empty list, expected {expected}", hint)
        values = tuple(self._text_of(key, item, pattern, expected, "has the item") for item in items)
        for value in sorted({value for value in values if value and values.count(value) > 1}):
            self.wrong(key, f"`{key}` names {self.quote(value)} twice")
        return values

    def maybe_texts(self, key: str, pattern: re.Pattern[str] | None = None, expected: str = "a list of texts") -> tuple[str, ...] | None:
        """A list that is not empty, or None when the key is absent: an empty list would match nothing, or all. Say which."""
        return self.texts(key, pattern=pattern, expected=expected, least=1) if key in self.values else None

    def nodes(self, key: str) -> list[Node]:
        """The items of a list of anything; null and absent are empty."""
        if not self.has(key):
            return []
        items = self.values[key].value
        if isinstance(items, list):
            return items
        self.wrong(key, f"`{key}` is {self.values[key].shape}, expected a list")  # not quoted: `secrets` is read here
        return []

    def entries(self, key: str) -> dict[str, Node]:
        """The entries of a mapping whose keys are names; null and absent are empty."""
        if not self.has(key):
            return {}
        items = self.values[key].value
        if isinstance(items, dict):
            return items
        self.wrong(key, f"`{key}` is {self.values[key].shape}, expected a mapping")
        return {}

    def section(self, key: str, shape: str, quiet: bool = False) -> "Section":
        """The mapping under a key; when it is absent or null, an empty one: its keys have their defaults."""
        return Section(self.reading, self.values.get(key, Node(self.line, None)), shape, key, quiet or self.quiet)

    def maybe_section(self, key: str, shape: str, quiet: bool = False) -> "Section | None":
        return self.section(key, shape, quiet) if self.has(key) else None

    def items(self, key: str, shape: str) -> Iterator["Section"]:
        for node in self.nodes(key):
            if node.value is None:
                self.reading.tell(node.line, f"an empty item in `{key}`, expected a mapping")
                continue
            yield Section(self.reading, node, shape, key, self.quiet)

    def named(self, key: str, shape: str) -> Iterator[tuple[str, "Section"]]:
        for name, node in self.entries(key).items():
            yield name, Section(self.reading, node, shape, f"{key}.{cut(name)}", self.quiet)

    # -- rules about values ----------------------------------------------------------------------------------------

    def known(self, key: str, values: Collection[str] | None, known: Collection[str], kind: str) -> None:
        """Every value must be one of the names that the files define."""
        for value in values or ():
            if value and value not in known:
                self.reading.tell(self._line_in(key, value), f"no {kind} has the name {self.quote(value)}", nearest(value, known))

    def people(self, key: str, values: Collection[str] | None, more: Collection[str] = ()) -> None:
        """Every value must be `alias:rest`, with the alias of an issuer that gateway.yaml defines (or one of `more`)."""
        known = {*self.reading.names.aliases, *more}
        for value in values or ():
            alias, colon, rest = value.partition(":")
            if value and (not colon or not rest):
                self.reading.tell(
                    self._line_in(key, value), f"{self.quote(value)} in `{key}`, expected `alias:name`", "the alias is an issuer's name"
                )
            elif value and alias not in known:
                self.reading.tell(
                    self._line_in(key, value),
                    f"{self.quote(value)} in `{key}`: no issuer has the name {self.quote(alias)}",
                    nearest(alias, known),
                )

    def unbuilt(self, *keys: str) -> None:
        """Keys of a part that is not built yet: null, false or empty, or the start is refused."""
        for key in keys:
            if key in self.values and self.values[key].value not in (None, False, [], {}):
                self.wrong(key, f"`{key}` belongs to a part that is not built yet", "leave it out, or null")

    def quote(self, value: object) -> str:
        """The value for an error message, cut, or hidden where it may be a secret."""
        return "a value (not shown)" if self.quiet else f"`{cut(str(value))}`"

    def _line_in(self, key: str, value: str) -> int:
        node = self.values.get(key)
        if node is not None and isinstance(node.value, list):
            return next((item.line for item in node.value if item.value == value), node.line)
        if node is not None and isinstance(node.value, dict) and value in node.value:
            return node.value[value].line
        return self.line_of(key)

    def _unit[T](self, key: str, read: Callable[[str], T], default: T) -> T:
        if key not in self.values:
            return default
        value = self.values[key].value
        if isinstance(value, str) and INTERPOLATION in value:
            return default  # told already, without the value
        try:
            return read(value if isinstance(value, str) else "")
        except units.Wrong as error:
            self.wrong(key, f"`{key}` is {self.shown(self.values[key])}, {error}")
            return default

    def _text_of(self, key: str, node: Node, pattern: re.Pattern[str] | None, expected: str, verb: str = "is") -> str:
        if isinstance(node.value, str) and INTERPOLATION in node.value:
            return ""  # told already, without the value
        if not isinstance(node.value, str) or not node.value:
            self.reading.tell(node.line, f"`{key}` {verb} {self.shown(node)}, expected {expected}")
            return ""
        if pattern is not None and not pattern.fullmatch(node.value):
            self.reading.tell(node.line, f"`{key}` {verb} {self.shown(node)}, expected {expected}")
        return node.value

    def shown(self, node: Node) -> str:
        """What a value is, for an error message."""
        if node.value == "":
            return "empty"
        if isinstance(node.value, bool):
            return str(node.value).lower()
        if isinstance(node.value, str | int | float):
            return self.quote(node.value)
        return node.shape

    def _got(self, key: str, expected: str) -> None:
        self.wrong(
            key,
            f"`{key}` is {self.shown(self.values[key])}, expected {expected}" if key in self.values else f"`{key}`: expected {expected}",
        )

    def _absent(self, key: str, expected: str) -> str:
        if not self.broken:
            self.reading.tell(self.line, f"`{key}` is missing in `{self.title}`, expected {expected}")
        return ""
