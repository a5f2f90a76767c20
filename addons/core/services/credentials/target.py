"""Where a credential may go: to the service's own upstream, over TLS or within this machine, and nowhere else."""

import ipaddress

from addons.core.config.model import Service
from addons.core.errors import CredentialError


def check(service: Service, scheme: str, host: str, port: int) -> None:
    """Raise CredentialError when the flow no longer goes to the upstream whose credential it would carry."""
    if (scheme, host, port) != (service.scheme, service.address.host, service.address.port):
        raise CredentialError(detail="the flow goes elsewhere")
    if scheme != "https" and not _is_loopback(host):
        raise CredentialError(detail="cleartext off loopback")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
