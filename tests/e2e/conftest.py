"""One gateway for all end-to-end tests that do not stop it, with the upstreams that nobody here wrote behind it."""

import pytest

from tests.parts import upstreams
from tests.parts.gateway import Gateway

UPSTREAMS = ("httpbin", "jsonserver", "nginx")
RULES = """
  - name: upstreams-are-read
    match: {services: [%(names)s], principals: {kinds: [human, agent]}}
    effect: allow
    mask: [pii]
"""


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """A running gateway: the shipped example, plus the services httpbin, jsonserver and nginx where they are installed."""
    home = tmp_path_factory.mktemp("gateway")
    programs, ports = [], {}
    for name, start in (("httpbin", upstreams.httpbin), ("jsonserver", upstreams.json_server), ("nginx", upstreams.nginx)):
        folder = tmp_path_factory.mktemp(name)
        try:
            program, port = start(folder)
        except pytest.skip.Exception:
            continue
        programs.append(program)
        ports[name] = port
    running = Gateway(home, edit=lambda name, text: add_services(name, text, ports)).start()
    running.upstream_ports = ports
    yield running
    code = running.stop()
    for program in programs:
        program.stop()
    assert code == 0, running.output[-3000:]


def add_services(name: str, text: str, ports: dict[str, int]) -> str:
    """The shipped example with further services, reachable on both listeners."""
    names = ", ".join(ports)
    if name == "gateway.yaml":
        text = text.replace("services: [crm, echo]", f"services: [crm, echo, {names}]").replace(
            "services: [crm]", f"services: [crm, echo, {names}]"
        )
        more = "".join(
            f"  - {{name: {service}, kind: http, url: 'http://127.0.0.1:{port}', hosts: [{service}.localhost], credential: null}}\n"
            for service, port in ports.items()
        )
        return text.replace("\naudit:\n", f"\n{more}\naudit:\n")
    if name == "rules.yaml":
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n") % {"names": names}, 1)
    return text


@pytest.fixture
def needs(gateway, request):
    """Skip loudly when the upstream that a test names is not there."""

    def check(name: str) -> str:
        if name not in gateway.upstream_ports:
            pytest.skip(f"{name} is not here; see tests/README.md for the command that installs it")
        return f"{name}.localhost"

    return check
