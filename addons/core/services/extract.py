"""Which extractor reads a request: one for each kind of service."""

from collections.abc import Callable, Mapping, Sequence

from addons.core.config.model import Service
from addons.core.errors import GuardhouseError
from addons.core.exchange import Operation
from addons.core.services import http, mcp
from addons.core.services.canonical import METHODS

Extractor = Callable[[str, str, str, str, str, Sequence[tuple[str, str]], bytes, Service], Operation]
EXTRACTORS: Mapping[str, Extractor] = {http.PROTOCOL: http.operation, mcp.PROTOCOL: mcp.operation}
ATTRIBUTES: Mapping[str, frozenset[str]] = {http.PROTOCOL: http.ATTRIBUTES, mcp.PROTOCOL: mcp.ATTRIBUTES}  # what each always sets
VERBS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {  # the methods and the verbs that an operation of this kind can have
    http.PROTOCOL: (METHODS, METHODS),
    mcp.PROTOCOL: (mcp.METHODS, mcp.VERBS),
}
FREE: Mapping[str, tuple[str, ...]] = {mcp.PROTOCOL: (mcp.ARGUMENT,)}  # beginnings of attributes that the request itself names


def operation(
    method: str, scheme: str, host: str, path: str, query: str, headers: Sequence[tuple[str, str]], body: bytes, service: Service
) -> Operation:
    """Return the operation of a request that `canonical` let through, as the service's kind reads it."""
    extractor = EXTRACTORS.get(service.kind)
    if extractor is None:
        raise GuardhouseError("Services of this kind are not carried yet.", code="not-supported", detail=f"kind {service.kind}")
    return extractor(method, scheme, host, path, query, headers, body, service)
