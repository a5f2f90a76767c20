"""GraphQL over WebSocket (subprotocol graphql-transport-ws): what a message does, read in one way or refused.

A `subscribe` message holds a document. Its one operation has a type (query, mutation, subscription) and top-level fields,
through fragments too; those are what rules speak of. The parser knows the executable part of the GraphQL grammar (October
2021) and nothing else: what it does not understand is refused, never guessed. A mutation writes; a field whose name
begins like a deletion deletes as well.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from addons.core.errors import Problem
from addons.core.exchange import Access, Operation
from addons.core.services.target import malformed
from addons.core.wire import strict_json

PROTOCOL = "graphql"
SUBPROTOCOL = "graphql-transport-ws"
ATTRIBUTES = frozenset(
    {"scheme", "host", "path", "method", "type", "operation_name", "operation_type", "fields", "variables", "filters", "aliases"}
)
ACCESS = {"query": Access.READ, "subscription": Access.READ, "mutation": Access.WRITE}
DELETING = re.compile(r"(?i)(?:[a-z0-9]*_)?(?:delete|remove|destroy|purge|drop|erase|truncate)")
SESSION = frozenset({"connection_init", "ping", "pong", "complete"})  # what keeps the session; only the first may bring parameters
MAX_DOCUMENT = 256 << 10
MAX_DEPTH = 64
MAX_TEXT = 4000
_MEMBERS = frozenset({"id", "type", "payload"})
_PAYLOAD = frozenset({"operationName", "query", "variables", "extensions"})
_FIELD_LIKE = re.compile(r"[-+]?[_A-Za-z][_0-9A-Za-z.]{0,63}")
_TOKENS = re.compile(
    r"""(?P<space>[ \t\r\n,\ufeff]+|\#[^\r\n]*)
      | (?P<name>[_A-Za-z][_0-9A-Za-z]*)
      | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![_A-Za-z0-9.]))
      | (?P<block>\"\"\"(?:[^"\\]|\\\"\"\"|\\(?!\"\"\")|"(?!"")|""(?!"))*\"\"\")
      | (?P<string>"(?!"")(?:[^"\\\r\n]|\\u[0-9A-Fa-f]{4}|\\["\\/bfnrt])*")
      | (?P<mark>\.\.\.|[!$&()\[\]{}:=@|])""",
    re.VERBOSE,
)


class _Broken(Exception):
    """The document is not one that this parser understands."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the protocol."""

    type: str
    id: str | None
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """The operation that a document runs."""

    type: str
    name: str | None
    fields: tuple[str, ...]  # of the top level, sorted, each once; never aliases
    aliases: tuple[str, ...] = ()  # other names that answers will have, anywhere in the document
    filters: tuple[str, ...] = ()  # names by which it may choose or sort: of arguments, and inside their values


@dataclass(slots=True)
class _Selection:
    fields: set[str] = field(default_factory=set)
    spreads: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Found:
    type: str
    name: str | None
    selection: _Selection


def read(content: bytes) -> Message:
    """Return the message in this text, or say why it is none."""
    try:
        document = strict_json.load_object(content, max_depth=MAX_DEPTH)
    except strict_json.StrictJsonError as error:
        raise malformed("graphql-json", f"The message is not one plain JSON object ({error}).") from None
    kind, said = document.get("type"), document.get("id")
    if not isinstance(kind, str) or not _MEMBERS.issuperset(document) or not (said is None or isinstance(said, str)):
        raise malformed("graphql-message", "The message is none of graphql-transport-ws.")
    if kind not in SESSION and (kind != "subscribe" or not said):
        raise malformed("graphql-message", "A client sends connection_init, ping, pong, subscribe (with an id) or complete.")
    payload = document.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise malformed("graphql-message", "The `payload` must be an object.")
    return Message(kind, said, payload or {})


def operation(content: bytes, upgrade: Operation) -> Operation | None:
    """What a client's message does; None when it only keeps the session. Raises ValidationError for what cannot be read."""
    message = read(content)
    if message.type == "connection_init" and message.payload:
        return _opening(message, upgrade)
    if message.type != "subscribe":
        return None
    if not _PAYLOAD.issuperset(message.payload) or not isinstance(message.payload.get("query"), str):
        raise malformed("graphql-payload", "The payload of subscribe holds `query`, and may hold operationName, variables, extensions.")
    if message.payload.get("extensions"):
        raise malformed("graphql-payload", "Extensions (persisted queries) are not accepted here: send the whole `query`.")
    wanted, variables = message.payload.get("operationName"), message.payload.get("variables")
    if not (wanted is None or isinstance(wanted, str)) or not (variables is None or isinstance(variables, dict)):
        raise malformed("graphql-payload", "`operationName` is a text, `variables` an object.")
    query = message.payload["query"]
    found = parse(query, wanted)
    access = {ACCESS[found.type]} | (
        {Access.DELETE} if found.type == "mutation" and any(DELETING.match(one) for one in found.fields) else set()
    )
    attributes: dict[str, Any] = dict.fromkeys(ATTRIBUTES) | {
        name: upgrade.attributes.get(name) for name in ("scheme", "host", "path")
    } | {
        "type": message.type, "operation_type": found.type, "operation_name": found.name, "fields": list(found.fields),
        "variables": sorted(variables or {}), "aliases": list(found.aliases),
        "filters": [] if found.type == "mutation" else sorted({*found.filters, *_names(variables or {})}),
    }  # fmt: skip
    text = " ".join(query.split())[:MAX_TEXT]
    return Operation(PROTOCOL, found.type, text, frozenset(access), found.fields, attributes)


def check_aliases(operation: Operation, masks: Sequence[str]) -> None:
    """Where answers are masked, a field keeps its name: a mask that follows names would not know it under another one."""
    if masks and operation.attributes.get("aliases"):
        raise malformed("graphql-alias", "Answers are masked for you, so fields keep their names here. Send the query without aliases.")


def _names(value: Any) -> set[str]:
    """Keys and texts that look like names of fields, in the value of a variable."""
    if isinstance(value, str):
        return {value} if _FIELD_LIKE.fullmatch(value) else set()
    if isinstance(value, dict):
        return {*value, *(name for item in value.values() for name in _names(item))}
    return {name for item in value for name in _names(item)} if isinstance(value, list) else set()


def _opening(message: Message, upgrade: Operation) -> Operation:
    """A session that brings parameters along: their names are told, so that a rule can forbid it."""
    attributes: dict[str, Any] = dict.fromkeys(ATTRIBUTES) | {name: upgrade.attributes.get(name) for name in ("scheme", "host", "path")}
    attributes |= {"type": message.type, "variables": sorted(message.payload)}
    return Operation(PROTOCOL, message.type, message.type, frozenset({Access.CONNECT}), (message.type,), attributes)


def error_of(problem: Problem, request_id: str) -> bytes:
    """A refusal as the protocol's own `error` message: it ends that one subscription."""
    error = {"message": problem.body["detail"], "extensions": dict(problem.body)}
    return json.dumps({"id": request_id, "type": "error", "payload": [error]}, ensure_ascii=False).encode()


def parse(text: str, wanted: str | None = None) -> Document:
    """Return what the document runs. `wanted` names the operation where it has several."""
    if len(text) > MAX_DOCUMENT:
        raise malformed("graphql-document", "The GraphQL document is too large.")
    try:
        parser = _Parser(_tokens(text))
        operations, fragments = parser.document()
        chosen = _chosen(operations, fragments, wanted)
        return replace(chosen, aliases=tuple(sorted(parser.aliases)), filters=tuple(sorted(parser.filters)))
    except _Broken as error:
        raise malformed(
            "graphql-document", f"The GraphQL document could not be read ({error}). Send one plain executable document."
        ) from None


def _chosen(operations: Sequence[_Found], fragments: Mapping[str, _Selection], wanted: str | None) -> Document:
    names = [one.name for one in operations]
    if len(operations) > 1 and (None in names or len(set(names)) != len(names)):
        raise _Broken("several operations need names of their own")
    found = [one for one in operations if wanted is None or one.name == wanted]
    if len(found) != 1:
        raise _Broken("which operation is meant is not said")
    fields = _through(found[0].selection, fragments)
    if not fields or (found[0].type == "subscription" and len(fields) != 1):
        raise _Broken("no field, or a subscription to more than one")
    return Document(found[0].type, found[0].name, tuple(sorted(fields)))


def _through(selection: _Selection, fragments: Mapping[str, _Selection]) -> set[str]:
    """The fields of a selection with those of its fragments, however they are nested."""
    fields, waiting, seen = set(selection.fields), list(selection.spreads), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in fragments:
            raise _Broken("a fragment that is not there")
        if name not in seen:
            seen.add(name)
            fields |= fragments[name].fields
            waiting.extend(fragments[name].spreads)
    return fields


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            raise _Broken("a character that is not GraphQL")
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match.group()))
        at = match.end()
    return found


class _Parser:
    """Recursive descent over the executable grammar (section 2 of the specification)."""

    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.aliases: set[str] = set()
        self.filters: set[str] = set()

    def document(self) -> tuple[list[_Found], dict[str, _Selection]]:
        operations: list[_Found] = []
        fragments: dict[str, _Selection] = {}
        while self.at < len(self.tokens):
            if self.peek() == ("name", "fragment"):
                self.at += 1
                name = self.name()
                if name == "on" or name in fragments:
                    raise _Broken("a fragment twice, or named `on`")
                self.expect_word("on")
                self.name()
                self.directives()
                fragments[name] = self.selection()
            else:
                operations.append(self.operation())
        return operations, fragments

    def operation(self) -> _Found:
        if self.peek() == ("mark", "{"):
            return _Found("query", None, self.selection())
        kind = self.name()
        if kind not in ACCESS:
            raise _Broken("neither an operation nor a fragment")
        name = self.name() if self.peek()[0] == "name" else None
        if self.take("("):
            self.variables()
        self.directives()
        return _Found(kind, name, self.selection())

    def variables(self) -> None:
        while not self.take(")"):
            self.expect("$")
            self.name()
            self.expect(":")
            self.type()
            if self.take("="):
                self.value(constant=True)
            self.directives()

    def type(self) -> None:
        self.deeper()
        if self.take("["):
            self.type()
            self.expect("]")
        else:
            self.name()
        self.take("!")
        self.depth -= 1

    def selection(self) -> _Selection:
        self.deeper()
        self.expect("{")
        found = _Selection()
        while not self.take("}"):
            if self.take("..."):
                self.spread(found)
            else:
                self.field(found)
        self.depth -= 1
        return found

    def spread(self, found: _Selection) -> None:
        kind, word = self.peek()
        if kind == "name" and word != "on":
            found.spreads.add(self.name())
            self.directives()
            return
        if word == "on" and kind == "name":
            self.at += 1
            self.name()
        self.directives()
        inner = self.selection()
        found.fields |= inner.fields
        found.spreads |= inner.spreads

    def field(self, found: _Selection) -> None:
        name = self.name()
        if self.take(":"):
            alias, name = name, self.name()
            if alias != name:
                self.aliases.add(alias)
        found.fields.add(name)
        if self.take("("):
            self.arguments(constant=False)
        self.directives()
        if self.peek() == ("mark", "{"):
            self.selection()

    def arguments(self, *, constant: bool) -> None:
        if self.take(")"):
            raise _Broken("empty arguments")
        while not self.take(")"):
            self.filters.add(self.name())
            self.expect(":")
            self.value(constant=constant)

    def directives(self) -> None:
        while self.take("@"):
            self.name()
            if self.take("("):
                self.arguments(constant=False)

    def value(self, *, constant: bool) -> None:
        self.deeper()
        if self.take("$"):
            if constant:
                raise _Broken("a variable where a constant must stand")
            self.name()
        elif self.take("["):
            while not self.take("]"):
                self.value(constant=constant)
        elif self.take("{"):
            while not self.take("}"):
                self.filters.add(self.name())
                self.expect(":")
                self.value(constant=constant)
        elif self.peek()[0] in ("name", "number", "string", "block"):
            if _FIELD_LIKE.fullmatch(text := self.peek()[1].strip('"')):
                self.filters.add(text)
            self.at += 1
        else:
            raise _Broken("a value is missing")
        self.depth -= 1

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Broken("too deep")

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, mark: str) -> bool:
        if self.peek() != ("mark", mark):
            return False
        self.at += 1
        return True

    def expect(self, mark: str) -> None:
        if not self.take(mark):
            raise _Broken(f"`{mark}` is missing")

    def expect_word(self, word: str) -> None:
        if self.peek() != ("name", word):
            raise _Broken(f"`{word}` is missing")
        self.at += 1

    def name(self) -> str:
        kind, word = self.peek()
        if kind != "name":
            raise _Broken("a name is missing")
        self.at += 1
        return word
