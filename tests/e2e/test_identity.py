"""Identity and credentials through the real gateway: what arrives upstream, what comes back, and what is left behind."""

import itertools
import json
import os

import pytest

from tests.parts.gateway import Gateway
from tests.parts.mirror import Mirror
from tests.parts.raw_client import http1, http2

pytestmark = pytest.mark.e2e

CANARY = "canary-upstream-7f3a/Q+secret"
PURPOSE = {"X-Purpose": "support/1"}
RULES = """
  - name: everybody-sees-mirrors
    match: {services: [mirror, echo], principals: {kinds: [human, agent]}}
    effect: allow
    audit: RequestResponse
  - name: deletes-of-mirrors-are-held
    match: {services: [mirror], access: [delete], principals: {kinds: [human, agent]}}
    effect: hold
    approval: one-sre
"""
NAMES = [
    "X-Remote-User",
    "Impersonate-User",
    "X-Forwarded-User",
    "X-Auth-Request-User",
    "X-Client-Cert",
    "SSL-Client-S-Dn",
    "X-Real-IP",
    "Cookie",
]


@pytest.fixture(scope="module")
def mirror():
    upstream = Mirror()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, mirror):
    """A gateway with one more service, whose credential lies in a file."""
    home = tmp_path_factory.mktemp("identity")
    secret = home / "mirror-token"
    put(secret, CANARY)
    service = (
        f"  - {{name: mirror, kind: http, url: 'http://127.0.0.1:{mirror.port}', hosts: [mirror.localhost], "
        f"credential: {{type: bearer, value: 'file:{secret}'}}}}\n"
    )

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm, echo]", "services: [crm, echo, mirror]").replace(
                "services: [crm]", "services: [crm, echo, mirror]"
            )
            return text.replace("\naudit:\n", f"\n{service}\naudit:\n")
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text

    running = Gateway(home, edit=edit).start()
    running.secret = secret
    running.alice = running.token("alice")
    yield running
    assert running.stop() == 0, running.output[-3000:]


def put(path, text: str) -> None:
    """Replace a secret as an agent does: a new file, renamed over the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n")
    fresh.chmod(0o600)
    os.replace(fresh, path)


def ask(site, path: str, host: str = "mirror.localhost", method: str = "GET", headers=None, token: str | None = None):
    return site.request(method, site.cleartext + path, token or site.alice, headers={"Host": host, **PURPOSE, **(headers or {})})


def test_the_upstream_sees_our_credential_and_the_caller_sees_neither(site, mirror):
    answer = ask(site, "/ok")
    assert (answer.status, answer.body) == (200, b"ok")
    fields = dict(mirror.seen[-1][2])
    assert fields["Authorization"] == f"Bearer {CANARY}"
    assert site.alice not in str(mirror.seen)
    assert len(fields["traceparent"]) == 55
    assert not [name for name in fields if name.lower() in ("x-purpose", "x-session-id", "baggage")]


@pytest.mark.parametrize("path", ["raw", "json", "base64", "percent", "header", "redirect", "error", "reason", "chunks"])
def test_the_credential_does_not_come_back(site, mirror, path):
    answer = ask(site, "/" + path)
    assert mirror.seen[-1][1] == "/" + path
    everything = answer.body + str(dict(answer.headers)).encode()
    for spelling in (b"canary-upstream", b"Q+secret", b"Q%2Bsecret", b"Y2FuYXJ5LXVwc3RyZWFt", b"5YXJ5LXVwc3Ry", b"jYW5hcnktdXBzdHJlYW"):
        assert spelling not in everything
    assert answer.status == {"redirect": 302, "error": 500}.get(path, 200) or answer.status == 502


@pytest.mark.parametrize("name", NAMES)
def test_identity_headers_do_not_arrive_in_any_spelling(site, mirror, name):
    port = site.ports[8442]
    for dash, spell in itertools.product("-_", (str.lower, str.upper)):
        spelled, before = spell(name.replace("-", dash)), len(mirror.seen)
        head = f"GET /ok HTTP/1.1\r\nHost: mirror.localhost\r\nAuthorization: Bearer {site.alice}\r\nX-Purpose: support/1\r\n"
        answer = http1(port, f"{head}{spelled}: admin-canary=1\r\n{spelled}: admin-canary=2\r\n\r\n".encode())
        assert answer.status in (200, 400)
        assert answer.status == 200 or len(mirror.seen) == before
        assert "admin-canary" not in str(mirror.seen)


def test_identity_headers_as_trailers_do_not_arrive(site, mirror):
    before = len(mirror.seen)
    chunked = (
        f"POST /ok HTTP/1.1\r\nHost: mirror.localhost\r\nAuthorization: Bearer {site.alice}\r\nX-Purpose: support/1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-remote-user: admin-canary\r\n\r\n"
    )
    http1(site.ports[8442], chunked.encode())
    fields = [
        (b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"mirror.localhost"), (b":path", b"/ok"),
        (b"authorization", f"Bearer {site.alice}".encode()), (b"x-purpose", b"support/1"),
    ]  # fmt: skip
    assert http2(site.ports[8443], fields, b"{}", [(b"x-remote-user", b"admin-canary")]).status in (0, 400)
    assert "admin-canary" not in str(mirror.seen)
    assert len(mirror.seen) - before <= 1


def test_an_http2_body_without_a_length_arrives_whole(site, mirror):
    fields = [
        (b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"mirror.localhost"), (b":path", b"/ok"),
        (b"authorization", f"Bearer {site.alice}".encode()), (b"x-purpose", b"support/1"), (b"content-type", b"text/plain"),
    ]  # fmt: skip
    assert http2(site.ports[8443], fields, b"hello world").status == 200
    assert mirror.seen[-1][3] == b"hello world"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param("", 401, id="no-credential"),
        pytest.param("Authorization: Bearer a.b.c\r\n", 401, id="junk"),
        pytest.param("Authorization: Bearer a.b.c\r\nAuthorization: Bearer a.b.c\r\n", 400, id="two"),
        pytest.param("Authorization: Basic YTpi\r\n", 401, id="basic"),
        pytest.param("X-Api-Key: gh_aaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_00000000\r\n", 401, id="no-such-key"),
    ],
)
def test_nobody_gets_through_without_a_name(site, mirror, headers, status):
    before = len(mirror.seen)
    answer = http1(site.ports[8442], f"GET /ok HTTP/1.1\r\nHost: mirror.localhost\r\nX-Purpose: support/1\r\n{headers}\r\n".encode())
    assert answer.status == status
    assert (status == 401) == answer.headers.get("www-authenticate", answer.headers.get("WWW-Authenticate", "")).startswith("Bearer realm=")
    assert len(mirror.seen) == before


def test_trace_is_refused(site, mirror):
    before = len(mirror.seen)
    assert ask(site, "/ok", method="TRACE").status in (400, 403, 405, 501)
    assert len(mirror.seen) == before


def test_a_rotated_secret_is_used_at_the_next_request_and_a_missing_one_sends_nothing(site, mirror):
    put(site.secret, "canary-second-secret")
    try:
        assert ask(site, "/ok").status == 200
        assert dict(mirror.seen[-1][2])["Authorization"] == "Bearer canary-second-secret"
        before = len(mirror.seen)
        site.secret.unlink()
        answer = ask(site, "/ok")
        assert (answer.status, answer.json["code"]) == (502, "credential-unavailable")
        assert len(mirror.seen) == before
    finally:
        put(site.secret, CANARY)


def test_a_secret_that_cannot_be_had_uses_no_approval_up(site, mirror):
    """Row 27: approved, then the secret is missing: 502, nothing sent, and the approval still opens the door once."""

    def delete():
        return ask(site, "/customers/7", method="DELETE", headers={"Prefer": "wait=0"})

    def sent() -> int:
        return len([one for one in mirror.seen if one[0] == "DELETE"])

    bob, before = site.token("bob"), sent()
    assert delete().json["code"] == "approval-pending"
    card = site.request("GET", site.control + "/v1/approvals", bob).json["approvals"][0]
    site.secret.unlink()
    try:
        vote = json.dumps({"effect": "approve", "digest": card["digest"], "reason": "Agreed with the customer"}).encode()
        decision = f"{site.control}/v1/approvals/{card['id']}/decision"
        decided = site.request("POST", decision, bob, vote, {"Content-Type": "application/json"})
        assert decided.status == 200, decided.text
        answer = delete()
        assert (answer.status, answer.json["code"], sent()) == (502, "credential-unavailable", before)
    finally:
        put(site.secret, CANARY)
    assert (delete().status, sent()) == (200, before + 1)
    assert delete().json["code"] == "approval-pending"
    assert sent() == before + 1


def test_nothing_that_is_left_behind_holds_a_secret_or_a_token(site, tmp_path):
    """Row 13: the store, the log and an export after all of the above."""
    out = tmp_path / "events.jsonl"
    done = site.cli("export", "service:mirror", "-o", str(out), token=site.token("carol"))
    assert done.status == 0, done.headers["stderr"]
    exported = out.read_bytes()
    assert exported.count(b"\n") > 10
    stored = b"".join(path.read_bytes() for path in site.store.parent.iterdir() if path.is_file())
    for place in (exported, stored, site.output.encode()):
        for secret in (CANARY.encode(), b"canary-second-secret", site.alice.encode(), site.alice.split(".")[2].encode()):
            assert secret not in place
