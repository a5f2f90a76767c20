"""Each traffic hook of each shell of the real stack fails in turn: nothing passes, nobody hangs, one trace is left (acceptance 1).

An exception, an OptionsError, a cancellation and a hang, over HTTP/1.1 and HTTP/2. All cases run at once against one
gateway, since a hang costs its whole deadline; each test then looks at what came of its own. WebSocket hooks have tests
of their own.
"""

import concurrent.futures
import contextlib
import json
import socket
import ssl
import time
from dataclasses import dataclass

import pytest

from addons.host.fail_closed import CONNECTION_HOOKS, hooks_of
from tests.parts.gateway import ROOT, Gateway
from tests.parts.hostile_upstream import HostileUpstream, answer
from tests.parts.processes import wait_until
from tests.parts.raw_client import http2
from tests.parts.raw_site import answer_of, ask, head, http_events, terminals

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SCRIPT = ROOT / "tests" / "parts" / "host_scripts" / "fault.py"
KINDS = ("Exception", "OptionsError", "CancelledError", "Hang")
DEADLINE = 2.0  # limits.hook_deadline of this gateway
BUSY = 3.0  # seconds that a machine with two cores and 150 requests at once may add
CANARY = "ellen.ripley@nostromo.example"
BEFORE, AFTER, ENDS = ("requestheaders", "request"), ("responseheaders", "response"), ("error",)
RULES = """
  - name: faulty-is-read
    match: {services: [faulty, closed], principals: {kinds: [human, agent]}}
    effect: allow
    mask: [pii]
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault: which hook of which step, how it fails, and over which version of HTTP."""

    step: str
    hook: str
    kind: str
    version: str
    number: int

    @property
    def source(self) -> str:
        """An address of its own: refusals before identity are summarised for each peer."""
        return f"127.88.{self.number // 200}.{self.number % 200 + 1}"

    @property
    def fault(self) -> str:
        return f"{self.step}.{self.hook}={self.kind}"

    @property
    def path(self) -> str:
        return f"/{self.step}/{self.hook}/{self.kind}/{self.version}"

    @property
    def host(self) -> str:
        return "closed.localhost" if self.hook in ENDS else "faulty.localhost"


@dataclass(frozen=True, slots=True)
class Came:
    """What came of it."""

    status: int
    body: bytes
    seconds: float


def steps() -> list[tuple[str, str]]:
    """Every traffic hook of every shell, as the stack has them."""
    import addons.stack

    return [(addon.name, hook) for addon in addons.stack.addons for hook in hooks_of(addon.addon) if not hook.startswith("websocket")]


def versions(hook: str) -> tuple[str, ...]:
    """Over what a hook is reached: flows over both versions of HTTP, connections over TLS and, but for its own hooks, without."""
    if hook not in CONNECTION_HOOKS:
        return ("http1", "http2")
    return ("tls",) if hook.startswith("tls") else ("tls", "cleartext")


def cases() -> list[Case]:
    wanted = [(step, hook, kind, version) for step, hook in steps() for kind in KINDS for version in versions(hook)]
    return [Case(*one, number) for number, one in enumerate(wanted)]


CASES = cases()


@pytest.fixture(scope="module")
def upstream():
    body = json.dumps({"name": "Ellen Ripley", "email": CANARY}).encode()
    server = HostileUpstream()
    server.scripts.update({step: answer(body, "Content-Type: application/json") for step, _ in steps()})
    yield server
    server.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, upstream):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        closed = nobody.getsockname()[1]
    services = "".join(
        f"  - {{name: {name}, kind: http, url: 'http://127.0.0.1:{port}', hosts: [{name}.localhost], credential: null}}\n"
        for name, port in (("faulty", upstream.port), ("closed", closed))
    )

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm, echo]", "services: [crm, echo, faulty, closed]")
            text = text.replace("services: [crm]", "services: [crm, faulty, closed]").replace(
                "    hosts: []  ", "    hosts: [crm.localhost]  "
            )
            text = text.replace("extra_scripts: []", f"extra_scripts: [{SCRIPT}]").replace(
                "hook_deadline: 30s", f"hook_deadline: {DEADLINE:.0f}s"
            )
            return text.replace("\naudit:\n", f"\n{services}\naudit:\n")
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text

    peers = {case.source: case.fault for case in CASES if case.hook in CONNECTION_HOOKS}
    environment = {"GUARDHOUSE_TEST_PEERS": json.dumps(peers), "PYTHONPATH": str(ROOT)}
    running = Gateway(tmp_path_factory.mktemp("faulty"), edit, ("-s", str(SCRIPT)), environment).start()
    running.planner = running.token("planner")
    wait_until(lambda: ask(running, head("/warm", "faulty.localhost", running.planner)).status == 200, 60, "masking")
    yield running
    assert running.stop() == 0, running.output[-3000:]


@pytest.fixture(scope="module")
def came(request, site, upstream) -> dict[Case, Came]:
    """Every case that was asked for, once, eight at a time."""
    asked = {item.callspec.params["case"] for item in request.session.items if item.module is request.module and hasattr(item, "callspec")}
    wanted = sorted(asked, key=lambda case: case.number)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return dict(zip(wanted, pool.map(lambda case: provoke(site, case), wanted), strict=True))


@pytest.fixture(scope="module")
def ends(came, site) -> dict[str, list[int]]:
    """For each path the terminal events of each of its flows, once nothing more is awaited."""

    def read() -> dict[str, list[int]]:
        counts, paths = terminals(site), {}
        for event in http_events(site):
            paths.setdefault(event.fields.get("path", b"").decode(), set()).add(event.core["flow"])
        return {path: [counts[flow] for flow in found] for path, found in paths.items()}

    wanted = {case.path for case in came if case.hook not in CONNECTION_HOOKS}
    found: dict[str, list[int]] = {}

    def all_have_ended() -> bool:
        found.update(read())
        return all(sum(found.get(path, ())) for path in wanted)

    wait_until(all_have_ended, 15, "the end of every flow")
    return found


def provoke(site: Gateway, case: Case) -> Came:
    began = time.monotonic()
    if case.version == "http2":
        fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", case.host.encode()), (b":path", case.path.encode())]
        fields += [(b"authorization", b"Bearer " + site.planner.encode()), (b"x-purpose", b"demo/tour"), (b"x-fault", case.fault.encode())]
        heard = http2(site.ports[8443], fields, timeout=30, source=case.source)
        return Came(heard.status, heard.body, time.monotonic() - began)
    raw = head(case.path, case.host, site.planner, more=f"X-Fault: {case.fault}\r\n")
    if case.version == "tls":
        data = over_tls(site, case.source, raw)
        return Came(int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0, data, time.monotonic() - began)
    found = ask(site, raw, case.source, 30)
    return Came(found.status, found.data, time.monotonic() - began)


def over_tls(site: Gateway, source: str, raw: bytes) -> bytes:
    """Send this over TLS; what came back, if anything."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", site.ports[8443]), timeout=30, source_address=(source, 0)) as plain,
        context.wrap_socket(plain) as peer,
    ):
        peer.sendall(raw)
        return answer_of(peer)
    return b""


def expected(case: Case) -> set[int]:
    """The statuses that are safe. 0: the connection was closed."""
    if case.hook in BEFORE:
        return {503}
    if case.hook in (*AFTER, "server_connect", "server_connected"):
        return {502, 503}
    if case.hook in ENDS:
        return {502}
    if case.hook in ("client_disconnected", "tls_start_server"):  # nothing is left to refuse; the upstream here speaks no TLS
        return {200}
    return {0}


def of(select) -> list:
    """The cases as parameters; over HTTP/2 an exception and a hang are looked at always, the others when there is time."""
    return [
        pytest.param(
            case,
            id=f"{case.fault}-{case.version}",
            marks=pytest.mark.slow if case.version in ("http2", "cleartext") and case.kind in ("OptionsError", "CancelledError") else (),
        )
        for case in CASES
        if select(case)
    ]


@pytest.mark.parametrize("case", of(lambda case: True))
def test_it_is_refused_in_time_and_nothing_unmasked_comes_back(came, case: Case):
    found = came[case]
    assert found.status in expected(case), found
    assert CANARY.encode() not in found.body
    assert found.seconds < DEADLINE + 2.0 + BUSY


@pytest.mark.parametrize("case", of(lambda case: case.hook in (*BEFORE, "server_connect", "server_connected") or expected(case) == {0}))
def test_nothing_leaves(came, upstream, case: Case):
    assert [asked.target for asked in upstream.seen if asked.target == case.path] == []


@pytest.mark.parametrize("case", of(lambda case: case.hook not in CONNECTION_HOOKS))
def test_exactly_one_terminal_event_is_left(ends, case: Case):
    assert ends[case.path] == [1]


def test_afterwards_all_is_well(came, site, upstream):
    """The next request works, each flow ended once, the log verifies, and no fault's own words came out."""
    heard = ask(site, head("/warm", "faulty.localhost", site.planner))
    assert heard.status == 200
    wait_until(lambda: set(terminals(site).values()) == {1}, 15, "every end")
    assert len(http_events(site)) > len(came)
    report = site.cli("verify", "--json")
    assert report.status == 0, report.text
    assert "SECRET" not in site.output
    assert site.program.process.poll() is None
