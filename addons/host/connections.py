"""What the host knows of each client connection, and which upstream addresses may be dialled.

mitmproxy asks `server_connect` before it dials and `server_connected` before it sends a byte. Both answer no unless a
flow of this very client has departed for this very address, and never for an address of our own, of the machine's
link, or of a cloud's metadata service: by the address that is really dialled, not by its name (7.3).
"""

import asyncio
import collections
import ipaddress
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, ref

from mitmproxy import connection, ctx, http
from mitmproxy.proxy import layer, layers, server_hooks, tunnel
from mitmproxy.proxy.layers.http import HTTPMode

from addons.core import exchange
from addons.core.config.model import Address, Gateway, Service
from addons.host import leaving, listeners
from addons.host.refusals import Refused, abort_server
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

TLS_HANDSHAKE = 0x16  # the first byte of a TLS connection


@dataclass(slots=True)
class ConnFacts:
    """One client connection: what came through it so far."""

    opened_at: float = 0.0
    flows: int = 0  # records that were opened on it
    last: str = ""  # class of the last thing the log said about it: bad-request, crashed, tls-failed ...
    departed: WeakSet[http.HTTPFlow] = field(default_factory=WeakSet)
    http: ReferenceType[layers.HttpLayer] | None = None  # weak: it knows the client, and would keep these facts for ever
    transport: ReferenceType[Any] | None = None
    doing: Any = None  # addons.host.clocks: what, and how far; since when
    since: float = 0.0
    resets: deque[float] = field(default_factory=deque)  # of HTTP/2 streams, when
    held_back: bool = False  # nothing is read from it at the moment
    unread: int = 0  # bytes of bodies that wait for identity, at most; counted anew when it is too many


_FACTS: WeakKeyDictionary[connection.Client, ConnFacts] = WeakKeyDictionary()


def facts_of(client: connection.Client) -> ConnFacts:
    """Return what is known of a client connection; a new one starts empty."""
    known = _FACTS.get(client)
    if known is None:
        known = _FACTS[client] = ConnFacts()
    return known


def departed(flow: http.HTTPFlow) -> None:
    """Note that a flow may dial its upstream."""
    facts_of(flow.client_conn).departed.add(flow)


def require_departed(runtime: Runtime, data: server_hooks.ServerConnectionHookData) -> None:
    """Refuse the dial unless a departed, live flow of this client wants this address in this scheme."""
    server = data.server
    wanted = any(_wants(flow, server) for flow in facts_of(data.client).departed)
    if not wanted:
        server.error = "refused: no request was let out to this address"
        return
    if runtime.snapshot is None:
        server.error = "refused: not configured yet"
        return
    assert server.address
    forbid(runtime, server, server.address[0], server.address[1])


def require_allowed_peer(runtime: Runtime, data: server_hooks.ServerConnectionHookData) -> None:
    """Judge the address that answered, which a name may have hidden, and cut the connection before a byte is sent."""
    server = data.server
    if server.peername is None or runtime.snapshot is None:
        abort_server(data.client, server)
        return
    forbid(runtime, server, server.peername[0], server.peername[1])
    if server.error:
        logger.warning("upstream connection refused at its dialled address")
        abort_server(data.client, server)


def forbid(runtime: Runtime, server: connection.Server, host: str, port: int) -> None:
    """Set the connection's error when this is an address that no service may have."""
    assert runtime.snapshot is not None
    if reason := forbidden(host, port, runtime.snapshot.gateway):
        server.error = f"refused: {reason}"


def forbidden(host: str, port: int, gateway: Gateway) -> str | None:
    """Say why nothing may be dialled at this address, None when it may. A name is judged again by the address it had."""
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return None
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_link_local:
        return "a link-local address"
    if plain.is_multicast or plain.is_unspecified:
        return "not an address of one machine"
    for own in own_addresses(gateway):
        if port == own.port and is_here(plain, own):
            return "an address of our own"
    return None


def own_addresses(gateway: Gateway) -> Iterable[Address]:
    """Yield where we listen ourselves: nobody reaches our listeners or the control plane through a service."""
    yield gateway.control.bind
    for listener in gateway.listeners:
        yield listener.bind


def is_here(address: ipaddress.IPv4Address | ipaddress.IPv6Address, own: Address) -> bool:
    """True when dialling `address` reaches a socket that is bound to `own`. All of loopback is one machine."""
    try:
        bound = ipaddress.ip_address(own.host)
    except ValueError:
        return True  # bound by name: when in doubt, ours
    return bound.is_unspecified or address == bound or (address.is_loopback and bound.is_loopback)


def admit(runtime: Runtime, client: connection.Client) -> None:
    """Let a client in that came through a listener of ours and is not one too many."""
    snapshot = runtime.snapshot
    if snapshot is None or listeners.listener_of(client, snapshot) is None:
        client.error = "refused: no listener of ours"
        return
    limits = snapshot.gateway.limits
    live = ctx.master.addons.get("proxyserver").connections
    peer = client.peername[0]
    of_peer = sum(1 for handler in live.values() if handler.client.peername[0] == peer)
    of_peer += sum(1 for transport in leaving.LEAVING if (transport.get_extra_info("peername") or ("",))[0] == peer)
    if len(live) + len(leaving.LEAVING) > limits.connections or of_peer > limits.per_peer:
        client.error = "refused: too many connections"
        return
    facts = facts_of(client)
    facts.opened_at = client.timestamp_start
    handler = live.get(client.id)
    raise_upstream_cap(handler, limits.upstream_connections)
    io = handler.transports.get(client) if handler is not None else None
    if io is not None and io.writer is not None:
        facts.transport = ref(io.writer.transport)
        leaving.keep_alive(io.writer.transport)


def conclude(runtime: Runtime, client: connection.Client) -> None:
    """Keep the class of what the log last said of a connection that has ended; what it has not fetched yet has a clock."""
    facts = facts_of(client)
    if client.peername:
        facts.last = runtime.said.pop(client.peername[:2], "")
    transport = facts.transport() if facts.transport is not None else None
    if transport is not None and runtime.snapshot is not None:
        leaving.watch(transport, runtime.snapshot.gateway.limits.keep_alive)


def raise_upstream_cap(handler: Any, most: int) -> None:
    """mitmproxy opens at most 5 upstream connections per client connection: an HTTP/2 client would queue behind them."""
    if handler is not None:
        handler.max_conns = collections.defaultdict(lambda: asyncio.Semaphore(most))


def require_transport(runtime: Runtime, nextlayer: layer.NextLayer) -> None:
    """Decide what a new connection speaks: TLS on a TLS listener, cleartext HTTP on any other, and nothing else."""
    context = nextlayer.context
    data = nextlayer.data_client()
    if not data or len(context.layers) != 1:
        return  # before the first byte nothing is decided; what comes later is inside TLS
    listener = listeners.listener_of(context.client, runtime.snapshot) if runtime.snapshot else None
    speaks_tls = data[0] == TLS_HANDSHAKE
    if listener is None or speaks_tls != (listener.tls is not None):
        runtime.said[context.client.peername[:2]] = "wrong-transport"
        nextlayer.layer = Refused(context)
        return
    stack = tunnel.LayerStack()
    if speaks_tls:
        stack /= layers.ClientTLSLayer(context)
    spoken = layers.HttpLayer(context, HTTPMode.transparent)
    facts_of(context.client).http = ref(spoken)
    stack /= spoken
    nextlayer.layer = stack[0]


def service_of(runtime: Runtime, client: connection.Client, server: Any) -> Service | None:
    """Return the service for whose departed flow this upstream connection is made, None when there is none."""
    for flow in facts_of(client).departed:
        if _wants(flow, server) and (name := exchange.read(flow.metadata).service):
            return runtime.snapshot_of(flow).gateway.services.get(name)
    return None


def _wants(flow: http.HTTPFlow, server: connection.Server) -> bool:
    if not flow.live or flow.error is not None or flow.response is not None:
        return False
    request = flow.request
    return server.address == (request.host, request.port) and server.tls == (request.scheme == "https")
