"""What a client's WebSocket message does: one extractor for each way in which gateway.yaml lets a subprotocol be read.

Each message is an Operation of its own, judged by the same rules as a request. A message that an extractor cannot read is
refused. How a refusal is said to the client stands here too, in the words of its protocol, so that a client that waits
for one answer gets it and the session goes on.
"""

from collections.abc import Callable, Mapping
from typing import Any

from addons.core.errors import GuardhouseError, Problem
from addons.core.exchange import Access, Operation
from addons.core.services import graphql, jsonrpc
from addons.core.services.target import malformed

Extractor = Callable[[bytes, Operation], Operation | None]
RPC = "jsonrpc"
RPC_ATTRIBUTES = frozenset({"scheme", "host", "path", "method", "is_notification", "parameters"})


def rpc_operation(content: bytes, upgrade: Operation) -> Operation | None:
    """A JSON-RPC call: it executes what it names, and no more is known of it. The client's own answers write."""
    message = jsonrpc.read(content)
    attributes: dict[str, Any] = {name: upgrade.attributes.get(name) for name in ("scheme", "host", "path")} | {
        "method": message.method,
        "is_notification": message.id is None,
        "parameters": sorted(message.params),
    }
    if message.method is None:
        return Operation(RPC, "response", "response", frozenset({Access.WRITE}), ("response",), attributes)
    access = {Access.EXECUTE} | ({Access.DELETE} if _deletes(message.method) else set())
    return Operation(RPC, message.method, f"call {message.method}", frozenset(access), (message.method,), attributes)


def _deletes(method: str) -> bool:
    return any(graphql.DELETING.match(word) for word in method.replace(".", "/").split("/"))


EXTRACTORS: Mapping[str, Extractor] = {RPC: rpc_operation, "graphql": graphql.operation}
ATTRIBUTES: Mapping[str, frozenset[str]] = {RPC: RPC_ATTRIBUTES, graphql.PROTOCOL: graphql.ATTRIBUTES}  # by protocol, always set
NAMES = tuple(EXTRACTORS)


def operation(reading: str, content: bytes, upgrade: Operation, *, is_text: bool) -> Operation | None:
    """What this message does; None when it asks for nothing. Raises ValidationError for one that cannot be read."""
    extractor = EXTRACTORS.get(reading)
    if extractor is None:
        raise GuardhouseError(detail=f"no extractor {reading}")
    if not is_text:
        raise malformed("message-binary", "Messages of this subprotocol are text.")
    return extractor(content, upgrade)


def without_id(reading: str, content: bytes) -> bytes:
    """The message as an approval binds to it: a caller that asks again sends a new `id`, which names only the answer."""
    return jsonrpc.without_id(content) if reading in EXTRACTORS else content


def refusal(reading: str, content: bytes, problem: Problem) -> bytes | None:
    """A refusal of this message in the words of its protocol. None: there is none, or nobody waits for one."""
    try:
        if reading == RPC:
            message = jsonrpc.read(content)
            return None if message.method is None or message.id is None else jsonrpc.error_of(problem, message.id).rstrip(b"\n")
        if reading == graphql.PROTOCOL:
            said = graphql.read(content)
            return graphql.error_of(problem, said.id) if said.id else None
    except GuardhouseError:
        return jsonrpc.error_of(problem, None).rstrip(b"\n") if reading == RPC else None
    return None
