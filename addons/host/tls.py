"""TLS, both ways: each listener shows its own certificate and may demand the client's; a service may have its own authority.

mitmproxy's options are global, and its `request_client_cert` verifies nothing. So our contexts are made here, once, and
put into the connection before mitmproxy's own `tlsconfig` looks: it leaves a connection alone that has a context.
"""

import ipaddress
import logging
from pathlib import Path
from typing import Any

from mitmproxy import tls
from OpenSSL import SSL

from addons.core.config.model import Listener, Reference, Service, Snapshot
from addons.core.errors import ConfigError, ConfigProblem
from addons.host import certificates, connections, listeners
from addons.host.refusals import abort_client, abort_server
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)

PROTOCOLS = (b"h2", b"http/1.1")
OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_TICKET


def contexts(snapshot: Snapshot) -> dict[str, SSL.Context]:
    """Return the context of each TLS listener by its name; ConfigError when a file cannot be used."""
    _require_one_authority(snapshot)
    made = {}
    for listener in snapshot.gateway.listeners:
        if listener.tls is not None:
            try:
                made[listener.name] = _server_context(snapshot, listener)
            except (SSL.Error, OSError, ValueError) as error:
                problem = f"the certificate files of listener {listener.name} cannot be used ({type(error).__name__})"
                raise ConfigError([ConfigProblem(listener.where or "gateway.yaml", problem)]) from error
    return made


def _require_one_authority(snapshot: Snapshot) -> None:
    """mitmproxy reuses a connection by address and name, whatever the service: such services must trust the same authority."""
    trusted: dict[str, Service] = {}
    for service in snapshot.gateway.services.values():
        first = trusted.setdefault(service.url, service)
        if first.ca != service.ca:
            problem = f"services {first.name} and {service.name} have one address but not one `ca`"
            raise ConfigError([ConfigProblem(service.where or "gateway.yaml", problem, "give both the same `ca`")])


def certificate_file(snapshot: Snapshot, listener: Listener) -> Path:
    """Return the file with key and chain of a listener; `auto` makes one."""
    assert listener.tls is not None
    reference = listener.tls.certificate
    if reference.scheme != "auto":
        return _path(snapshot, reference)
    hosts = [listener.bind.host, *(host for name in listener.services for host in snapshot.gateway.services[name].hosts)]
    return certificates.ensure(snapshot.gateway.state, f"listener-{listener.name}", hosts).pem_path


def _path(snapshot: Snapshot, reference: Reference) -> Path:
    if reference.scheme == "state":
        return snapshot.gateway.state / reference.rest
    if reference.scheme == "file":
        return Path(reference.rest)
    raise ConfigError([ConfigProblem("gateway.yaml", f"{reference.scheme}: is no place for a certificate", "use file:/abs or state:name")])


def _server_context(snapshot: Snapshot, listener: Listener) -> SSL.Context:
    assert listener.tls is not None
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(OPTIONS)
    file = str(certificate_file(snapshot, listener))
    context.use_certificate_chain_file(file)
    context.use_privatekey_file(file)
    context.check_privatekey()
    context.set_alpn_select_callback(_choose_protocol)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if listener.tls.client_ca is not None:
        context.load_verify_locations(str(_path(snapshot, listener.tls.client_ca)))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, None)
    return context


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """HTTP/2 where the client can: a held request then blocks no other. Nothing in common ends the handshake's ALPN."""
    return next((protocol for protocol in PROTOCOLS if protocol in offered), SSL.NO_OVERLAPPING_PROTOCOLS)


def present(runtime: Runtime, data: tls.TlsData) -> None:
    """Give a client's handshake the context of its listener; without one the connection is cut."""
    client = data.context.client
    listener = listeners.listener_of(client, runtime.snapshot) if runtime.snapshot else None
    context = runtime.tls_contexts.get(listener.name) if listener else None
    if context is None:
        abort_client(client)
        return
    connection = SSL.Connection(context)
    connection.set_accept_state()
    data.ssl_conn = connection


def trust(runtime: Runtime, data: tls.TlsData) -> None:
    """Give the handshake with a service's upstream the authority that the service names; the others use the public ones."""
    service = connections.service_of(runtime, data.context.client, data.conn)
    if service is None:
        abort_server(data.context.client, data.conn)
        return
    if service.ca is None or runtime.snapshot is None:
        return
    data.conn.alpn_offers = data.conn.alpn_offers or tuple(data.context.client.alpn_offers)  # what the client speaks, as without a CA
    data.ssl_conn = _client_connection(runtime.snapshot, service, data.conn)


def _client_connection(snapshot: Snapshot, service: Service, server: Any) -> SSL.Connection:
    assert service.ca is not None
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(OPTIONS)
    context.set_verify(SSL.VERIFY_PEER, None)
    context.load_verify_locations(str(_path(snapshot, service.ca)))
    connection = SSL.Connection(context)
    server.sni = service.address.host
    _require_name(connection, service.address.host)
    server.alpn_offers = server.alpn_offers or (b"http/1.1",)
    connection.set_alpn_protos(list(server.alpn_offers))
    connection.set_connect_state()
    return connection


def _require_name(connection: SSL.Connection, name: str) -> None:
    """The certificate must be for this name or address. pyOpenSSL has no method for it, as mitmproxy's own code shows."""
    library: Any = SSL._lib  # type: ignore[attr-defined]
    parameters = library.SSL_get0_param(connection._ssl)
    library.X509_VERIFY_PARAM_set_hostflags(parameters, library.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
    try:
        packed = ipaddress.ip_address(name).packed
        done = library.X509_VERIFY_PARAM_set1_ip(parameters, packed, len(packed))
    except ValueError:
        encoded = name.encode("idna")
        connection.set_tlsext_host_name(encoded)
        done = library.X509_VERIFY_PARAM_set1_host(parameters, encoded, len(encoded))
    if done != 1:
        raise RuntimeError("the upstream's name cannot be required")
