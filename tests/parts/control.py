"""Small true parts for the control plane's tests: a desk that counts votes, a log that keeps events, a verifier of named tokens.

`Bench` holds them together with the very application that the shell serves.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from addons.core.approval.card import Card
from addons.core.approval.decide import Vote, Voter
from addons.core.config.model import Snapshot
from addons.core.errors import AuditError, DecisionError, TokenExpired
from addons.core.exchange import Principal
from addons.core.identity import challenge
from addons.core.web.app import make_app
from addons.core.web.services import ControlServices, Readiness
from addons.host.asgi import closed
from tests import harness
from tests.harness import FakeClock

DIGEST = "hmac-sha-256:" + "a71c06c773db" + "0" * 52
ORIGIN = "https://127.0.0.1:8444"
FORM = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
CONTROL = "https://127.0.0.1:8444/"
DATA = "https://127.0.0.1:8443/"


def person(name: str, *groups: str, kind: str = "human", expires_at: float = 1_700_003_600.0, **more: Any) -> Principal:
    """Somebody of the issuer `dev`."""
    return Principal("http://127.0.0.1:8445", "dev", name, kind, groups=groups, expires_at=expires_at, token_id=name, **more)


def card(approval_id: str = "ap_1", **changes: Any) -> Card:
    """A card as the desk makes it, one approval needed of dev:sre."""
    made = Card(
        id=approval_id, state="pending", version=1, digest=DIGEST, short_digest="a71c 06c7 73db", service="crm",
        operation={"protocol": "http", "verb": "DELETE", "text": "DELETE /customers/7", "access": ["delete"]},
        request={"method": "DELETE", "scheme": "http", "authority": "127.0.0.1:8446", "path": "/customers/7", "query": ""},
        body={"text": "", "size": 0, "complete": True, "note": ""},
        principal={"subject": "alice", "issuer": "dev", "kind": "agent", "client_id": "planner-agent"},
        actors=({"subject": "planner", "issuer": "http://127.0.0.1:8445"},),
        purpose={"value": "support/4711", "source": "header", "detail": None},
        rules=("customer-deletes-are-held",), reasons=("Deleting a customer cannot be undone.",),
        requirements=({"group": "dev:sre", "need": 1, "have": 0},), have=0, need=1, waiting_for="One of dev:sre must agree.", votes=(),
        grant=None, uses=(), outcome="", created_at="2026-01-02T10:00:00Z", expires_at="2026-01-02T11:00:00Z", decided_at=None,
        execution_expires_at=None, caller_connected=True, masked={}, session_id=None, cannot_approve="", can_decide=False,
    )  # fmt: skip
    return replace(made, **changes)


class FakeDesk:
    """Cards in memory. One approval of `dev:sre` decides; asker and actors never vote; digests must be equal."""

    def __init__(self) -> None:
        self.cards_by_id: dict[str, Card] = {}
        self.votes: list[Vote] = []
        self.changed = asyncio.Event()

    def add(self, one: Card) -> Card:
        self.cards_by_id[one.id] = one
        return one

    async def decide(self, vote: Vote) -> Card:
        one = self._get(vote.approval_id, vote.voter)
        if vote.digest != one.digest:
            raise DecisionError("The digest is not this approval's.", code="digest-mismatch")
        if vote.voter.kind != "human" or vote.voter.actors:
            raise DecisionError("Only people decide.", code="not-a-person")
        if self._is_asker(one, vote.voter):
            raise DecisionError("Nobody decides their own request.", code="self-approval")
        if "dev:sre" not in vote.voter.groups:
            raise DecisionError("You are not a reviewer of this approval.", code="not-a-reviewer")
        if one.state != "pending":
            raise DecisionError(f"The approval is {one.state}.", code="approval-state")
        if len(vote.reason) < 10:
            raise DecisionError("Give a reason of 10 to 1,000 characters.", code="invalid")
        if vote.effect == "approve" and one.cannot_approve:
            raise DecisionError(one.cannot_approve, code="approval-state")
        self.votes.append(vote)
        state = {"approve": "approved", "deny": "denied"}[vote.effect]
        said = {
            "by": vote.voter.person,
            "effect": vote.effect,
            "channel": vote.channel,
            "at": "2026-01-02T10:03:00Z",
            "reason": vote.reason,
        }
        self.cards_by_id[one.id] = replace(one, state=state, version=one.version + 1, votes=(said,), decided_at=said["at"])
        self.changed.set()
        return self.view(one.id, vote.voter)

    async def cancel(self, approval_id: str, voter: Voter) -> Card:
        one = self._get(approval_id, voter)
        if not self._is_asker(one, voter):
            raise DecisionError("Only the requester withdraws.", code="forbidden")
        self.cards_by_id[one.id] = replace(one, state="cancelled", version=one.version + 1)
        return self.view(one.id, voter)

    async def card(self, approval_id: str, viewer: Voter, *, wait: float = 0.0, version: int = 0) -> Card:
        one = self._get(approval_id, viewer)
        if wait and one.version <= version:
            await asyncio.wait_for(self.changed.wait(), wait)
        return self.view(approval_id, viewer)

    async def cards(
        self, viewer: Voter, *, state: str | None = None, service: str | None = None, mine: bool = False, limit: int = 50, before: str | None = None
    ) -> list[Card]:  # fmt: skip
        shown = [one for one in self.cards_by_id.values() if self._may_see(one, viewer)]
        wanted = [one for one in shown if state in (None, one.state) and service in (None, one.service)]
        return [self.view(one.id, viewer) for one in wanted if not mine or self._is_asker(one, viewer)][:limit]

    async def status(self, approval_id: str, principal_key: str) -> Mapping[str, Any]:
        one = self.cards_by_id.get(approval_id)
        if one is None or principal_key != f"http://127.0.0.1:8445\n{one.principal['subject']}":
            raise DecisionError("There is no such approval.", code="not-found")
        return {"state": one.state, "have": one.have, "need": one.need, "retry_after": 10}

    async def webhook(self, integration: str, headers: Mapping[str, str], body: bytes) -> None:
        if integration != "demo" or headers.get("webhook-signature") != "v1,good":
            raise DecisionError("The signature does not count.", code="unsigned")
        self.webhook_body = body

    def health(self) -> dict[str, Any]:
        return {"waiting": 0, "pending": sum(one.state == "pending" for one in self.cards_by_id.values()), "approved": 0, "alerts": 0}

    def view(self, approval_id: str, viewer: Voter) -> Card:
        one = self.cards_by_id[approval_id]
        may = one.state == "pending" and "dev:sre" in viewer.groups and viewer.kind == "human" and not self._is_asker(one, viewer)
        return replace(one, can_decide=may)

    def _get(self, approval_id: str, viewer: Voter) -> Card:
        one = self.cards_by_id.get(approval_id)
        if one is None or not self._may_see(one, viewer):
            raise DecisionError("There is no such approval.", code="not-found")
        return one

    def _may_see(self, one: Card, viewer: Voter) -> bool:
        return "dev:sre" in viewer.groups or self._is_asker(one, viewer)

    def _is_asker(self, one: Card, viewer: Voter) -> bool:
        return viewer.person == f"{one.principal['issuer']}:{one.principal['subject']}"


class FakeIdentity:
    """Tokens by name, each with its audience; good until the principal expires."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.tokens: dict[str, tuple[str, Principal]] = {}
        self.revoked: set[str] = set()
        self.api_keys: Any = None

    def add(self, token: str, principal: Principal, audience: str = CONTROL) -> None:
        self.tokens[token] = (audience, principal)

    async def verify_bearer(self, token: str, audiences: tuple[str, ...], snapshot: Snapshot, peer: str) -> Principal:
        audience, principal = self.tokens.get(token, ("", None))
        if principal is None or audience not in audiences:
            raise challenge.invalid("audience")
        self.still_good(principal, snapshot)
        return principal

    async def verify_key(self, text: str, snapshot: Snapshot, peer: str) -> Principal:
        return await self.verify_bearer(text, (DATA,), snapshot, peer)

    def still_good(self, principal: Principal, snapshot: Snapshot) -> None:
        if principal.expires_at <= self.clock.now():
            raise TokenExpired()
        if principal.person in self.revoked:
            raise challenge.invalid("revoked")


class FakeStore:
    """Keeps events; refuses when told to."""

    def __init__(self) -> None:
        self.appended: list[Any] = []
        self.observers: list[Any] = []
        self.is_broken = False

    async def append(self, event: Any, *, reserve: bool = False, release: bool = False) -> int:
        if self.is_broken:
            raise AuditError()
        self.appended.append(event)
        return len(self.appended)

    def health(self) -> dict[str, Any]:
        return {"queued": 0, "seq": len(self.appended), "state": "ok"}


@dataclass
class Bench:
    """The application with its parts, and people: bob reviews, alice asked through planner, carol investigates, dave is in no group."""

    snapshot: Snapshot = field(default_factory=harness.snapshot)
    database: Path = Path("/nonexistent/audit.db")
    store: Any = field(default_factory=FakeStore)
    desk: Any = field(default_factory=FakeDesk)
    readiness: Readiness = field(default_factory=Readiness)
    reload: Any = None
    api_keys: Any = None
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.identity = FakeIdentity(self.clock)
        self.identity.add("bob", person("bob", "dev:sre"))
        self.identity.add("alice", person("alice", "dev:support"))
        self.identity.add("carol", person("carol", "dev:investigators", "dev:sre"))
        self.identity.add("dave", person("dave"))
        self.identity.add("robot", person("robot", "dev:sre", kind="agent"))
        self.identity.add("alice-data", person("alice", "dev:support"), DATA)
        self.identity.add("dave-data", person("dave"), DATA)
        self.identity.add("bob-data", person("bob", "dev:sre"), DATA)
        self.services = ControlServices(
            snapshot=lambda: self.snapshot, clock=self.clock, identity=self.identity, holds=self.desk, store=self.store, database=self.database,
            session_key=b"k" * 32, readiness=lambda: self.readiness, reload=self._reload, redact=lambda text: text.replace("jane@example.com", "[MASKED]"),
            api_keys=self.api_keys,
        )  # fmt: skip
        self.app = closed(make_app(self.services))

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A browser or a tool: cookies are kept, redirects are not followed."""
        transport = httpx.ASGITransport(app=self.app, client=("127.0.0.1", 50_000))
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN, **options)

    @asynccontextmanager
    async def signed_in(self, token: str = "bob") -> AsyncIterator[httpx.AsyncClient]:
        """A browser in which the owner of this token has signed in."""
        async with self.client(headers={"Accept": "text/html"}) as browser:
            form = await browser.get("/sign-in")
            answer = await browser.post("/sign-in", data={"csrf": csrf_of(form.text), "token": token, "next": "/approvals"}, headers=FORM)
            assert answer.status_code == 303, answer.text
            yield browser

    async def _reload(self) -> Snapshot:
        if self.reload is not None:
            return await self.reload()
        return self.snapshot


def csrf_of(page: str) -> str:
    """The form token of a page of ours."""
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def bearer(token: str) -> dict[str, str]:
    """The header of a REST call."""
    return {"Authorization": f"Bearer {token}"}
