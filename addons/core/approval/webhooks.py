"""Signed decisions of an integration (Standard Webhooks): who may speak, for whom, and each message once.

The verifier is our own: the reference library accepts replays and float timestamps, and raises on odd headers. The
signature is checked over the raw bytes before anything is parsed. All that is wrong before the decision itself gets one
and the same answer, so that a stranger learns nothing.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from addons.core.approval.decide import Vote, spoken_for
from addons.core.approval.ledger import Ledger
from addons.core.clock import Clock
from addons.core.config.model import Integration, Reference, Snapshot
from addons.core.errors import AuditError, CredentialError, DecisionError
from addons.core.wire import strict_json
from addons.core.wire.strict_json import StrictJsonError

WINDOW = 300  # seconds either way, as the Standard Webhooks specification advises
MOST = 64 << 10
TIMESTAMP = re.compile(r"[1-9][0-9]{0,14}", re.ASCII)
IDENT = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)
MEMBERS = frozenset({"approval_id", "digest", "effect", "reason", "person"})


class Unsigned(Exception):
    """The message does not count. Which check failed is for the log alone."""


def verify(headers: Mapping[str, str], body: bytes, secrets: Iterable[bytes], now: float) -> str:
    """Return the message's id; raise Unsigned. `headers` have lower-case names; `secrets` are keys, newest first."""
    ident, sent, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not IDENT.fullmatch(ident) or not TIMESTAMP.fullmatch(sent) or len(body) > MOST:
        raise Unsigned("headers")
    if abs(now - int(sent)) > WINDOW:
        raise Unsigned("timestamp")
    signed = f"{ident}.{sent}.".encode() + body
    expected = [hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets]
    given = [_decoded(part[3:]) for part in signatures.split(" ") if part.startswith("v1,")]
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(matches):
        raise Unsigned("signature")
    return ident


def key_of(secret: bytes) -> bytes:
    """The signing key in a secret: `whsec_` and base64 (either alphabet), as the specification writes it."""
    text = secret.strip().removeprefix(b"whsec_").replace(b"-", b"+").replace(b"_", b"/")
    try:
        key = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise CredentialError(detail="a webhook secret is not base64") from error
    if len(key) < 24:
        raise CredentialError(detail="a webhook secret has fewer than 24 bytes")
    return key


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""


class Inbox:
    """Takes the messages of all integrations."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        snapshot: Callable[[], Snapshot],
        reveal: Callable[[Reference], bytes],
        decide: Callable[[Vote], Awaitable[Any]],
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.snapshot = snapshot
        self.reveal = reveal
        self.decide = decide

    async def receive(self, integration: str, headers: Mapping[str, str], body: bytes) -> None:
        """Count a signed decision. DecisionError 401 for everything before it, then as any vote."""
        configured = self.snapshot().approvals
        known = configured.integrations.get(integration)
        if known is None:
            raise unsigned("unknown integration")
        try:
            ident = verify({name.lower(): value for name, value in headers.items()}, body, self._keys(known), self.clock.now())
            data = _decision(body)
        except (Unsigned, StrictJsonError) as error:
            raise unsigned(str(error)) from error
        if data["person"] not in known.people:
            raise unsigned("person not listed")
        await self._once(integration, ident)
        voter = spoken_for(data["person"], configured.people)
        vote = Vote(
            data["approval_id"],
            data["digest"],
            data["effect"],
            data["reason"],
            voter,
            "webhook",
            f"integration:{integration}",
            "integration",
        )
        await self.decide(vote)

    def _keys(self, known: Integration) -> Sequence[bytes]:
        return [key_of(self.reveal(reference)) for reference in known.secrets]

    async def _once(self, integration: str, ident: str) -> None:
        until = self.clock.now_us() + 2 * WINDOW * 1_000_000
        try:
            fresh = await self.ledger.claim_once("webhook", f"{integration}:{ident}", until)
        except AuditError as error:
            raise DecisionError("The decision cannot be recorded right now. Send it again.", code="approval-unavailable") from error
        if not fresh:
            raise unsigned("repeated")


def _decision(body: bytes) -> dict[str, str]:
    message = strict_json.load_object(body)
    data = message.get("data")
    if message.get("type") != "approval.decision" or not isinstance(message.get("timestamp"), str) or not isinstance(data, dict):
        raise Unsigned("shape")
    if set(message) != {"type", "timestamp", "data"} or set(data) != MEMBERS or not all(isinstance(value, str) for value in data.values()):
        raise Unsigned("members")
    return data


def unsigned(detail: str) -> DecisionError:
    """The one answer to everything that is wrong with a signed message."""
    return DecisionError("The message does not count.", code="unsigned", detail=detail)
