"""JSON-RPC 2.0 messages, read in one way or refused.

Servers differ: one takes the last of two equal keys, one the first; Go's decoder takes `Method` for `method`. So equal
keys, keys that differ only in case, members that JSON-RPC does not know and batches are refused, never repaired. How a
refusal of ours is said in JSON-RPC stands here too, because its `id` is the one that was read here.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from addons.core.errors import CODES, Problem
from addons.core.services.target import malformed
from addons.core.wire import strict_json
from addons.core.wire.jcs import MAX_INT

MAX_DEPTH = 64  # arguments of tools nest; JSON libraries stop at 100 to 1,000
_METHOD = re.compile(r"[A-Za-z$_][A-Za-z0-9$_./-]{0,127}")
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_MAX_ID = 256  # characters

INVALID = -32600  # JSON-RPC 2.0 section 5.1: not a valid request
# MCP leaves -32000 to -32019 to implementations; its Python package uses -32000 and -32001 for itself
REFUSED = -32010  # policy, approval or identity says no
WAITING = -32011  # not yet: a person must approve, or too much at once
UNAVAILABLE = -32012  # nobody could decide, record, mask or reach the upstream


@dataclass(frozen=True, slots=True)
class Message:
    """One message. A request has an id and a method, a notification no id, a response (the client's own) no method."""

    method: str | None
    id: str | int | None
    params: Mapping[str, Any]

    @property
    def is_request(self) -> bool:
        return self.method is not None and self.id is not None


def read(body: bytes) -> Message:
    """Return the one message in this body, or say why it is none."""
    try:
        document = strict_json.loads(body, max_depth=MAX_DEPTH)
    except strict_json.StrictJsonError as error:
        raise malformed("rpc-json", f"The body is not one plain JSON document ({error}). Send it as UTF-8 JSON, each key once.") from None
    if isinstance(document, list):
        raise malformed("rpc-batch", "A JSON-RPC batch is not accepted here. Send one message a request.")
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0" or not _MEMBERS.issuperset(document):
        raise malformed(
            "rpc-message", 'The body is not a JSON-RPC 2.0 message. Send {"jsonrpc": "2.0", "id": ..., "method": ..., "params": ...}.'
        )
    found = Message(_method(document), _id(document), _params(document))
    if found.method is None and (found.id is None or ("result" in document) == ("error" in document) or "params" in document):
        raise malformed("rpc-message", "A JSON-RPC message is a request, a notification or a response. Send one of them.")
    if found.method is not None and ("result" in document or "error" in document):
        raise malformed("rpc-message", "A JSON-RPC message has a method or a result, not both.")
    return found


def check_keys(members: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse keys that a reader who ignores case would take for one another, or for one of the known."""
    exact = set(known)
    seen = {name.casefold(): name for name in exact}
    for name in members:
        if seen.setdefault(name.casefold(), name) != name:
            raise malformed("rpc-key-case", "Two keys of the message differ only in case, and some servers take them for one. Send one.")


def _method(document: Mapping[str, Any]) -> str | None:
    if "method" not in document:
        return None
    method = document["method"]
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise malformed("rpc-method", "The `method` must be a plain word such as tools/call.")
    return method


def _id(document: Mapping[str, Any]) -> str | int | None:
    if "id" not in document:
        return None
    value = document["id"]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise malformed("rpc-id", "The `id` must be a text or a whole number; leave it out of a notification.")
    if (isinstance(value, int) and abs(value) > MAX_INT) or (isinstance(value, str) and len(value) > _MAX_ID):
        raise malformed("rpc-id", f"The `id` must be a whole number below 2^53 or a text of at most {_MAX_ID} characters.")
    return value


def _params(document: Mapping[str, Any]) -> Mapping[str, Any]:
    params = document.get("params")
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise malformed("rpc-params", "The `params` must be an object.")
    return params


def without_id(body: bytes) -> bytes:
    """The body with its `id` (and the progress token, which clients set to the id) blanked, every other byte as it came.

    A caller that asks again after an approval sends a new id: it names the answer, not what is asked. Two bodies that differ
    in more than that stay two.
    """
    text = body.decode("utf-8")
    blanked, end = _blanked(text, 0, (("id",), ("params", "_meta", "progressToken")))
    return (blanked + text[end:]).encode("utf-8")


def _blanked(text: str, at: int, paths: tuple[tuple[str, ...], ...]) -> tuple[str, int]:
    """Return the object at `at` with the members at these paths blanked, and where the original ends. The text is valid JSON."""
    decoder, pieces, kept = json.JSONDecoder(), [], at
    at = _space(text, at) + 1
    while text[at := _space(text, at)] != "}":
        if text[at] == ",":
            at = _space(text, at + 1)
        name, at = decoder.raw_decode(text, at)
        at = _space(text, _space(text, at) + 1)
        _, end = decoder.raw_decode(text, at)
        inner = tuple(path[1:] for path in paths if path[0] == name)
        if () in inner:
            pieces += [text[kept:at], "null"]
            kept = end
        elif inner and text[at] == "{":
            pieces += [text[kept:at], _blanked(text, at, inner)[0]]
            kept = end
        at = end
    end = at + 1
    return "".join([*pieces, text[kept:end]]), end


def _space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def error_of(problem: Problem, request_id: str | int | None) -> bytes:
    """Return a refusal as a JSON-RPC error: our sentence as its message, the problem document as its data."""
    code, status = str(problem.body["code"]), problem.status
    fault = CODES[code].fault
    number = REFUSED
    if status == 429 or code == "approval-pending":  # its status is the operator's choice
        number = WAITING
    elif status in (400, 413, 422):
        number = INVALID
    elif fault in ("ours", "upstream") and status >= 500:
        number = UNAVAILABLE
    error = {"code": number, "message": problem.body["detail"], "data": problem.body}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}, ensure_ascii=False).encode() + b"\n"
