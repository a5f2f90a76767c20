"""Addresses compared with each other: what collides, what would loop, and what must not leave this machine."""

from addons.core.config.model import Address, Gateway, Service
from addons.core.config.reading import Place
from addons.core.config.section import Section
from addons.core.config.units import is_any, is_loopback


def check(file: Section, gateway: Gateway) -> None:
    """All rules about addresses. What could not be read is left out: it was told already."""
    places = [place for place in file.reading.places if place.address.host]
    _collisions(file, [place for place in places if place.bound])
    _loops(file, gateway, places)
    _cleartext(file, gateway)
    _routes(file, gateway)
    _shared_upstreams(file, gateway)
    if gateway.development is not None:
        _only_here(file, places)
        _one_development_issuer(file, gateway.development.issuer, gateway, places)
    if gateway.control.unsafe_metrics_open and gateway.control.bind.host and not is_loopback(gateway.control.bind.host):
        _tell(
            file,
            _where(places, "control"),
            "`unsafe_metrics_open` off loopback would show the metrics to everybody",
            "give Prometheus a token",
        )


def _collisions(file: Section, bound: list[Place]) -> None:
    for index, place in enumerate(bound):
        for other in bound[:index]:
            if _meet(place.address, other.address):
                _tell(file, place.where, f"{place.what} binds {place.address}, which {other.what} binds already", "give each its own port")


def _loops(file: Section, gateway: Gateway, places: list[Place]) -> None:
    """A service that is ourselves would loop, or would open the control plane to whoever may use the service."""
    ours = [place for place in places if place.bound and not place.what.startswith("unsafe_development")]
    for place in places:
        if not place.what.startswith("service "):
            continue
        for own in ours:
            elsewhere = is_any(own.address.host) and not (is_loopback(place.address.host) or place.address.host == "localhost")
            if _meet(place.address, own.address) and not elsewhere:  # a name or another host may well use our port
                _tell(file, place.where, f"{place.what} is at {place.address}, where {own.what} of this gateway listens")


def _meet(one: Address, other: Address) -> bool:
    """True when both can be the same socket."""
    if one.port != other.port:
        return False
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
    if len(hosts) == 1:
        return True
    return any(is_any(host) for host in hosts) and (":" not in "".join(hosts) or "::" in hosts)


def _cleartext(file: Section, gateway: Gateway) -> None:
    for listener in gateway.listeners:
        if listener.tls is None and listener.bind.host and not is_loopback(listener.bind.host) and not listener.unsafe_cleartext:
            _tell(
                file,
                listener.where,
                f"listener {listener.name} would speak cleartext off loopback ({listener.bind})",
                "add tls, or unsafe_cleartext: true",
            )


def _routes(file: Section, gateway: Gateway) -> None:
    """A request fits exactly one service of its listener: hosts are unique, and only the first may have none."""
    for listener in gateway.listeners:
        owners: dict[str, str] = {}
        for index, name in enumerate(listener.services):
            service = gateway.services.get(name)
            if service is None:
                continue
            if not service.hosts and index:
                _tell(
                    file,
                    service.where,
                    f"service {name} has no `hosts`, but is not the first of listener {listener.name}",
                    "no request could reach it",
                )
            for host in service.hosts:
                if host in owners:
                    _tell(
                        file,
                        service.where,
                        f"service {name} has the host `{host}`, which {owners[host]} of listener {listener.name} has already",
                    )
                owners.setdefault(host, name)


def _shared_upstreams(file: Section, gateway: Gateway) -> None:
    """mitmproxy shares upstream connections by (address, TLS name), so two services there must trust the same CA."""
    first: dict[tuple[str, str], Service] = {}
    for service in gateway.services.values():
        if not service.address.host:
            continue
        other = first.setdefault((service.scheme, str(service.address)), service)
        if (other.ca is None) != (service.ca is None) or str(other.ca) != str(service.ca):
            _tell(
                file,
                service.where,
                f"services {other.name} and {service.name} have one address but not one `ca`",
                "connections there are shared",
            )


def _only_here(file: Section, places: list[Place]) -> None:
    for place in places:
        if not is_loopback(place.address.host):
            _tell(
                file, place.where, f"{place.what} is at `{place.address}`: with unsafe_development every address is a loopback literal",
                "use 127.0.0.1, or take unsafe_development out",
            )  # fmt: skip


def _one_development_issuer(file: Section, at: Address, gateway: Gateway, places: list[Place]) -> None:
    for issuer in gateway.identity.issuers:
        for place in places:
            if issuer.preset == "development" and place.what == f"issuer {issuer.name}" and str(place.address) != str(at) and at.host:
                _tell(
                    file,
                    place.where,
                    f"{place.what} is at {place.address}, but the development issuer is at {at}",
                    "write the same address",
                )


def _where(places: list[Place], what: str) -> str:
    return next((place.where for place in places if place.what == what), "gateway.yaml:1")


def _tell(file: Section, where: str, problem: str, hint: str = "") -> None:
    file.reading.tell(int(where.rpartition(":")[2]), problem, hint)
