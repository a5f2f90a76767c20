"""Listeners: exactly those of gateway.yaml, bound last, and only when every step of the chain is there and running.

mitmproxy binds before it loads a script, with the modes of its command line, and ignores a `mode` that a script sets
(design/mitmproxy.md 2.3). So `unbind` stops that as the very first act of `hardening.load`, and `Listeners`, the last
addon of the chain, binds what the Snapshot names once all that stands before it has started.
"""

import asyncio
import gc
import ipaddress
import logging
import sys

from mitmproxy import connection, ctx, http
from mitmproxy.proxy import mode_specs

from addons.core.config.model import Address, Gateway, Listener, Snapshot
from addons.host import certificates
from addons.host.chain import CHAIN
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

GARBAGE = (20_000, 20, 50)  # what the loaded detectors hold is never garbage, and looking through it cost 8 % of the CPU of a request
NOWHERE = "http://127.0.0.1:1"  # the default upstream: routing names the real one, and nothing else may be dialled


def mode_of(listener: Listener) -> str:
    """Return mitmproxy's name for a listener. The upstream in it is never routable."""
    return f"reverse:{NOWHERE}@{listener.bind.host}:{listener.bind.port}"


def modes(gateway: Gateway) -> list[str]:
    """Return the modes of all listeners, as mitmproxy's option `mode` has them."""
    return [mode_of(listener) for listener in gateway.listeners]


def listener_of(client: connection.Client, snapshot: Snapshot) -> Listener | None:
    """Return the listener through which a client came. None: no listener of ours, so refuse."""
    mode = client.proxy_mode
    if not isinstance(mode, mode_specs.ReverseMode):
        return None
    for listener in snapshot.gateway.listeners:
        if mode.full_spec == mode_of(listener):
            return listener
    return None


def unbind() -> None:
    """Stop mitmproxy's own binding and close what it may have bound already. No listener exists afterwards."""
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "") == "Proxyserver.setup_servers":  # its name depends on the environment
            task.cancel()
    proxyserver = ctx.master.addons.get("proxyserver")
    if proxyserver is None:
        return
    for instance in proxyserver.servers._instances.values():
        for server in getattr(instance, "_servers", ()):
            server.close()
    proxyserver.servers._instances = {}
    close_strays()


def close_strays() -> None:
    """Close what mitmproxy bound but had not yet noted: a start that is cancelled right after its bind leaves a server that nobody holds but the loop."""
    loop = asyncio.get_running_loop()
    for found in gc.get_objects():
        if type(found) is asyncio.base_events.Server and found.get_loop() is loop:
            found.close()


async def bind() -> None:
    """Bind the configured listeners, all or none."""
    proxyserver = ctx.master.addons.get("proxyserver")
    if not await proxyserver.setup_servers():
        unbind()
        raise RuntimeError("a listener could not be bound")


def require_chain(runtime: Runtime) -> None:
    """Refuse to bind unless every step is registered in its order and its `running` ended normally."""
    if runtime.chain != CHAIN:
        raise RuntimeError("the chain is not complete or not in its order: " + _difference(runtime.chain))
    registered = [name for name in ctx.master.addons.lookup if name in CHAIN]
    if tuple(registered) != CHAIN:
        raise RuntimeError("not every step is registered in its order: " + _difference(tuple(registered)))
    waiting = [name for name in CHAIN if name not in runtime.running and name != Listeners.name]
    if waiting:
        raise RuntimeError("not started: " + ", ".join(waiting))
    if missing := runtime.missing():
        raise RuntimeError("not filled: " + ", ".join(missing))


def _difference(chain: tuple[str, ...]) -> str:
    for place, name in enumerate(CHAIN):
        if place >= len(chain) or chain[place] != name:
            return f"place {place} must be {name}, found {chain[place] if place < len(chain) else 'nothing'}"
    return f"unknown step {chain[len(CHAIN)]}"


class Listeners:
    """The last step of the chain: it opens the doors."""

    name = "guardhouse-listeners"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def load(self, loader: object) -> None:
        """Without `hardening` before us nobody stopped mitmproxy's own binding: do it, and refuse to start."""
        if self.runtime.snapshot is None:
            unbind()
            logger.error("guardhouse-hardening did not load: no listener is opened")

    async def running(self) -> None:
        if not ctx.options.server:
            return
        try:
            require_chain(self.runtime)
            await bind()
            gc.set_threshold(*GARBAGE)
        except Exception as error:
            logger.error("No listener is opened: %s", error)  # mitmproxy exits 1 on an error before start-up ends
            raise
        snapshot = self.runtime.snapshot
        assert snapshot is not None
        sys.stdout.write("\n".join(greeting(snapshot)) + "\n")
        sys.stdout.flush()


def greeting(snapshot: Snapshot) -> list[str]:
    """Return the three lines of a start: where it listens, one working curl, the approvals page."""
    gateway = snapshot.gateway
    places = ", ".join(f"{'https' if one.tls else 'http'}://{one.bind} ({one.name})" for one in gateway.listeners)
    return [
        f"Guardhouse {gateway.name} listens at {places}",
        f"Try it:    {example(gateway)}",
        f"Approvals: {gateway.control.public_url}/approvals",
    ]


def example(gateway: Gateway) -> str:
    """Return a curl that works as it stands: with the development token where there is one, else for a token of the reader's."""
    listener = next((one for one in gateway.listeners if one.tls is None), gateway.listeners[0])
    host = "127.0.0.1" if _is_any(listener.bind) else Address(listener.bind.host, 0).host
    url = f"{'https' if listener.tls else 'http'}://{Address(host, listener.bind.port)}/"
    words = ["curl"]
    if listener.tls and listener.tls.certificate.scheme == "auto":
        words += ["--cacert", str(certificates.ca_path(gateway.state))]
    if gateway.development is None:
        return " ".join([*words, '-H "Authorization: Bearer $TOKEN"', url])
    person = next((name for name, who in gateway.development.people.items() if who.kind == "agent"), next(iter(gateway.development.people)))
    purpose = ""
    if gateway.purpose.required and gateway.purpose.catalogue:
        purpose = f"-H '{gateway.purpose.header}: {gateway.purpose.catalogue[0].replace('*', 'tour')}'"
    token = f'-H "Authorization: Bearer $(guardhouse dev token {person})"'
    return " ".join(word for word in [*words, token, purpose, url + "customers"] if word)


def _is_any(address: Address) -> bool:
    try:
        return ipaddress.ip_address(address.host).is_unspecified
    except ValueError:
        return False


def is_tls_missing(flow: http.HTTPFlow, snapshot: Snapshot) -> bool:
    """A listener with certificates also answers cleartext HTTP (fact 8): say so, and refuse."""
    listener = listener_of(flow.client_conn, snapshot)
    return listener is None or (listener.tls is not None and not flow.client_conn.tls_established)
