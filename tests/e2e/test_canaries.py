"""Nothing that is left behind holds a secret or a personal value: not in the store, a log, an export, an answer or a card.

Values are planted in every place of allowed, denied, held, failed and malformed requests, over HTTP/1.1 and HTTP/2, another
value in each place; then the gateway is stopped and everything it wrote and said is searched, in every spelling (row 13 of
design/identity.md, 17 of masking.md, 27 of approval.md, 8 of audit.md).
"""

import base64
import gzip
import hashlib
import json
import re
import ssl
from urllib.parse import quote, urlencode

import httpx
import pytest

from tests.parts.bad_upstreams import BadUpstream
from tests.parts.canaries import Search, cells, files, planted
from tests.parts.gateway import Gateway
from tests.parts.raw_client import http2
from tests.parts.raw_site import ask, head

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOST = "vault.localhost"
CREDENTIAL = "upstream-credential-Zx81-quarrel-lantern"
SERVICE = (
    "  - {name: vault, kind: http, url: 'http://127.0.0.1:%s', hosts: [vault.localhost], credential: {type: bearer, value: 'file:%s'}}\n"
)
RULES = """
  - name: vault-is-used
    match: {services: [vault], methods: [GET, POST, PUT], principals: {kinds: [human, agent]}}
    effect: allow
    mask: [pii]
    audit: RequestResponse
  - name: vault-deletes-are-held
    match: {services: [vault], access: [delete], principals: {kinds: [human, agent]}}
    effect: hold
    approval: one-sre
    mask: [pii]
    audit: RequestResponse
"""
CONTROL = "control plane"


class Site:
    """The gateway, what was planted, and every byte that anybody was told."""

    def __init__(self, gateway: Gateway, upstream: BadUpstream) -> None:
        self.gateway, self.upstream, self.search = gateway, upstream, Search()
        self.alice, self.bob, self.carol = (gateway.token(name) for name in ("alice", "bob", "carol"))
        for name, token in (("alice", self.alice), ("bob", self.bob), ("carol", self.carol)):
            self.search.add(f"token of {name}", token)
            self.search.add(f"signature of {name}'s token", token.split(".")[2])
        self.search.add("upstream credential", CREDENTIAL)
        self.heard: list[tuple[str, bytes]] = []

    def plant(self, place: str) -> dict[str, str]:
        return self.search.plant(place)

    def send(self, place: str, method: str, path: str, headers: dict[str, str], body: bytes = b"", token: str | None = None) -> None:
        """The same request over HTTP/1.1 and over HTTP/2."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        token = self.alice if token is None else token
        raw = head(path, HOST, token, method, purpose="support/1", more=more + length) + body
        self.heard.append((f"{place} http1", ask(self.gateway, raw).data))
        fields = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", HOST.encode()), (b":path", path.encode())]
        fields += [(b"authorization", f"Bearer {token}".encode()), (b"x-purpose", b"support/1")]
        fields += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        answer = http2(self.gateway.ports[8443], fields, body, timeout=20)
        self.heard.append((f"{place} http2", str(answer.headers).encode() + answer.body))

    def told(self, place: str, answer: httpx.Response) -> httpx.Response:
        self.heard.append((place, str(answer.headers).encode() + answer.content))
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    home = tmp_path_factory.mktemp("canaries")
    secrets = tmp_path_factory.mktemp("secrets")
    secret = secrets / "credential"
    secret.write_text(CREDENTIAL + "\n")
    secret.chmod(0o600)
    upstream = BadUpstream()

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm, echo]", "services: [crm, echo, vault]").replace(
                "services: [crm]", "services: [crm, echo, vault]"
            )
            text = text.replace("per_person: 10/s", "per_person: 1000/s")
            return text.replace("\naudit:\n", "\n" + SERVICE % (upstream.port, secret) + "\naudit:\n")
        if name == "approvals.yaml":
            return text.replace("max_pending_per_principal: 5", "max_pending_per_principal: 100").replace(
                "max_openings_per_hour: 20", "max_openings_per_hour: 100"
            )
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text

    made = Site(Gateway(home, edit=edit).start(), upstream)
    yield made
    made.upstream.close()
    if made.gateway.program is not None and made.gateway.program.runs:
        made.gateway.stop()


JSON = {"Content-Type": "application/json"}


def send_everything(site: Site) -> None:
    """Plant values in every place of a request, for a request that is allowed, denied, held, answered badly, and malformed."""
    for name, method, path, token in (
        ("allowed", "POST", "/allowed/echo", None),
        ("denied", "PATCH", "/denied", None),
        ("held", "DELETE", "/held", None),
        ("nobody", "POST", "/nobody", "not-a-token"),
        ("failed", "POST", "/failed/garbage", None),
    ):
        wait = {"Prefer": "wait=0"} if name == "held" else {}
        for kind, value in site.plant(f"{name}-segment").items():
            site.send(
                f"{name} segment {kind}",
                "GET" if method in ("POST", "PUT") else method,
                f"{path}/{quote(value, safe='+@')}/x",
                wait,
                token=token,
            )
        values = site.plant(f"{name}-query")
        site.send(
            f"{name} query",
            "GET" if method == "POST" else method,
            f"{path}?{urlencode({'q' + kind: one for kind, one in values.items()})}",
            wait,
            token=token,
        )
        values = site.plant(f"{name}-header")
        site.send(f"{name} header", method, path, {**wait, **{f"X-Note-{kind}": one for kind, one in values.items()}}, token=token)
        values = site.plant(f"{name}-agent")
        site.send(
            f"{name} agent",
            method,
            path,
            {**wait, "User-Agent": " ".join(values.values()), "Referer": f"https://a.example/?m={values['email']}"},
            token=token,
        )
        values = site.plant(f"{name}-cookie")
        site.send(
            f"{name} cookie",
            method,
            path,
            {**wait, "Cookie": "; ".join(f"{kind}={quote(one)}" for kind, one in values.items())},
            token=token,
        )
        values = site.plant(f"{name}-session")
        site.send(
            f"{name} session",
            method,
            path,
            {**wait, "X-Session-Id": values["email"], "X-Purpose-Detail": " ".join(values.values())},
            token=token,
        )
        values = site.plant(f"{name}-baggage")
        site.send(
            f"{name} baggage",
            method,
            path,
            {**wait, "baggage": f"note={quote(values['email'])}", "tracestate": f"a={values['aws']}"},
            token=token,
        )
        bodies(site, name, method, path, wait, token)


def bodies(site: Site, name: str, method: str, path: str, wait: dict[str, str], token: str | None) -> None:
    values = site.plant(f"{name}-json")
    body = json.dumps({"list": [{"note": one} for one in values.values()], "text": "; ".join(values.values())}).encode()
    site.send(f"{name} json", method, path, {**wait, **JSON}, body, token)
    values = site.plant(f"{name}-keys")
    site.send(f"{name} keys", method, path, {**wait, **JSON}, json.dumps({"by": {one: 1 for one in values.values()}}).encode(), token)
    values = site.plant(f"{name}-escaped")
    escaped = "".join(f"\\u{ord(char):04x}" for char in values["email"])
    site.send(f"{name} escaped", method, path, {**wait, **JSON}, f'{{"a": "{escaped}"}}'.encode(), token)
    values = site.plant(f"{name}-form")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    site.send(f"{name} form", method, path, {**wait, **form}, urlencode({"q" + kind: one for kind, one in values.items()}).encode(), token)
    values = site.plant(f"{name}-text")
    text = "\n".join(f"write {one} down" for one in values.values()).encode()
    site.send(f"{name} text", method, path, {**wait, "Content-Type": "text/plain"}, text, token)
    values = site.plant(f"{name}-gzip")
    packed = gzip.compress(json.dumps({"a": list(values.values())}).encode())
    site.send(f"{name} gzip", method, path, {**wait, **JSON, "Content-Encoding": "gzip"}, packed, token)
    values = site.plant(f"{name}-binary")
    site.send(
        f"{name} binary",
        method,
        path,
        {**wait, "Content-Type": "application/octet-stream"},
        b"\xff\xfe\0" + " ".join(values.values()).encode(),
        token,
    )
    values = site.plant(f"{name}-broken")
    site.send(f"{name} broken", method, path, {**wait, **JSON}, b'{"a": "' + " ".join(values.values()).encode(), token)
    values = site.plant(f"{name}-base64")
    inner = base64.b64encode(json.dumps(list(values.values())).encode()).decode()
    site.send(f"{name} base64", method, path, {**wait, **JSON}, json.dumps({"data": inner}).encode(), token)


def send_malformed(site: Site) -> None:
    """What never becomes a request that policy sees."""
    for at, shape in enumerate((
        "GET /a b%s HTTP/1.1\r\nHost: vault.localhost\r\n\r\n",
        "GET /%s/../x HTTP/1.1\r\nHost: vault.localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: vault.localhost\r\nBad Header %s: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: vault.localhost\r\nX_%s: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
        "%s / HTTP/1.1\r\nHost: vault.localhost\r\n\r\n",
        "GET http://%s@vault.localhost/ HTTP/1.1\r\nHost: vault.localhost\r\n\r\n",
        "CONNECT %s:443 HTTP/1.1\r\nHost: vault.localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: vault.localhost\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
        "%s\r\n\r\n",
    )):  # fmt: skip
        values = site.plant(f"malformed-{at}")
        site.heard.append((f"malformed {at}", ask(site.gateway, (shape % values["email"]).encode(), f"127.0.2.{at + 1}", seconds=0.4).data))
        site.heard.append((f"malformed {at}", ask(site.gateway, (shape % values["aws"]).encode(), f"127.0.2.{at + 1}", seconds=0.4).data))


def answer_everything(site: Site) -> None:
    """Plant values in every place of an answer."""
    canned = site.upstream.canned

    def answer(name: str, first: str, body: bytes) -> None:
        canned[name] = [f"HTTP/1.1 {first}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body]
        site.send(f"answer {name}", "GET", f"/answer/{name}", {})

    values = site.plant("answer-json")
    answer("json", "200 OK\r\nContent-Type: application/json", json.dumps({"list": [{"note": one} for one in values.values()]}).encode())
    values = site.plant("answer-text")
    answer("text", "500 Oops\r\nContent-Type: text/plain", ("Traceback: " + ", ".join(values.values())).encode())
    values = site.plant("answer-html")
    answer("html", "502 Bad Gateway\r\nContent-Type: text/html", "".join(f"<p>{one}</p>" for one in values.values()).encode())
    values = site.plant("answer-header")
    answer("header", "200 OK\r\nContent-Type: text/plain\r\n" + "\r\n".join(f"X-{kind}: {one}" for kind, one in values.items()), b"ok")
    values = site.plant("answer-cookie")
    answer(
        "cookie",
        f"200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a={values['jwt']}; Path=/\r\nLocation: /x?m={quote(values['email'])}",
        b"ok",
    )
    values = site.plant("answer-reason")
    answer("reason", f"200 {values['email']} {values['aws']}\r\nContent-Type: text/plain", b"ok")
    values = site.plant("answer-name")
    answer("name", f"200 OK\r\nContent-Type: text/plain\r\nX-{values['aws']}: 1", b"ok")
    values = site.plant("answer-type")
    answer("type", f"200 OK\r\nContent-Type: text/{values['aws']}; x={values['email']}", b"ok")
    values = site.plant("answer-binary")
    answer("binary", "200 OK\r\nContent-Type: application/octet-stream", b"\0\xff" + " ".join(values.values()).encode())
    values = site.plant("answer-garbage")
    canned["bad"] = [" ".join(values.values()).encode() + b"\r\n\r\n"]
    site.send("answer bad", "GET", "/answer/bad", {})
    values = site.plant("answer-cut")
    canned["cut"] = [b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9999\r\n\r\n" + " ".join(values.values()).encode()]
    site.send("answer cut", "GET", "/answer/cut", {})
    canned["mirrored"] = [f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(CREDENTIAL)}\r\n\r\n{CREDENTIAL}".encode()]
    site.send("answer mirrored", "GET", "/answer/mirrored", {})


def decide_everything(site: Site) -> None:
    """Look at what is held in every form, and decide it with reasons that hold values."""
    gateway = site.gateway
    control = httpx.Client(
        base_url=gateway.control,
        verify=ssl.create_default_context(cafile=str(gateway.ca)),
        headers={"Authorization": f"Bearer {site.bob}"},
        timeout=30,
    )
    with control:
        cards = site.told(CONTROL, control.get("/v1/approvals")).json()["approvals"]
        assert len(cards) > 10
        for card in cards:
            site.told(CONTROL, control.get(f"/v1/approvals/{card['id']}"))
        for at, card in enumerate(cards):
            values = site.plant(f"reason-{at}") if at < 4 else {"a": "Enough"}
            vote = {"effect": "deny" if at % 2 else "approve", "digest": card["digest"], "reason": " ".join(values.values())}
            site.told(
                CONTROL,
                control.post(
                    f"/v1/approvals/{card['id']}/decision", json=vote if at < 4 else {**vote, "digest": card["digest"][:-4] + "0000"}
                ),
            )
            site.told(CONTROL, control.get(f"/v1/approvals/{card['id']}"))
        site.told(CONTROL, control.get("/v1/approvals", params={"state": "denied"}))
    pages(site, [card["id"] for card in cards])


def pages(site: Site, ids: list[str]) -> None:
    """The same as a person sees it."""
    gateway = site.gateway
    same = {"Origin": gateway.control, "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(
        base_url=gateway.control, verify=ssl.create_default_context(cafile=str(gateway.ca)), follow_redirects=False, timeout=30
    ) as browser:
        csrf = re.search(r'name="csrf" value="([^"]+)"', browser.get("/sign-in").text)[1]
        assert site.told("sign-in", browser.post("/sign-in", data={"csrf": csrf, "token": site.bob}, headers=same)).status_code == 303
        site.told("page", browser.get("/approvals"))
        for id in ids:
            assert site.told(f"page {id}", browser.get(f"/approvals/{id}")).status_code == 200


def read_everything(site: Site, folder) -> None:
    """Search, show, export in both formats, metrics."""
    gateway = site.gateway
    for name, arguments in (("events.jsonl", ()), ("case.flows", ("--format", "flows"))):
        done = gateway.cli("export", "kind:http", *arguments, "-o", str(folder / name), token=site.carol, timeout=120)
        assert done.status == 0, done.headers["stderr"]
        site.heard.append((f"export {name}", done.body + done.headers["stderr"].encode()))
    everything = gateway.cli("export", "--db", str(gateway.store), "-o", "-", timeout=120)
    site.heard.append(("export of all", everything.body))
    site.heard.append(("search", gateway.cli("search", "--limit", "1000", "--json", token=site.carol).body))
    for path in ("/metrics", "/readyz", "/healthz"):
        site.heard.append((path, gateway.request("GET", gateway.control + path).body))


@pytest.fixture(scope="module")
def left(site, tmp_path_factory):
    """Everything has happened, and the gateway has stopped."""
    folder = tmp_path_factory.mktemp("exports")
    send_everything(site)
    send_malformed(site)
    answer_everything(site)
    decide_everything(site)
    read_everything(site, folder)
    wal = {path.name: path.read_bytes() for path in files(site.gateway.store.parent) if path.name != "audit.db"}  # gone after the stop
    assert site.gateway.stop() == 0, site.gateway.output[-3000:]
    return folder, wal


def found(site: Site, parts) -> list[str]:
    hits = sorted({f"{name} in {where}" for where, data in parts for name in site.search.hits(data)})
    print("\n".join(hits))
    return hits


GIVEN = {
    "answer-cookie/jwt in answer cookie",
    "answer-name/aws in answer name",
}  # a cookie is the caller's; a name is no value (and not stored)


def test_no_answer_holds_one(site, left):
    assert {hit.removesuffix(" http1").removesuffix(" http2") for hit in found(site, site.heard)} <= GIVEN


def test_no_cell_of_the_store_holds_one(site, left):
    assert found(site, cells(site.gateway.store)) == []


def test_no_file_holds_one(site, left):
    folder, wal = left
    everywhere = files(site.gateway.home, folder)
    assert {"audit.db", "witness.notes", "gateway.log", "events.jsonl", "case.flows"} <= {path.name for path in everywhere}
    assert found(site, [*wal.items(), *((path.name, path.read_bytes()) for path in everywhere)]) == []


def test_the_digest_of_a_known_body_is_not_kept(site, left):
    """Row 27: whoever knows a body cannot look for its plain SHA-256."""
    values = planted("held-text")
    body = "\n".join(f"write {one} down" for one in values.values()).encode()
    plain = hashlib.sha256(body)
    for where, data in [*cells(site.gateway.store), *site.heard]:
        assert plain.digest() not in data and plain.hexdigest().encode() not in data, where


def test_the_upstream_saw_what_was_sent(site, left):
    """The search above would find a value if there was one: what went upstream holds them, unmasked, and our credential."""
    hits = site.search.hits(b"".join(site.upstream.bodies))
    assert {"allowed-json/email", "allowed-text/card", "allowed-form/iban"} <= hits
