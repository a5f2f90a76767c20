"""Five files in, one frozen Snapshot out; or every problem of all of them at once, and nothing.

`load` is what start and reload call: parse all, collect the names they define, read each file by its shapes, compare
the addresses, then let the areas check what only they understand (conditions, profiles, satisfiable approvals). The
Snapshot's digest is over what the files say, not over how they are written: comments and order of keys do not count.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from addons.core.config import approvals, document, gateway, masking, places, retention, rules
from addons.core.config.document import Node
from addons.core.config.model import Snapshot
from addons.core.config.reading import Names, Reading
from addons.core.config.section import Section
from addons.core.errors import ConfigError, ConfigProblem
from addons.core.wire import jcs

FILES = ("gateway", "rules", "masking", "approvals", "retention")
VERSION = 1

type Check = Callable[[Snapshot], Iterable[ConfigProblem]]


def find_policies(option: str | None, environ: Mapping[str, str], beside: Path) -> Path:
    """Where the policy files are: the option, else GUARDHOUSE_POLICIES, else `policies` beside the folder `addons/`.

    `beside` is the folder that holds `addons/`. The working directory never counts for the default: who starts the
    gateway from a folder of somebody else's must not get somebody else's rules.
    """
    told = option or environ.get("GUARDHOUSE_POLICIES") or None
    folder = beside.absolute() / "policies" if told is None else Path(told).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError([ConfigProblem(str(folder), "there is no such folder", "set guardhouse_policies or GUARDHOUSE_POLICIES")])
    return folder


def load(folder: Path, *, checks: Sequence[Check] = (), clock_now: float, environ: Mapping[str, str]) -> Snapshot:
    """Read a policies folder. Raises ConfigError with all problems of all files; first those of files that are no YAML at all.

    `checks` are the areas' own; they run when everything else is right, so that each may rely on it.
    """
    folder = folder.absolute()
    problems: list[ConfigProblem] = []
    found = {name: _document(folder, name, problems) for name in FILES}
    nodes = {name: node for name, node in found.items() if node is not None}
    if len(nodes) < len(found):
        raise ConfigError(_in_order(problems))  # a file that is not there defines no names: all else would be noise
    names = _names(nodes)
    home, state = folder.parent, state_folder(nodes["gateway"], folder, environ)
    warnings: list[str] = []
    files = {
        name: Section(Reading(f"{name}.yaml", problems, warnings, names, home, state, clock_now), node, name, f"{name}.yaml")
        for name, node in nodes.items()
    }
    for file in files.values():
        _version(file)
    read_gateway = gateway.read(files["gateway"])
    snapshot = Snapshot(
        digest=_digest(nodes),
        folder=folder,
        gateway=read_gateway,
        rules=rules.read(files["rules"]),
        masking=masking.read(files["masking"]),
        approvals=approvals.read(files["approvals"]),
        retention=retention.read(files["retention"]),
    )
    places.check(files["gateway"], read_gateway)
    if not problems:
        problems = [problem for check in checks for problem in check(snapshot)]
    if problems:
        raise ConfigError(_in_order(problems))
    return replace(snapshot, warnings=tuple(warnings))


def state_folder(node: Node, folder: Path, environ: Mapping[str, str]) -> Path:
    """`state:`, else GUARDHOUSE_STATE, else the user's state folder with the name and 8 hex of the policies path."""
    told = _at(node, "state")
    if isinstance(told, str) and told:
        return folder.parent / told
    if environ.get("GUARDHOUSE_STATE"):
        return Path(environ["GUARDHOUSE_STATE"]).absolute()
    base = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".local" / "state")
    name = _at(node, "name")
    which = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return Path(base).absolute() / "guardhouse" / f"{name if isinstance(name, str) else 'unnamed'}-{which}"


def _document(folder: Path, name: str, problems: list[ConfigProblem]) -> Node | None:
    file = f"{name}.yaml"
    before = len(problems)
    node = document.read(folder / file, lambda line, problem, hint: problems.append(ConfigProblem(f"{file}:{line}", problem, hint)))
    if node is None and len(problems) == before:
        problems.append(ConfigProblem(f"{file}:1", "the file is empty, expected at least `version: 1`"))
    return node


def _version(file: Section) -> None:
    node = file.values.get("version")
    if file.broken:
        return
    if node is None or node.value is not VERSION:
        file.wrong("version", f"`version` is {'missing' if node is None else file.shown(node)}, expected {VERSION}")


def _names(nodes: Mapping[str, Node]) -> Names:
    """The names that the files define, whatever else is wrong with them."""
    gateway_node = nodes["gateway"].value
    return Names(
        services=_listed(nodes["gateway"], "services"),
        aliases=_listed(_node(nodes["gateway"], "identity"), "issuers"),
        profiles=_keys(nodes["masking"], "profiles") | {"record"},
        approvals=_keys(nodes["approvals"], "approvals"),
        people=_keys(nodes["approvals"], "people"),
        development=isinstance(gateway_node, dict)
        and "unsafe_development" in gateway_node
        and gateway_node["unsafe_development"].value is not None,
    )


def _node(node: Node, key: str) -> Node:
    return node.value.get(key, Node(0, None)) if isinstance(node.value, dict) else Node(0, None)


def _at(node: Node, key: str) -> Any:
    return _node(node, key).value


def _listed(node: Node, key: str) -> frozenset[str]:
    items = _at(node, key)
    found = [_at(item, "name") for item in items] if isinstance(items, list) else []
    return frozenset(name for name in found if isinstance(name, str))


def _keys(node: Node, key: str) -> frozenset[str]:
    items = _at(node, key)
    return frozenset(items) if isinstance(items, dict) else frozenset()


def _digest(nodes: Mapping[str, Node]) -> str:
    return jcs.digest({f"{name}.yaml": _canonical(node.plain()) for name, node in nodes.items()})


def _canonical(value: Any) -> Any:
    """The value within what canonical JSON carries: floats as texts, keys in ASCII (escaped one to one)."""
    if isinstance(value, dict):
        return {str(key).encode("unicode_escape").decode("ascii"): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return repr(value) if isinstance(value, float) else value


def _in_order(problems: Iterable[ConfigProblem]) -> list[ConfigProblem]:
    """By file, then line; each told once."""

    def place(problem: ConfigProblem) -> tuple[int, int]:
        file, _, line = problem.where.rpartition(":")
        name = file.removesuffix(".yaml")
        return (FILES.index(name) if name in FILES else len(FILES), int(line) if line.isdigit() else 0)

    return sorted(dict.fromkeys(problems), key=place)
