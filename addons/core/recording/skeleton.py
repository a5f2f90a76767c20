"""A flow's state without bodies and secrets, as plain bytes; and back, with bodies put in again.

`strip` takes what mitmproxy calls a flow's state (plain data) and leaves out bodies, credentials, certificates and all
metadata; every text a caller or an upstream chose goes through `mask`. `inflate` builds the state again around the
masked bodies from the store, so that streamed and compressed answers replay as well (design/audit.md 3.13). The
skeleton is a committed field of the terminal event: editing it is seen by `verify`.
"""

import base64
import json
import threading
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import zstandard

from addons.core.wire.field_names import stored_name
from addons.core.wire.plain_fields import is_plain

FORMAT = 1
LEVEL = 3
MAX_SIZE = 1 << 20  # a skeleton is about 0.8 KB; a larger one did not come from us

# Never kept, whatever their value: credentials of the caller and of the upstream, and what a proxy says of a caller.
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "dpop", "authentication-info", "proxy-authenticate"}
)
FRAMING_HEADERS = frozenset(
    {"content-encoding", "transfer-encoding", "content-length", "content-md5", "digest", "content-digest", "repr-digest"}
)
CONNECTION_PARTS = frozenset(
    {"peername", "sockname", "address", "id", "timestamp_start", "timestamp_end", "tls", "sni", "transport_protocol"}
)

_LOCAL = threading.local()


class SkeletonError(ValueError):
    """The bytes are not a skeleton of ours. The text names what is wrong, never the content."""


def strip(state: Mapping[str, Any], mask: Callable[[str], str]) -> bytes:
    """Return the compressed skeleton of a flow's state. `mask` makes the stored form of a text (Redactor.redact_text)."""
    kept: dict[str, Any] = {
        "format": FORMAT,
        "type": "http",
        "version": state["version"],
        "id": state["id"],
        "timestamp_created": state["timestamp_created"],
        "client_conn": _connection(state["client_conn"]),
        "server_conn": _connection(state["server_conn"]),
        "request": _message(state["request"], mask),
        "response": None if state["response"] is None else _message(state["response"], mask),
    }
    return _compressor().compress(_ENCODER.encode(kept).encode("ascii"))


def inflate(skeleton: bytes, request_body: bytes, response_body: bytes | None) -> dict[str, Any]:
    """Return a whole flow state that mitmproxy of the same version reads. Raises SkeletonError."""
    kept = unpack(skeleton)
    try:
        state = {
            "type": "http",
            "version": kept["version"],
            "id": kept["id"],
            "timestamp_created": kept["timestamp_created"],
            "client_conn": _whole_client(kept["client_conn"]),
            "server_conn": _whole_server(kept["server_conn"]),
            "request": _whole_message(kept["request"], request_body),
            "response": None if kept["response"] is None else _whole_message(kept["response"], response_body),
        }
    except (KeyError, TypeError) as error:
        raise SkeletonError("a part is missing") from error
    return {
        **state,
        "error": None,
        "intercepted": False,
        "is_replay": None,
        "marked": "",
        "metadata": {},
        "comment": "",
        "backup": None,
        "websocket": None,
    }


def unpack(skeleton: bytes) -> dict[str, Any]:
    """Return the skeleton as plain data. Raises SkeletonError."""
    try:
        text = zstandard.ZstdDecompressor().decompress(skeleton, max_output_size=MAX_SIZE)
        kept = _from_plain(json.loads(text))
    except (zstandard.ZstdError, ValueError) as error:
        raise SkeletonError("not a skeleton") from error
    if not isinstance(kept, dict) or kept.get("format") != FORMAT:
        raise SkeletonError("of another format")
    return kept


def _connection(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in CONNECTION_PARTS if name in part}


def _message(part: Mapping[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    kept = {name: value for name, value in part.items() if name not in ("content", "headers", "trailers", "path", "reason")}
    kept["headers"] = _fields(part["headers"], mask)
    kept["trailers"] = None if part["trailers"] is None else _fields(part["trailers"], mask)
    for name in ("path", "reason"):
        if name in part:
            kept[name] = _mask_bytes(part[name], mask)
    return kept


def _kept(pair: tuple[bytes, bytes]) -> bool:
    return pair[0].decode("latin-1").lower() not in SECRET_HEADERS


def _fields(pairs: Iterable[tuple[bytes, bytes]], mask: Callable[[str], str]) -> list[list[bytes]]:
    """A header field is masked as an object of one member, so that its name tells: `X-Api-Token` may hold any word.

    All of a head are masked in one text, an object on each line: lines are judged one by one, and the same head comes again.
    """
    found = [[name, value] for name, value in pairs if _kept((name, value))]
    told = [pair for pair in found if not is_plain(pair[0].decode("latin-1").lower(), pair[1].decode("latin-1"))]
    lines = [json.dumps({_text(name): _text(value)}) for name, value in told]
    shown = mask("\n".join(lines)).split("\n") if lines else []
    if len(shown) != len(told):
        shown = [""] * len(told)
    for pair, line in zip(told, shown, strict=True):
        pair[:] = _shown(pair[0], line, mask)
    return found


def _shown(name: bytes, line: str, mask: Callable[[str], str]) -> list[bytes]:
    try:
        ((shown, masked),) = json.loads(line).items()
    except (ValueError, AttributeError):
        return [stored_name(_text(name), mask).encode("utf-8", "surrogateescape"), b"[withheld]"]
    shown = stored_name(shown, mask)
    return [shown.encode("utf-8", "surrogateescape"), str(masked).encode("utf-8", "surrogateescape")]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _compressor() -> zstandard.ZstdCompressor:
    """One for each thread: making it costs more than a skeleton, and two threads must not share it."""
    made: zstandard.ZstdCompressor | None = getattr(_LOCAL, "compressor", None)
    if made is None:
        made = _LOCAL.compressor = zstandard.ZstdCompressor(level=LEVEL)
    return made


def _mask_bytes(value: bytes, mask: Callable[[str], str]) -> bytes:
    return mask(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _whole_message(part: Mapping[str, Any], body: bytes | None) -> dict[str, Any]:
    headers = [(name, value) for name, value in part["headers"] if name.decode("latin-1").lower() not in FRAMING_HEADERS]
    if body:
        headers.append((b"content-length", str(len(body)).encode()))
    whole = {**part, "headers": tuple(headers), "content": body}
    whole["trailers"] = None if part["trailers"] is None else tuple(tuple(pair) for pair in part["trailers"])
    return whole


def _whole_client(part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_EMPTY_CONNECTION,
        "mitmcert": None,
        "proxy_mode": "regular",
        "timestamp_tls_setup": None,
        **part,
        "peername": _pair(part.get("peername")),
        "sockname": _pair(part.get("sockname")),
    }


def _whole_server(part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_EMPTY_CONNECTION,
        "via": None,
        "timestamp_tcp_setup": None,
        "timestamp_tls_setup": None,
        **part,
        "address": _pair(part.get("address")),
        "peername": _pair(part.get("peername")),
        "sockname": _pair(part.get("sockname")),
    }


_EMPTY_CONNECTION: dict[str, Any] = {
    "alpn": None,
    "alpn_offers": [],
    "certificate_list": [],
    "cipher": None,
    "cipher_list": [],
    "error": None,
    "sni": None,
    "tls": False,
    "tls_version": None,
    "transport_protocol": "tcp",
    "timestamp_start": None,
    "timestamp_end": None,
}


def _pair(value: Any) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


def _bytes(value: Any) -> dict[str, str]:
    """What JSON cannot say, as `_from_plain` reads it. Raises TypeError for anything but bytes."""
    if not isinstance(value, bytes):
        raise TypeError("a state of mitmproxy holds plain data and bytes")
    return {"$b": b2a_base64(value, newline=False).decode("ascii")}


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_bytes)


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$b"}:
            return base64.b64decode(value["$b"], validate=True)
        return {name: _from_plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    return value
