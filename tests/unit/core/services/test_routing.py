from dataclasses import replace

import pytest

from addons.core.config.model import Address, Listener, Reference, Service, Tls
from addons.core.errors import GuardhouseError, RouteError
from addons.core.services.routing import check_name, check_transport, find_listener, find_service, host_header
from tests import harness

AUTO = Tls(Reference("auto", "", "local"))
AT = Address("127.0.0.1", 8446)
SERVICES = {
    "crm": Service("crm", "http", "http", AT),
    "echo": Service("echo", "http", "http", AT, hosts=("echo.localhost", "Echo.Example")),
    "far": Service("far", "http", "http", AT, hosts=("far.example",)),
}
TLS = Listener("tls", Address("127.0.0.1", 8443), AUTO, ("crm", "echo"))
CLEAR = Listener("clear", Address("127.0.0.1", 8442), None, ("crm",))
NAMED = Listener("named", Address("0.0.0.0", 8441), None, ("echo", "far"))
GATEWAY = replace(harness.snapshot().gateway, services=SERVICES, listeners=(TLS, CLEAR, NAMED))


@pytest.mark.parametrize(
    ("listener", "host", "service"),
    [
        pytest.param(TLS, "echo.localhost", "echo", id="by-host"),
        pytest.param(TLS, "echo.example", "echo", id="hosts-have-no-case"),
        pytest.param(TLS, "127.0.0.1", "crm", id="the-first-takes-the-rest"),
        pytest.param(TLS, "far.example", 421, id="a-host-of-another-listener-on-tls"),
        pytest.param(CLEAR, "far.example", 404, id="and-on-cleartext"),
        pytest.param(CLEAR, "echo.localhost", 404, id="never-by-the-first-of-this-one"),
        pytest.param(NAMED, "far.example", "far", id="the-second"),
        pytest.param(NAMED, "127.0.0.1", 404, id="nobody-takes-the-rest"),
        pytest.param(replace(CLEAR, services=()), "127.0.0.1", 404, id="a-listener-without-services"),
        pytest.param(replace(CLEAR, services=("nosuch",)), "127.0.0.1", 404, id="a-service-that-is-not-there"),
    ],
)
def test_a_request_fits_exactly_one_service(listener, host, service):
    if isinstance(service, str):
        assert find_service(GATEWAY, listener, host).name == service
        return
    with pytest.raises(RouteError) as refused:
        find_service(GATEWAY, listener, host)
    assert refused.value.status == service


def test_a_catch_all_service_counts_only_as_the_first():
    with pytest.raises(RouteError):
        find_service(GATEWAY, replace(TLS, services=("echo", "crm")), "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("127.0.0.1", 8443, "tls"),
        ("127.0.0.1", 8442, "clear"),
        ("192.0.2.1", 8441, "named"),
        ("127.0.0.1", 8440, None),
        ("192.0.2.1", 8443, None),
    ],
)
def test_the_socket_names_the_listener(host, port, name):
    if name:
        assert find_listener(GATEWAY, host, port).name == name
        return
    with pytest.raises(GuardhouseError) as refused:
        find_listener(GATEWAY, host, port)
    assert refused.value.status == 503


@pytest.mark.parametrize(
    ("listener", "tls", "passes"), [(TLS, True, True), (TLS, False, False), (CLEAR, False, True), (CLEAR, True, False)]
)
def test_a_listener_speaks_what_its_configuration_says(listener, tls, passes):
    if passes:
        check_transport(listener, tls)
        return
    with pytest.raises(RouteError) as refused:
        check_transport(listener, tls)
    assert refused.value.status == 421


@pytest.mark.parametrize(
    ("service", "shown"),
    [
        pytest.param(SERVICES["crm"], "127.0.0.1:8446", id="upstream"),
        pytest.param(replace(SERVICES["crm"], host_header="as-received"), "crm.test:1", id="as-received"),
        pytest.param(replace(SERVICES["crm"], scheme="https", address=Address("api.example", 443)), "api.example", id="default-port"),
        pytest.param(replace(SERVICES["crm"], address=Address("::1", 80)), "[::1]", id="ipv6"),
        pytest.param(replace(SERVICES["crm"], address=Address("::1", 8080)), "[::1]:8080", id="ipv6-with-port"),
    ],
)
def test_the_upstream_sees_the_host_that_its_configuration_says(service, shown):
    assert host_header(service, "crm.test:1") == shown


@pytest.mark.parametrize(
    ("listener", "shaken", "host", "passes"),
    [
        pytest.param(TLS, "echo.localhost", "echo.localhost", True, id="the-same"),
        pytest.param(TLS, "Echo.Localhost.", "echo.localhost", True, id="case-and-a-final-dot"),
        pytest.param(TLS, None, "echo.localhost", True, id="no-name-was-sent"),
        pytest.param(TLS, "", "127.0.0.1", True, id="an-empty-name"),
        pytest.param(TLS, "crm.localhost", "echo.localhost", False, id="another-service-of-the-same-listener"),
        pytest.param(TLS, "crm.localhost", "127.0.0.1", False, id="a-name-and-then-an-address"),
        pytest.param(CLEAR, "crm.localhost", "echo.localhost", True, id="cleartext-has-no-name"),
    ],
)
def test_a_connection_is_for_the_host_that_its_handshake_named(listener, shaken, host, passes):
    if passes:
        check_name(listener, shaken, host)
        return
    with pytest.raises(RouteError) as refused:
        check_name(listener, shaken, host)
    assert (refused.value.status, refused.value.code) == (421, "misdirected")
