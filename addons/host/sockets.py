"""What the host remembers of an open WebSocket, beside its flow and never in its metadata: the Socket.

A message starts blocked, like a request. It is passed on only when the policy has judged it, masking has seen the whole of
it, and it is durably recorded: each of these notes it here, and the layer (`addons.host.patches_websocket`) looks. A step
that refuses drops the message; what the client is told then, and whether the session goes on, is decided here.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import http
from mitmproxy.websocket import WebSocketMessage

from addons.core import exchange
from addons.core.config.model import Snapshot
from addons.core.errors import CODES, GuardhouseError, problem_of
from addons.core.exchange import Decision, Operation
from addons.core.services import messages
from addons.core.services.websocket import OPAQUE

INTERNAL, POLICY, TOO_BIG, RESTART = 1011, 1008, 1009, 1012  # RFC 6455 section 7.4.1
CONTROL_KEPT = 32  # pings and pongs between two events; further ones are counted
PINGS_KEPT = 16


@dataclass(frozen=True, slots=True)
class End:
    """We end the session: the code both sides get, and why."""

    code: int
    error: GuardhouseError


@dataclass(slots=True)
class Socket:
    """One open WebSocket."""

    subprotocol: str
    reading: str  # opaque, or the extractor of its messages
    snapshot: Snapshot | None = None  # the newest one under which its upgrade was judged
    number: int = 0  # messages so far
    size: int = 0  # bytes that were passed on
    stored: int = 0  # bytes of them that are in the record
    message: WebSocketMessage | None = None  # under way
    judged: WebSocketMessage | None = None
    masked: WebSocketMessage | None = None
    recorded: WebSocketMessage | None = None
    operation: Operation | None = None  # of the message under way
    decision: Decision | None = None
    refusal: GuardhouseError | None = None
    hold: str | None = None  # the approval that the message under way uses
    replies: list[bytes] = field(default_factory=list)  # of ours, to the client
    end: End | None = None
    control: list[Mapping[str, Any]] = field(default_factory=list)
    control_lost: int = 0
    reason: str = ""  # of the close, masked
    pings: dict[bool, deque[bytes]] = field(default_factory=lambda: {True: deque(maxlen=PINGS_KEPT), False: deque(maxlen=PINGS_KEPT)})

    def begin(self, message: WebSocketMessage) -> None:
        """A message came: nothing is known of it."""
        self.message, self.number = message, self.number + 1
        self.judged = self.masked = self.recorded = None
        self.operation = self.decision = self.refusal = self.hold = None

    def passes(self, message: WebSocketMessage) -> bool:
        """Whether this very message may be passed on."""
        seen = (self.message, self.judged, self.masked, self.recorded)
        return self.end is None and not message.dropped and all(one is message for one in seen)

    def note_control(self, told: Mapping[str, Any]) -> None:
        """Remember a ping, a pong or a close for the next event."""
        if len(self.control) < CONTROL_KEPT:
            self.control.append(told)
        else:
            self.control_lost += 1


_SOCKETS: WeakKeyDictionary[http.HTTPFlow, Socket] = WeakKeyDictionary()


def find(flow: http.HTTPFlow) -> Socket | None:
    """The socket of a flow, None when it has none."""
    return _SOCKETS.get(flow)


def of(flow: http.HTTPFlow) -> Socket:
    """The socket of a flow. KeyError when nobody opened one: closed."""
    return _SOCKETS[flow]


def put(flow: http.HTTPFlow, socket: Socket) -> None:
    """Remember it for as long as mitmproxy keeps the flow."""
    _SOCKETS[flow] = socket


def under_way(flow: http.HTTPFlow) -> WebSocketMessage | None:
    """The message that is to be looked at; None when it is dropped already. Raises unless it is the one the layer began."""
    socket = of(flow)
    message = flow.websocket.messages[-1] if flow.websocket is not None and flow.websocket.messages else None
    if message is None or message is not socket.message:
        raise GuardhouseError(detail="not the message that came")
    return None if message.dropped else message


def is_client_message(message: WebSocketMessage) -> bool:
    """True for what the client itself said."""
    return message.from_client and not message.injected


def end(flow: http.HTTPFlow, code: int, error: GuardhouseError) -> None:
    """The session is over; the first reason stays. The layer closes it when it looks next."""
    socket = find(flow)
    if socket is not None and socket.end is None:
        socket.end = End(code, error)


def refuse(hook: str, flow: http.HTTPFlow, error: GuardhouseError) -> None:
    """A step refused. A client's message that its extractor has words for is answered, and the session goes on; else it ends."""
    socket = find(flow)
    message = flow.websocket.messages[-1] if flow.websocket is not None and flow.websocket.messages else None
    if message is not None:
        message.drop()
    if socket is None:
        return
    socket.refusal = socket.refusal or error
    answer = told(flow, socket, error) if hook == "websocket_message" and message is not None and is_client_message(message) else None
    if answer is not None:
        socket.replies.append(answer)
    elif not is_silent(socket, message, error):
        end(flow, code_of(error), error)


def told(flow: http.HTTPFlow, socket: Socket, error: GuardhouseError) -> bytes | None:
    """What the client is told of a message of its own that was refused by somebody's decision; None when that ends the session."""
    if socket.reading == OPAQUE or socket.message is None or not is_decision(error):
        return None
    record = flow.metadata.get(exchange.KEY)
    problem = problem_of(error, record.get("id", "") if isinstance(record, dict) else "")
    return messages.refusal(socket.reading, socket.message.content, problem)


def is_decision(error: GuardhouseError) -> bool:
    """True for a refusal of this message; all others say that nobody could decide, or that the session itself must end."""
    fault = CODES[error.code].fault
    return fault in ("caller", "policy") and error.status not in (401, 413)


def is_silent(socket: Socket, message: WebSocketMessage | None, error: GuardhouseError) -> bool:
    """A notification that was refused has nobody who waits for an answer: it is dropped, and that is all."""
    has_words = socket.reading != OPAQUE and socket.operation is not None
    return has_words and message is not None and is_client_message(message) and is_decision(error)


def code_of(error: GuardhouseError) -> int:
    """The close code for a refusal."""
    return {"ours": INTERNAL, "upstream": INTERNAL}.get(CODES[error.code].fault, POLICY)
