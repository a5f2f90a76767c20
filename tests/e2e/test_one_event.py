"""Whatever goes wrong, and wherever: one clear refusal, within seconds, exactly one terminal event, and nothing that leaks.

The whole gateway in front of an upstream that fails in every way a raw server can: acceptance row 7 of design/audit.md,
rows 5, 7 and 22 of design/mitmproxy.md.
"""

import base64
import concurrent.futures
import gzip
import json
import re
import time

import pytest

from tests.parts.bad_upstreams import ANSWERS, MARK, RESETS, BadUpstream
from tests.parts.gateway import Gateway
from tests.parts.processes import free_ports, wait_until
from tests.parts.raw_client import http2
from tests.parts.raw_site import HANG, answer_of, ask, connect, flows, head, http_events, is_whole, only_flow, post, terminals

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOST = "bad.localhost"
SECRET = b"client-bytes-3e9a"  # stands in everything that a client sends broken
SERVICES = """\
  - {name: bad, kind: http, url: 'http://127.0.0.1:%(bad)s', hosts: [bad.localhost], credential: null, timeouts: {connect: 2s, response: 2s, idle: 1h}}
  - {name: closed, kind: http, url: 'http://127.0.0.1:%(closed)s', hosts: [closed.localhost], credential: null}
  - {name: locked, kind: http, url: 'http://127.0.0.1:%(bad)s', hosts: [locked.localhost], credential: {type: bearer, value: 'file:%(secret)s'}}
"""
RULES = """
  - name: bad-is-used
    match: {services: [bad, closed, locked], methods: [GET, HEAD, POST, PUT], principals: {kinds: [human, agent]}}
    effect: allow
    mask: [pii]
  - name: bad-deletes-are-held
    match: {services: [bad], access: [delete], paths: ["/held/**"], principals: {kinds: [human, agent]}}
    effect: hold
    approval: %s
  - name: bad-deletes-expire
    match: {services: [bad], access: [delete], paths: ["/expires/**"], principals: {kinds: [human, agent]}}
    effect: hold
    approval: one-second
"""
SOON = """\napprovals:
  one-second:
    requirements: [{group: "dev:sre", approvals_needed: 1}]
    approval_expiry: 1s
    grant: {kinds: [one_time]}
"""


@pytest.fixture(scope="module")
def bad():
    upstream = BadUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, bad):
    home = tmp_path_factory.mktemp("one-event")
    secret = home / "secret"
    secret.write_text("a-secret-that-goes\n")
    secret.chmod(0o600)
    (closed,) = free_ports(1)

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm, echo]", "services: [crm, echo, bad, closed, locked]")
            text = text.replace("services: [crm]", "services: [crm, echo, bad, closed, locked]")
            text = text.replace("    hosts: []  ", "    hosts: [crm.localhost]  ")
            text = text.replace("  body: 32MiB", "  body: 1MiB").replace("  body_idle: 30s", "  body_idle: 2s")
            text = text.replace("  headers_time: 10s", "  headers_time: 1s").replace("  handshake: 10s", "  handshake: 1s")
            return text.replace("\naudit:\n", "\n" + SERVICES % {"bad": bad.port, "closed": closed, "secret": secret} + "\naudit:\n")
        if name == "approvals.yaml":
            return text.replace("\napprovals:", SOON.rstrip("\n").replace("\napprovals:", "\napprovals:", 1), 1)
        return text.replace("\nrules:\n", "\nrules:\n" + (RULES % "one-sre").lstrip("\n"), 1) if name == "rules.yaml" else text

    running = Gateway(home, edit=edit).start()
    secret.unlink()
    running.planner = running.token("planner")
    yield running
    assert running.stop() == 0, running.output[-3000:]
    counts = terminals(running)
    assert {flow: count for flow, count in counts.items() if count != 1} == {}
    report = running.cli("verify", "--json")
    assert report.status == 0, report.text
    for bytes_of_peers in (MARK.decode(), SECRET.decode(), running.planner):
        assert bytes_of_peers not in running.output
    assert "Traceback" not in running.output


def stages(events) -> list[str]:
    """The stages, without the one that says that an answer in pieces has begun."""
    return [event.stage for event in events if event.stage != "ResponseStarted"]


def code_of(heard) -> str:
    return str(json.loads(heard.body)["code"])


# ------------------------------------------------------------------ denied at each step


def unsigned(token: str) -> str:
    """The same claims with `alg: none` and no signature."""
    return base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode() + "." + token.split(".")[1] + "."


def altered(token: str) -> str:
    """The same token for somebody else: the signature does not fit."""
    start, claims, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    told["sub"] = "bob"
    return ".".join((start, base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode(), signature))


BEFORE_IDENTITY = [
    pytest.param(lambda t, p: head(p + "/../x", HOST, t), 400, "request-malformed", id="validation-dots"),
    pytest.param(lambda t, p: head(p + "?a=%zz", HOST, t), 400, "request-malformed", id="validation-escape"),
    pytest.param(lambda t, p: head(p, HOST, t, more="X_Under: 1\r\n"), 400, "request-malformed", id="validation-header-name"),
    pytest.param(lambda t, p: head(p, HOST, t, "FROB"), 400, "request-malformed", id="validation-method"),
    pytest.param(lambda t, p: head(p, "nowhere.localhost", t), 404, "no-service", id="routing"),
    pytest.param(lambda t, p: head(p, HOST), 401, "credential-required", id="identity-none"),
    pytest.param(lambda t, p: head(p, HOST, "a.b.c"), 401, "token-invalid", id="identity-junk"),
    pytest.param(lambda t, p: head(p, HOST, "x" * 9000), 401, "token-invalid", id="identity-endless"),
    pytest.param(lambda t, p: head(p, HOST, unsigned(t)), 401, "token-invalid", id="identity-unsigned"),
    pytest.param(lambda t, p: head(p, HOST, altered(t)), 401, "token-invalid", id="identity-altered"),
    pytest.param(lambda t, p: head(p, HOST, more="Authorization: Basic YTpi\r\n"), 401, "credential-required", id="identity-basic"),
    pytest.param(
        lambda t, p: head(p, HOST, t, more="X-Api-Key: gh_aaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_00000000\r\n"),
        400, "credential-ambiguous", id="identity-two",
    ),
]  # fmt: skip

AFTER_IDENTITY = [
    pytest.param(lambda t, p: head(p, HOST, t, purpose=""), 403, "purpose-missing", id="purpose-missing"),
    pytest.param(lambda t, p: head(p, HOST, t, purpose="fraud/1"), 403, "purpose-unknown", id="purpose-unknown"),
    pytest.param(lambda t, p: head(p, HOST, t, purpose="Not a label"), 400, "purpose-malformed", id="purpose-malformed"),
    pytest.param(lambda t, p: head(p, HOST, t, "PATCH"), 403, "policy-denied", id="policy"),
    pytest.param(lambda t, p: head(p + "?email=a", HOST, t), 403, "masked-field-filter", id="masking-filter"),
    pytest.param(
        lambda t, p: post(p, HOST, t, b"not gzip " + SECRET, "Content-Encoding: gzip\r\nContent-Type: application/json\r\n"),
        400, "request-unmaskable", id="masking-coding",
    ),
    pytest.param(
        lambda t, p: post(p, HOST, t, gzip.compress(b'{"a": "' + SECRET * 50 + b'"}')[:-12], "Content-Encoding: gzip\r\nContent-Type: application/json\r\n"),
        400, "request-unmaskable", id="masking-truncated",
    ),
    pytest.param(
        lambda t, p: post(p, HOST, t, gzip.compress(b"x" * 100_000_000), "Content-Encoding: gzip\r\nContent-Type: text/plain\r\n"),
        400, "request-unmaskable", id="masking-bomb",
    ),
    pytest.param(
        lambda t, p: post(p, HOST, t, b"{}", "Content-Encoding: frob\r\nContent-Type: application/json\r\n"),
        400, "request-unmaskable", id="masking-unknown-coding",
    ),
    pytest.param(lambda t, p: post(p, HOST, t, b"x" * 1_100_000), 413, "request-too-large", id="too-large"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "status", "code"), BEFORE_IDENTITY)
def test_denied_before_identity(site, bad, request, make, status, code):
    path, before = f"/denied/{request.node.callspec.id}", len(bad.seen)
    heard = ask(site, make(site.planner, path), source="127.0.1.1")
    assert (heard.status, code_of(heard), len(bad.seen) - before) == (status, code, 0)
    assert heard.seconds < HANG


@pytest.mark.parametrize(("make", "status", "code"), AFTER_IDENTITY)
def test_denied_after_identity(site, bad, request, make, status, code):
    path, before = f"/denied/{request.node.callspec.id}", len(bad.seen)
    heard = ask(site, make(site.planner, path))
    assert (heard.status, code_of(heard), len(bad.seen) - before) == (status, code, 0)
    assert heard.seconds < HANG and SECRET not in heard.data
    (event,) = only_flow(site, path)  # no intent: nothing was ever about to be sent
    assert (event.stage, event.fields["reason"].decode()) == ("Denied", code)


def test_a_mask_that_comes_back_is_denied(site, bad):
    customers = ask(site, head("/customers", "crm.localhost", site.planner))
    mask = re.search(rb"[\w.-]+@[\w.-]*masked\.invalid", customers.body)
    assert customers.status == 200 and mask is not None
    before = len(bad.seen)
    heard = ask(site, post("/denied/write-back", HOST, site.planner, json.dumps({"email": mask[0].decode()}).encode(), method="PUT"))
    assert (heard.status, code_of(heard), len(bad.seen) - before) == (422, "write-back", 0)
    (event,) = only_flow(site, "/denied/write-back")
    assert (event.stage, event.fields["reason"]) == ("Denied", b"write-back")


def test_a_credential_that_cannot_be_had_sends_nothing(site, bad):
    before = len(bad.seen)
    heard = ask(site, head("/denied/credential", "locked.localhost", site.planner))
    assert (heard.status, code_of(heard), len(bad.seen) - before) == (502, "credential-unavailable", 0)
    events = only_flow(site, "/denied/credential")
    assert stages(events) == ["RequestReceived", "Panic"]
    assert str(site.home) not in heard.data.decode()


# ------------------------------------------------------------------ approval


def pending(site, path: str):
    """The card of the pending approval for this path, None when there is none yet."""
    cards = site.request("GET", site.control + "/v1/approvals", site.bob).json["approvals"]
    return next((card for card in cards if card["state"] == "pending" and path in card["operation"]["text"]), None)


def hold(site, pool, path: str):
    """Send a request that is held; returns the running call and the approval's card."""
    site.bob = getattr(site, "bob", None) or site.token("bob")
    call = pool.submit(ask, site, head(path, HOST, site.planner, "DELETE"), "127.0.0.1", 20)
    wait_until(lambda: call.done() or pending(site, path) is not None, 10, f"a pending approval for {path}")
    assert not call.done(), call.result()
    return call, pending(site, path)


def decide(site, card, effect: str):
    vote = json.dumps({"effect": effect, "digest": card["digest"], "reason": "Because I say so"}).encode()
    url = f"{site.control}/v1/approvals/{card['id']}/decision"
    return site.request("POST", url, site.bob, vote, {"Content-Type": "application/json"})


def test_an_approval_that_is_denied(site, bad):
    before = len(bad.seen)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call, card = hold(site, pool, "/held/denied")
        assert decide(site, card, "deny").status == 200
        heard = call.result(HANG)
    assert (heard.status, code_of(heard), len(bad.seen) - before) == (403, "approval-denied", 0)
    events = only_flow(site, "/held/denied")
    assert (stages(events), events[-1].fields["reason"]) == (["RequestReceived", "Denied"], b"approval-denied")


def test_an_approval_that_expires(site, bad):
    before = len(bad.seen)
    heard = ask(site, head("/expires/1", HOST, site.planner, "DELETE"))
    assert (heard.status, code_of(heard), len(bad.seen) - before) == (403, "approval-expired", 0)
    assert heard.seconds < HANG
    events = only_flow(site, "/expires/1")
    assert (stages(events), events[-1].fields["reason"]) == (["RequestReceived", "Denied"], b"approval-expired")


def test_an_approval_that_nobody_gives_in_time_becomes_a_ticket(site, bad):
    before = len(bad.seen)
    heard = ask(site, head("/held/ticket", HOST, site.planner, "DELETE", more="Prefer: wait=1\r\n"))
    assert (heard.status, code_of(heard), len(bad.seen) - before) == (429, "approval-pending", 0)
    assert stages(only_flow(site, "/held/ticket")) == ["RequestReceived", "Denied"]


def test_a_client_that_leaves_while_held(site, bad):
    before = len(bad.seen)
    site.bob = getattr(site, "bob", None) or site.token("bob")
    with connect(site) as client:
        client.sendall(head("/held/left", HOST, site.planner, "DELETE"))
        wait_until(lambda: pending(site, "/held/left") is not None, 10, "a pending approval")
    events = only_flow(site, "/held/left")
    assert stages(events) == ["RequestReceived", "Interrupted"]
    assert decide(site, pending(site, "/held/left"), "approve").status == 200
    assert len(bad.seen) == before


# ------------------------------------------------------------------ a client that leaves


def test_a_client_that_leaves_in_its_body(site, bad):
    before = len(bad.seen)
    with connect(site) as client:
        client.sendall(head("/leaves/body", HOST, site.planner, "POST", more="Content-Length: 1000\r\n") + SECRET)
        time.sleep(0.3)
    assert stages(only_flow(site, "/leaves/body")) == ["Interrupted"]
    assert len(bad.seen) == before


def test_a_client_that_leaves_while_the_upstream_is_silent(site, bad):
    with connect(site) as client:
        client.sendall(head("/leaves/waiting/silent", HOST, site.planner))
        wait_until(lambda: ("GET", "/leaves/waiting/silent") in bad.seen, 10, "the request upstream")
    assert stages(only_flow(site, "/leaves/waiting/silent")) == ["RequestReceived", "Interrupted"]


@pytest.mark.parametrize("cut", [1, 20, 60], ids=["request-line", "host", "authorization"])
def test_a_client_that_leaves_in_its_headers_leaves_a_connection_row(site, cut):
    before = connection_rows(site)
    with connect(site, "127.0.1.2") as client:
        client.sendall(head("/leaves/headers", HOST, site.planner)[:cut])
        time.sleep(0.1)
    wait_until(lambda: connection_rows(site) == before + 1, 10, "one connection row")
    assert flows(site, "/leaves/headers") == []


def test_a_client_that_stops_in_its_headers_is_cut_off(site):
    begun = time.monotonic()
    with connect(site, "127.0.1.3") as client:
        client.sendall(head("/stalls/headers", HOST, site.planner)[:60])
        assert answer_of(client) == b""
    assert time.monotonic() - begun < HANG


def test_a_client_that_stops_in_its_body_is_cut_off(site):
    begun = time.monotonic()
    with connect(site, "127.0.1.3") as client:
        client.sendall(head("/stalls/body", HOST, site.planner, "POST", more="Content-Length: 9\r\n") + b"half")
        answer_of(client)
    assert time.monotonic() - begun < HANG


def connection_rows(site) -> int:
    from addons.core.audit.reader import Reader

    with Reader.open(site.store) as reader:
        return sum(event.kind == "connection" for event in reader.events("seq > ?", (0,)))


# ------------------------------------------------------------------ an upstream that fails


UPSTREAM = {
    **{kind: (502, "upstream-failed") for kind in (*ANSWERS, *RESETS)},
    "too-long": (200, ""),  # the answer is whole; what follows it belongs to nobody
    "odd-coding": (502, "unmaskable"),
    "oversize": (502, "response-too-large"),
    "trailers": (200, ""),
    "continue": (200, ""),
    "hints": (200, ""),
    "interim-16": (200, ""),
    "switches": (501, "not-supported"),
    "bad-gzip": (502, "unmaskable"),
    "bad-charset": (502, "unmaskable"),
    "bad-json": (502, "unmaskable"),
    "silent": (504, "upstream-timeout"),
}
IN_PIECES = {"bad-chunk", "half-chunk", "oversize", "oversize-chunked", "reset-in-body", "too-short"}  # may have begun before it is known
WHOSE = {"unmaskable": "Panic", "": "ResponseComplete"}


@pytest.mark.parametrize(("kind", "status", "code"), [(kind, *expected) for kind, expected in UPSTREAM.items()], ids=UPSTREAM)
def test_an_upstream_that_fails(site, kind, status, code):
    heard = ask(site, head(f"/upstream/{kind}", HOST, site.planner))
    events = only_flow(site, f"/upstream/{kind}")
    assert heard.seconds < HANG and b"mitmproxy" not in heard.data
    if heard.status == 200 and kind in IN_PIECES:
        assert_broken_or_whole(heard, events)
        return
    assert heard.status == status, heard.data[:500]
    assert MARK not in heard.data
    assert heard.content == b"hello" if status == 200 else code_of(heard) == code
    assert stages(events) == ["RequestReceived", WHOSE.get(code, "Failed")]
    assert code == "" or events[-1].fields["reason"] == code.encode()


def assert_broken_or_whole(heard, events) -> None:
    """An answer that is passed on in pieces has said 200 before it fails: then it must not look whole. A long one may be whole."""
    if is_whole(heard.data):
        assert len(heard.content) == 3_000_000 and stages(events) == ["RequestReceived", "ResponseComplete"]
    else:
        assert stages(events)[:-1] == ["RequestReceived"] and stages(events)[-1] in ("Failed", "Panic", "Interrupted")
        assert events[-1].fields["reason"]


def test_an_upstream_that_refuses(site):
    heard = ask(site, head("/upstream/refuses", "closed.localhost", site.planner))
    assert (heard.status, code_of(heard)) == (502, "upstream-failed")
    assert stages(only_flow(site, "/upstream/refuses")) == ["RequestReceived", "Failed"]


@pytest.mark.parametrize("kind", ["garbage", "reset-in-body", "interim-17", "closes", "trailers"])
def test_an_upstream_that_fails_over_http2(site, kind):
    path = f"/h2/{kind}"
    fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", HOST.encode()), (b":path", path.encode())]
    fields += [(b"authorization", b"Bearer " + site.planner.encode()), (b"x-purpose", b"demo/tour")]
    answer = http2(site.ports[8443], fields, timeout=HANG)
    assert answer.status == (200 if kind == "trailers" else 502)
    assert MARK not in answer.body and MARK.decode() not in str(answer.headers)
    assert stages(only_flow(site, path))[-1] == ("ResponseComplete" if kind == "trailers" else "Failed")


def test_the_gateway_still_works(site):
    heard = ask(site, head("/fine", HOST, site.planner))
    assert (heard.status, heard.body) == (200, b"hello")
    assert len(http_events(site)) > 50
