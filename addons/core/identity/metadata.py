"""Where a client learns which issuer's tokens count here: RFC 9728 metadata, and the challenge that points to it.

Served by the control plane, never on the data path, where the address may be the upstream's own. `resource` is what the
token's audience must be, byte for byte, so a client that asks its issuer for it (RFC 8707) gets a token that we accept.
Members without a value are left out (RFC 9728 section 3.2): there are no scopes and no DPoP here.
"""

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from addons.core.config.model import Snapshot
from addons.core.errors import AuthenticationError

PATH = "/.well-known/oauth-protected-resource"
CHALLENGE = "WWW-Authenticate"


def document(snapshot: Snapshot, service: str | None = None) -> dict[str, Any] | None:
    """The metadata of the control plane, or of a service's data path; None for a service that is not there."""
    gateway = snapshot.gateway
    if service is None:
        resource, accepted = audience_of(gateway.control.public_url, gateway.control.audiences, ()), gateway.control.audiences
    elif service in gateway.services:
        accepted = tuple(dict.fromkeys(audience for issuer in gateway.identity.issuers for audience in issuer.audiences))
        resource = audience_of(gateway.identity.public_url, accepted, gateway.services[service].hosts)
    else:
        return None
    # An issuer that is not told this audience (the control plane's own list decides there) is no help to the client.
    issuers = [issuer.issuer for issuer in gateway.identity.issuers if service is None or resource in issuer.audiences]
    told = {
        "resource": resource,
        "authorization_servers": issuers or [issuer.issuer for issuer in gateway.identity.issuers],
        "bearer_methods_supported": ["header"],
        "resource_name": f"Guardhouse {gateway.name}" + (f": {service}" if service else ": control plane"),
    }
    return {name: value for name, value in told.items() if value}


def address(snapshot: Snapshot, service: str | None = None) -> str:
    """Where `document` is served."""
    return snapshot.gateway.control.public_url.rstrip("/") + PATH + (f"/{service}" if service else "")


def audience_of(public_url: str, accepted: Collection[str], hosts: Collection[str]) -> str:
    """The accepted audience that is this address: one with a host of the service, else the gateway's own, in its own spelling."""
    for audience in accepted:
        if urlsplit(audience).hostname in hosts:
            return audience
    return next((audience for audience in accepted if audience.rstrip("/") == public_url.rstrip("/")), public_url)


def point(error: AuthenticationError, snapshot: Snapshot, service: str | None = None) -> None:
    """Let the challenge of a refusal point to the metadata (RFC 9728 section 5.1). One without a challenge stays without."""
    told = error.headers.get(CHALLENGE)
    if told is not None and "resource_metadata=" not in told:
        error.headers[CHALLENGE] = f'{told}, resource_metadata="{address(snapshot, service)}"'
