"""WebSocket with a client and an upstream that nobody here wrote (design/mitmproxy.md, acceptance 15)."""

import contextlib
import json
import shutil
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.parts import raw_client
from tests.parts.processes import wait_until
from tests.parts.websocket import SECRET, RawUpstream, Upstream, WebSocketGateway, edit

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
WAIT = 15


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[WebSocketGateway]:
    raw = RawUpstream()
    running = WebSocketGateway(tmp_path_factory.mktemp("site"), edit=edit(upstream, raw)).start()
    yield running
    assert running.stop() == 0, running.output[-3000:]
    assert SECRET not in running.output
    raw.close()


@contextlib.contextmanager
def opened(
    gateway: WebSocketGateway, path: str, *names: str, host: str = "chat.localhost", token: str = "", **headers: str
) -> Iterator[ClientConnection]:
    sent = {"Authorization": f"Bearer {token or gateway.token('planner')}", "X-Purpose": "support/1", **headers}
    uri = gateway.uri(path).replace("127.0.0.1", host)
    with connect(
        uri, additional_headers=sent, subprotocols=list(names) or None, compression=None, open_timeout=30, max_size=None,  # type: ignore[arg-type]
        address=("127.0.0.1", gateway.ports[8442]), proxy=None,
    ) as client:  # fmt: skip
        yield client


def refused(gateway: WebSocketGateway, path: str, *names: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """The status and problem document that a handshake met."""
    with pytest.raises(InvalidStatus) as error, opened(gateway, path, *names, **options):
        raise AssertionError("it opened")
    return error.value.response.status_code, json.loads(error.value.response.body or b"{}")


def events(gateway: WebSocketGateway, flow: str) -> list[dict[str, Any]]:
    done = gateway.cli("show", flow, "--json", "--db", str(gateway.store))
    assert done.status == 0, done.headers["stderr"]
    return json.loads(done.text)["events"]


def last_flow(gateway: WebSocketGateway, query: str = "service:chat stage:ResponseStarted") -> str:
    done = gateway.cli("search", *query.split(), "--json", "--limit", "1", "--db", str(gateway.store))
    assert done.status == 0, done.headers["stderr"]
    return str(json.loads(done.text.splitlines()[0])["flow"])


def ended(gateway: WebSocketGateway) -> list[dict[str, Any]]:
    """All events of the newest session, once it has its end."""
    flow, found = last_flow(gateway), []

    def is_there() -> bool:
        found[:] = events(gateway, flow)
        return found[-1]["stage"] not in ("Mark", "ResponseStarted")

    wait_until(is_there, WAIT, "the terminal event")
    ends = [event for event in found if event["stage"] not in ("Mark", "ResponseStarted", "RequestReceived")]
    assert len(ends) == 1, "exactly one terminal event"
    return found


def test_what_the_upstream_says_is_masked_and_what_the_client_says_arrives(gateway, upstream):
    with opened(gateway, "/personal") as client:
        greeting = json.loads(client.recv(WAIT))
        client.send(f'{{"say": "mail {SECRET}"}}')
        echoed = json.loads(client.recv(WAIT))
    assert upstream.heard[-1] == f'{{"say": "mail {SECRET}"}}'
    assert greeting["customer"]["id"] == 7
    assert SECRET not in str(greeting) + str(echoed)
    assert greeting["customer"]["email"].endswith("@masked.invalid")
    told = ended(gateway)
    assert [event["stage"] for event in told if event["kind"] == "http"] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    marks = [event for event in told if event["kind"] == "ws"]
    assert [(event["core"]["side"], event["core"]["number"], event["core"]["passed"]) for event in marks] == [
        ("upstream", 1, True), ("client", 2, True), ("upstream", 3, True),
    ]  # fmt: skip
    assert SECRET not in json.dumps(told)
    assert told[-1]["core"]["masked"]["EMAIL_ADDRESS"] == 2
    assert upstream.closes[-1] == (1000, "")


def test_the_transcript_is_shown_in_order_and_exported(gateway):
    with opened(gateway, "/") as client:
        for text in ("first", "second", f"third {SECRET}"):
            client.send(text)
            client.recv(WAIT)
    ended(gateway)
    flow = last_flow(gateway)
    shown = gateway.cli("show", flow, "--db", str(gateway.store)).text
    assert shown.index("client: first") < shown.index("upstream: first") < shown.index("client: second") < shown.index("upstream: third ")
    assert SECRET not in shown
    exported = gateway.cli("export", f"flow:{flow}", "-o", "-", token=gateway.token("carol"))
    lines = [json.loads(line) for line in exported.text.splitlines()]
    assert sum(line["core"]["kind"] == "ws" for line in lines) == 6
    assert SECRET not in exported.text


def test_the_upstream_never_gets_the_callers_credential_and_the_caller_never_the_upstreams(gateway, upstream):
    token = gateway.token("planner")
    with opened(gateway, "/credential", token=token) as client:
        said = client.recv(WAIT)
    own = upstream.credentials[-1]
    assert own is not None and own.startswith("Bearer ") and token not in own
    assert own.removeprefix("Bearer ") not in str(said)


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        pytest.param({"names": ["unnamed"]}, 400, "request-malformed", id="a-subprotocol-nobody-named"),
        pytest.param({"names": ["rpc", "unnamed"]}, 400, "request-malformed", id="one-of-two-is-not-named"),
        pytest.param({"host": "plain.localhost"}, 501, "not-supported", id="a-service-without-websocket"),
        pytest.param({"token": "nonsense"}, 401, "token-invalid", id="no-identity"),
        pytest.param({"X_Purpose": "fraud/1"}, 403, "purpose-unknown", id="no-purpose"),
    ],
)
def test_what_does_not_open(gateway, upstream, options, status, code):
    before = len(upstream.credentials)
    names = options.pop("names", ())
    options = {name.replace("_", "-"): value for name, value in options.items()}
    assert refused(gateway, "/", *names, **options)[0] == status
    assert refused(gateway, "/", *names, **options)[1]["code"] == code
    assert len(upstream.credentials) == before


@pytest.mark.parametrize("path", ["raw", "wrong-accept", "deflate", "other-subprotocol"])
def test_a_101_that_answers_something_else_is_no_relay(gateway, path):
    status, problem = refused(gateway, f"/{path}", host="raw.localhost")
    assert (status, problem["code"]) == (502, "upstream-failed")


def test_a_101_that_nobody_asked_for_is_no_relay(gateway):
    answer = gateway.request(
        "GET", gateway.cleartext + "/raw", gateway.token("planner"), headers={"Host": "raw.localhost", "X-Purpose": "support/1"}
    )
    assert answer.status == 501
    assert b"SECRET" not in answer.body


def test_extended_connect_on_http2_is_refused(gateway):
    headers = [
        (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":path", b"/ws"), (b":authority", b"127.0.0.1"),
        (b"sec-websocket-version", b"13"),
    ]  # fmt: skip
    assert raw_client.http2(gateway.ports[8443], headers).status in (0, 400)


def test_a_binary_message_passes_only_where_its_subprotocol_is_vouched_for(gateway, upstream):
    with opened(gateway, "/binary") as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(WAIT)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, "")
    last = ended(gateway)[-1]
    assert (last["stage"], last["fields"]["reason"], last["core"]["masking_complete"]) == ("Interrupted", "unmaskable", False)
    with opened(gateway, "/", "pictures") as client:
        assert client.subprotocol == "pictures"
        client.send(b"\x00\x01picture")
        assert client.recv(WAIT) == b"\x00\x01picture"


def test_a_message_that_carries_our_mask_is_not_sent(gateway, upstream):
    with opened(gateway, "/personal") as client:
        mark = json.loads(client.recv(WAIT))["customer"]["phone"]
        before = list(upstream.heard)
        client.send(f'{{"phone": "{mark}"}}')
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(WAIT)
    assert closed.value.rcvd.code == 1008
    assert upstream.heard == before
    assert ended(gateway)[-1]["fields"]["reason"] == "write-back"


def test_a_message_that_is_too_long_ends_the_session(gateway, upstream):
    before = len(upstream.heard)
    with opened(gateway, "/") as client, pytest.raises(ConnectionClosed) as closed:
        client.send("x" * (1 << 20) + "x")
        client.recv(WAIT)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    assert len(upstream.heard) == before


def test_ping_payloads_go_on_empty_and_come_back_to_their_sender(gateway, upstream):
    with opened(gateway, "/ping") as client:
        assert client.recv(WAIT) == "answered"  # the upstream's ping was answered with its own payload
        assert client.ping(SECRET.encode()).wait(5)  # and so was ours
        client.send("end")
        client.recv(WAIT)
    control = [event for event in ended(gateway) if event["core"].get("verb") == "control"]
    frames = [frame for event in control for frame in event["fields"]["note"]["frames"]]
    assert [(frame["frame"], frame["from"]) for frame in frames] == [("ping", "upstream"), ("ping", "client")]
    assert SECRET not in json.dumps(control)


def test_a_close_reason_is_masked_and_recorded(gateway):
    with opened(gateway, "/close") as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(WAIT)
    assert closed.value.rcvd.code == 4001
    assert closed.value.rcvd.reason.startswith("ask ")
    assert SECRET not in closed.value.rcvd.reason
    last = ended(gateway)[-1]
    assert "closed-by:upstream:4001" in last["fields"]["note"]["notes"]
    assert any(note.startswith("close-reason:ask ") for note in last["fields"]["note"]["notes"])
    assert SECRET not in json.dumps(last)


def subscribe(id: str, query: str) -> str:
    return json.dumps({"id": id, "type": "subscribe", "payload": {"query": query}})


def test_each_graphql_operation_is_judged(gateway, upstream):
    with opened(gateway, "/", "graphql-transport-ws") as client:
        client.send('{"type":"connection_init"}')
        assert json.loads(client.recv(WAIT)) == {"type": "connection_init"}  # the upstream echoes
        client.send(subscribe("1", "{ customer(id: 7) { email } }"))
        assert json.loads(client.recv(WAIT))["id"] == "1"
        before = list(upstream.heard)
        client.send(subscribe("2", "{ salaries }"))
        error = json.loads(client.recv(WAIT))
        assert (error["id"], error["type"]) == ("2", "error")
        assert error["payload"][0]["extensions"]["code"] == "policy-denied"
        client.send(subscribe("5", '{ customers(where: {email: "a"}) { id } }'))
        assert json.loads(client.recv(WAIT))["payload"][0]["extensions"]["code"] == "masked-field-filter"
        client.send(subscribe("6", "{ customers { harmless: password } }"))
        assert "without aliases" in json.loads(client.recv(WAIT))["payload"][0]["message"]
        client.send(subscribe("3", "{ customer "))
        assert json.loads(client.recv(WAIT))["payload"][0]["extensions"]["code"] == "request-malformed"
        assert upstream.heard == before
        client.send(subscribe("4", "{ customers { id } }"))
        assert json.loads(client.recv(WAIT))["id"] == "4"  # the session goes on
    marks = [event for event in ended(gateway) if event["kind"] == "ws" and event["core"]["side"] == "client"]
    assert [(event["core"]["passed"], event["core"].get("effect"), event["fields"].get("reason")) for event in marks] == [
        (True, None, None), (True, "allow", None), (False, "deny", "policy-denied"), (False, "allow", "masked-field-filter"),
        (False, "allow", "request-malformed"), (False, None, "request-malformed"), (True, "allow", None),
    ]  # fmt: skip


def test_a_held_message_is_answered_and_finds_its_approval(gateway, upstream):
    query = "mutation { deleteCustomer(id: 7) { id } }"
    with opened(gateway, "/", "graphql-transport-ws") as client:
        client.send(subscribe("a", query))
        ticket = json.loads(client.recv(WAIT))["payload"][0]["extensions"]
        assert ticket["code"] == "approval-pending"
        assert not any("deleteCustomer" in str(one) for one in upstream.heard)
        done = gateway.cli(
            "approvals",
            "approve",
            ticket["approval_id"],
            "--digest",
            ticket["digest"],
            "--reason",
            "Agreed with the customer",
            token=gateway.token("bob"),
        )
        assert done.status == 0, done.headers["stderr"]
        client.send(subscribe("b", query))
        assert json.loads(client.recv(WAIT))["id"] == "b"
        client.send(subscribe("c", query))
        assert json.loads(client.recv(WAIT))["payload"][0]["extensions"]["approval_id"] != ticket["approval_id"]  # used once
    assert sum("deleteCustomer" in str(one) for one in upstream.heard) == 1


def test_each_json_rpc_call_is_judged(gateway, upstream):
    with opened(gateway, "/", "rpc") as client:
        client.send('{"jsonrpc":"2.0","id":1,"method":"users/get","params":{"id":7}}')
        assert json.loads(client.recv(WAIT))["method"] == "users/get"
        before = list(upstream.heard)
        client.send('{"jsonrpc":"2.0","id":2,"method":"admin/reset"}')
        error = json.loads(client.recv(WAIT))
        assert (error["id"], error["error"]["data"]["code"]) == (2, "policy-denied")
        assert "Nobody resets from here." in error["error"]["message"]
        client.send('{"jsonrpc":"2.0","method":"admin/reset"}')  # a notification: nobody waits for an answer
        client.send("no json")
        assert json.loads(client.recv(WAIT))["error"]["code"] == -32600
        assert upstream.heard == before


@pytest.mark.parametrize("step", ["routing", "identity", "policy", "prepare", "approval", "apply", "recording"])
@pytest.mark.parametrize("kind", ["Exception", "OptionsError", "CancelledError"])
def test_no_message_passes_a_step_that_fails(gateway, upstream, step, kind):
    before = list(upstream.heard)
    with (
        opened(gateway, "/personal", **{"X-Fault": f"guardhouse-{step}.websocket_message={kind}"}) as client,
        pytest.raises(ConnectionClosed) as closed,
    ):
        client.send("SECRET of the client")
        said = client.recv(WAIT)
        raise AssertionError(said)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
    assert upstream.heard == before
    assert ended(gateway)[-1]["stage"] == "Interrupted"


def test_a_client_that_is_simply_gone_leaves_one_end(gateway):
    with opened(gateway, "/") as client:
        client.send("here")
        client.recv(WAIT)
        client.socket.close()
    assert ended(gateway)[-1]["fields"]["reason"] == "the client left"


def test_a_silent_session_outlives_the_clock_of_its_upgrade_but_not_its_token(gateway):
    with opened(gateway, "/", token=gateway.token("planner", minutes="0.13")) as client:
        time.sleep(4)  # timeouts.response is 3 s
        client.send("still here")
        assert client.recv(WAIT) == "still here"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(40)
    assert closed.value.rcvd.code == 1008
    assert ended(gateway)[-1]["fields"]["reason"] == "token-expired"


def test_the_websocket_of_node_speaks_through_it(gateway):
    """The implementation that browsers' WebSocket API has in Node (undici)."""
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout if node else "v0"
    major = int(version.strip().lstrip("v").split(".")[0])
    if major < 20:
        pytest.skip("Node 20 or newer is needed for its built-in WebSocket: apt install nodejs")
    code = (
        "const s = new WebSocket(process.argv[1], {headers: {Authorization: 'Bearer ' + process.argv[2], 'X-Purpose': 'support/1'}});"
        "s.onerror = (e) => { console.error(e.message || e.error); process.exit(1); };"
        "s.onmessage = (e) => { console.log(e.data); if (e.data === 'bye') s.close(1000); else s.send('bye'); };"
    )
    flags = ["--experimental-websocket"] if major < 22 else []
    done = subprocess.run(
        [str(node), *flags, "-e", code, gateway.uri("/ws"), gateway.token("planner")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "@masked.invalid" in done.stdout
    assert done.stdout.endswith("bye\n")


def test_a_drain_closes_open_sessions(tmp_path, upstream):
    raw = RawUpstream()
    running = WebSocketGateway(tmp_path, edit=edit(upstream, raw)).start()
    with opened(running, "/") as client:
        client.send("here")
        client.recv(WAIT)
        started = time.monotonic()
        assert running.stop() == 0, running.output[-2000:]
        with pytest.raises(ConnectionClosed):
            client.recv(WAIT)
    assert time.monotonic() - started < 15
    with sqlite3.connect(f"file:{running.store}?mode=ro", uri=True) as database:
        assert database.execute("select count(*) from event where kind = 1 and stage between 3 and 7").fetchone() == (1,)
    assert running.cli("verify", str(running.store)).status == 0


def rss(gateway: WebSocketGateway) -> int:
    assert gateway.program is not None
    status = open(f"/proc/{gateway.program.process.pid}/status").read()  # noqa: SIM115
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_messages(gateway):
    def flood(count: int) -> int:
        with opened(gateway, "/flood") as client:
            client.send(str(count))
            for _ in range(count):
                assert SECRET not in str(client.recv(60))
        return rss(gateway)

    flood(2000)
    before = flood(2000)
    after = flood(10_000)
    assert after - before < 8, f"{before} -> {after} MiB"


def test_a_message_that_cannot_be_recorded_is_not_passed_on(tmp_path, upstream):
    """The disk of the store fails in mid-session: the store's file takes no further byte."""
    raw = RawUpstream()
    running = WebSocketGateway(tmp_path, edit=edit(upstream, raw)).start()
    assert running.program is not None
    with opened(running, "/") as client:
        client.send("recorded")
        assert client.recv(WAIT) == "recorded"
        subprocess.run(["prlimit", f"--pid={running.program.process.pid}", "--fsize=4096:4096"], check=True)
        before = list(upstream.heard)
        with pytest.raises(ConnectionClosed) as closed:
            client.send("SECRET that nobody can write down")
            client.recv(WAIT)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1011
    assert upstream.heard == before
    running.program.process.kill()
    running.program.process.wait(10)
    raw.close()


def test_a_reload_that_forbids_it_ends_an_open_session(gateway, upstream):
    rules = gateway.policies / "rules.yaml"
    kept = rules.read_text()
    with opened(gateway, "/") as client:
        client.send("before")
        assert client.recv(WAIT) == "before"
        heard = list(upstream.heard)
        try:
            rules.write_text(
                kept.replace(
                    "  - name: sockets-open\n",
                    "  - name: no-sockets\n    match: {access: [connect]}\n    effect: deny\n  - name: sockets-open\n",
                )
            )
            done = gateway.cli("reload", token=gateway.token("bob"))
            assert done.status == 0, done.headers["stderr"]
            with pytest.raises(ConnectionClosed) as closed:
                client.send("after")
                client.recv(WAIT)
        finally:
            rules.write_text(kept)
            assert gateway.cli("reload", token=gateway.token("bob")).status == 0
    assert closed.value.rcvd.code == 1008
    assert upstream.heard == heard


def test_the_shipped_example_speaks(gateway):
    with opened(gateway, "/ws", host="127.0.0.1") as client:
        assert "@masked.invalid" in str(client.recv(WAIT))
        client.send("hello")
        assert client.recv(WAIT) == "hello"


@pytest.mark.parametrize(
    "step", ["apply.responseheaders", "arrival.responseheaders", "apply.response", "arrival.response", "outcome.response"]
)
def test_an_upgrade_whose_answer_fails_opens_nothing(gateway, upstream, step):
    before = len(upstream.closes)
    status, _ = refused(gateway, "/personal", **{"X-Fault": f"guardhouse-{step}=Exception"})
    assert status in (502, 503)
    wait_until(lambda: len(upstream.closes) > before, WAIT, "the upstream's connection is given up")
    found = gateway.cli("search", "service:chat", "path:/personal", "kind:http", "--json", "--limit", "2", "--db", str(gateway.store)).text
    newest = [json.loads(line) for line in found.splitlines()]
    assert [event["stage"] for event in newest if event["flow"] == newest[0]["flow"]] != ["ResponseComplete"]
    with opened(gateway, "/") as client:
        client.send("the next one works")
        assert client.recv(WAIT) == "the next one works"


def test_people_decide_on_an_upgrade_and_the_same_one_finds_their_approval(gateway):
    status, ticket = refused(gateway, "/held", Prefer="wait=0")
    assert (status, ticket["code"]) == (429, "approval-pending")
    done = gateway.cli(
        "approvals",
        "approve",
        ticket["approval_id"],
        "--digest",
        ticket["digest"],
        "--reason",
        "Agreed with support",
        token=gateway.token("bob"),
    )
    assert done.status == 0, done.headers["stderr"]
    with opened(gateway, "/held") as client:  # another nonce, and all the same
        client.send("approved")
        assert client.recv(WAIT) == "approved"


def test_it_is_spoken_over_tls_too(gateway):
    trusting = ssl.create_default_context(cafile=str(gateway.ca))
    sent = {"Authorization": f"Bearer {gateway.token('planner')}", "X-Purpose": "support/1"}
    uri = f"wss://127.0.0.1:{gateway.ports[8443]}/ws"
    with connect(
        uri, additional_headers=sent, ssl=trusting, open_timeout=30, proxy=None
    ) as client:  # offers compression: it is not taken up
        assert "@masked.invalid" in str(client.recv(WAIT))
        client.send("over TLS")
        assert client.recv(WAIT) == "over TLS"
