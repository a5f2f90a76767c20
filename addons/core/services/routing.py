"""Which service a request is for: exactly one, or 404 / 421.

The listener decides which services can be reached, the host which of them is meant. A host that another listener
serves is never taken by this listener's catch-all service: on TLS that is 421 (the client shared a connection that it
must not share), on cleartext 404.
"""

from collections.abc import Sequence

from addons.core.config.model import Gateway, Listener, Service
from addons.core.errors import GuardhouseError, RouteError


def find_listener(gateway: Gateway, host: str, port: int) -> Listener:
    """Return the listener that accepted on this socket. A socket that no listener names is never served."""
    on_port = [listener for listener in gateway.listeners if listener.bind.port == port]
    for listener in on_port:
        if listener.bind.host in (host, "0.0.0.0", "::", "", "localhost"):
            return listener
    raise GuardhouseError(detail="no listener has this socket")


def check_transport(listener: Listener, tls_established: bool) -> None:
    """mitmproxy answers cleartext on a TLS listener too; we do not."""
    if listener.tls is not None and not tls_established:
        raise RouteError("This listener speaks TLS only. Use https.", code="misdirected", detail="cleartext on a TLS listener")
    if listener.tls is None and tls_established:
        raise RouteError("This listener speaks cleartext only. Use http.", code="misdirected", detail="TLS on a cleartext listener")


def check_name(listener: Listener, shaken: str | None, host: str) -> None:
    """The name of the TLS handshake is the one that the request speaks to (RFC 9110 section 7.4); a client that names an address sends none."""
    if listener.tls is not None and shaken and shaken.rstrip(".").lower() != host:
        raise RouteError(
            "The connection was opened for another host. Open one of its own for this host.",
            code="misdirected",
            detail="the host is not the name of the TLS handshake",
        )


def find_service(gateway: Gateway, listener: Listener, host: str) -> Service:
    """Return the service with this host, or the listener's first one if that takes the rest."""
    own = [gateway.services[name] for name in listener.services if name in gateway.services]
    for service in own:
        if host in _lowered(service.hosts):
            return service
    if any(host in _lowered(service.hosts) for service in gateway.services.values()):
        raise _elsewhere(listener)
    if own and not own[0].hosts:
        return own[0]
    raise RouteError()


def _elsewhere(listener: Listener) -> RouteError:
    if listener.tls is None:
        return RouteError()
    return RouteError("This listener does not serve that host. Open a connection of its own for it.", code="misdirected")


def _lowered(hosts: Sequence[str]) -> set[str]:
    return {host.lower() for host in hosts}


def host_header(service: Service, received: str) -> str:
    """Return the Host that the upstream sees."""
    if service.host_header == "as-received":
        return received
    address = service.address
    if address.port == (443 if service.scheme == "https" else 80):
        return f"[{address.host}]" if ":" in address.host else address.host
    return str(address)
