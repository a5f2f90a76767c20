"""One real gateway for all attacks on the whole of it: a hostile upstream behind it, and clocks short enough to wait for."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.parts import raw_client
from tests.parts.gateway import Gateway
from tests.parts.hostile_upstream import HostileUpstream

CANARY = "canary-upstream-Q7secret9"
RULES = """
  - name: hostile-is-read
    match: {services: [hostile, bare], methods: [GET, HEAD, POST], principals: {kinds: [human, agent]}}
    effect: allow
  - name: hostile-deletes-are-held
    match: {services: [hostile], access: [delete], principals: {kinds: [human, agent]}}
    effect: hold
    approval: one-sre
"""
CLOCKS = {
    "body_idle: 30s": "body_idle: 2s",
    "body_time: 5m": "body_time: 5s",
    "keep_alive: 60s": "keep_alive: 2s",
    "handshake: 10s": "handshake: 1s",
    "headers_time: 10s": "headers_time: 1s",
}


@dataclass
class Site:
    """The gateway, the upstream, and a token of alice's."""

    gateway: Gateway
    upstream: HostileUpstream
    token: str

    @property
    def port(self) -> int:
        return self.gateway.ports[8442]

    @property
    def head(self) -> str:
        """The headers of an ordinary request."""
        return f"Host: hostile.localhost\r\nAuthorization: Bearer {self.token}\r\nX-Purpose: demo/tour\r\n"

    def ask(self, path: str, method: str = "GET", service: str = "hostile", more: str = "", body: bytes = b"") -> raw_client.Answer:
        """One request over HTTP/1.1."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = self.head.replace("hostile.", f"{service}.", 1)
        return raw_client.http1(
            self.port, f"{method} {path} HTTP/1.1\r\n{head}{more}{length}Connection: close\r\n\r\n".encode("latin-1") + body, timeout=20
        )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`hostile` owes every mask, `bare` none; both hold a credential that the caller must never see."""
    home, upstream = tmp_path_factory.mktemp("attacked"), HostileUpstream()
    secret = home / "token"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    services = "".join(
        f"  - {{name: {name}, kind: http, url: 'http://127.0.0.1:{upstream.port}', hosts: [{name}.localhost], "
        f"credential: {{type: bearer, value: 'file:{secret}'}}}}\n"
        for name in ("hostile", "bare")
    )

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            for old, new in CLOCKS.items():
                text = text.replace(old, new)
            text = text.replace("services: [crm, echo]", "services: [crm, echo, hostile, bare]")
            text = text.replace("services: [crm]", "services: [crm, hostile, bare]")
            return text.replace("\naudit:\n", f"\n{services}\naudit:\n")
        if name == "rules.yaml":
            return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1)
        if name == "approvals.yaml":
            return text.replace("max_pending_per_principal: 5", "max_pending_per_principal: 100").replace(
                "max_openings_per_hour: 20", "max_openings_per_hour: 200"
            )
        if name == "masking.yaml":
            return text.replace("  echo: {", "  hostile: {always: [secrets, pii]}\n  bare: {always: []}\n  echo: {")
        return text

    gateway = Gateway(home, edit=edit).start()
    yield Site(gateway, upstream, gateway.token("alice"))
    code = gateway.stop()
    upstream.close()
    assert code == 0, gateway.output[-3000:]
