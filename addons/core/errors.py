"""Every refusal, as a tree; and the list of codes a caller may meet.

    GuardhouseError 503               could not decide: closed
      ConfigError                     at load: file:line, got, expected, nearest known key
      ValidationError 400             two readers could read it differently
      RouteError 404 | 421            no service for this host or path | wrong host on a TLS listener
      AuthenticationError 401         token, key, assertion; with a challenge
      IdentityUnavailableError 503    the issuer's keys cannot be had: not the caller's fault
      PurposeError 400 | 403          malformed | missing, or not in the catalogue
      PolicyDeniedError 403           rules, explanation for the audit
      WriteBackError 422              the write carries one of our masks, or moves or tests a masked place
      ApprovalError 403 | 413 | 429   denied, expired, changed | too big to hold | still pending, or too many holds
      DecisionError 400 ... 422       control plane: a vote or a signal that does not count, and why
      CredentialError 502             the upstream's secret is not available
      MaskingError 502 | 400          withheld (Unmaskable, with its reason)
      AuditError 503                  not recordable, so not allowed
      UpstreamError 502 | 504

`str(error)` is safe for the caller: what is wrong and what to send instead. `.detail` is for the auditor only.
`.code` is a documented slug. Nothing in here ever holds a token, a claim value, a key or a body.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Code:
    """One documented way to be refused: its HTTP status, whose fault it is, and a title for people."""

    status: int
    fault: str  # caller | policy | upstream | ours
    title: str


CODES: Mapping[str, Code] = {
    # ours
    "unavailable": Code(503, "ours", "Guardhouse could not decide"),
    "shutting-down": Code(503, "ours", "Guardhouse is stopping"),
    "audit-unavailable": Code(503, "ours", "The request cannot be recorded"),
    "identity-unavailable": Code(503, "ours", "The identity provider's keys cannot be had"),
    "approval-unavailable": Code(503, "ours", "The approval cannot be read"),
    "masking-warming-up": Code(503, "ours", "The masking engine is still starting"),
    # request
    "request-malformed": Code(400, "caller", "The request can be read in two ways"),
    "request-too-large": Code(413, "caller", "The request is too large"),
    "not-supported": Code(501, "caller", "Guardhouse does not carry this yet"),
    "no-service": Code(404, "caller", "No service has this address"),
    "misdirected": Code(421, "caller", "This listener does not serve that host"),
    # identity
    "credential-required": Code(401, "caller", "A credential is needed"),
    "credential-ambiguous": Code(400, "caller", "More than one credential came"),
    "token-invalid": Code(401, "caller", "The token is not accepted"),
    "token-expired": Code(401, "caller", "The token has expired"),
    "key-unknown": Code(401, "caller", "The API key is not accepted"),
    "proof-invalid": Code(401, "caller", "The proof of possession is missing or wrong"),
    "too-many-requests": Code(429, "caller", "Too many requests"),
    # purpose
    "purpose-missing": Code(403, "caller", "The request does not say why it is made"),
    "purpose-unknown": Code(403, "caller", "The purpose is not in the catalogue"),
    "purpose-malformed": Code(400, "caller", "The purpose is not a label"),
    # policy
    "policy-denied": Code(403, "policy", "Policy forbids this"),
    "masked-field-filter": Code(403, "policy", "A masked field cannot be filtered or sorted by"),
    "write-back": Code(422, "caller", "The write carries a mask"),
    "replay-write": Code(403, "policy", "A replay does not write"),
    # approval
    "approval-pending": Code(429, "policy", "Waiting for approval"),
    "approval-denied": Code(403, "policy", "The approval was denied"),
    "approval-expired": Code(403, "policy", "The approval expired"),
    "too-many-pending": Code(429, "caller", "Too many requests are waiting for approval"),
    "request-changed": Code(403, "ours", "The request changed after it was held"),
    "body-too-large-to-hold": Code(413, "caller", "The body is too large to be held"),
    # decisions (control plane)
    "digest-mismatch": Code(409, "caller", "The digest is not this approval's"),
    "approval-state": Code(409, "caller", "The approval is not in a state for this"),
    "self-approval": Code(403, "caller", "Nobody decides their own request"),
    "not-a-person": Code(403, "caller", "Only people decide"),
    "not-a-reviewer": Code(403, "caller", "You are not a reviewer of this approval"),
    "assurance": Code(403, "caller", "This channel does not count for this approval"),
    "not-found": Code(404, "caller", "There is no such thing, or it is not yours to see"),
    "method-not-allowed": Code(405, "caller", "This address does not take that method"),
    "cross-site": Code(403, "caller", "The form did not come from this page"),
    "forbidden": Code(403, "caller", "Your role does not allow this"),
    "invalid": Code(422, "caller", "The request body is not valid"),
    "unsigned": Code(401, "caller", "The signature does not count"),
    # masking
    "unmaskable": Code(502, "ours", "The answer could not be masked, so it is withheld"),
    "request-unmaskable": Code(400, "caller", "The request could not be read for masking"),
    "masking-missing": Code(502, "ours", "The answer owed a mask and has none"),
    # upstream and credentials
    "credential-unavailable": Code(502, "ours", "The upstream's credential is not available"),
    "upstream-failed": Code(502, "upstream", "The upstream failed"),
    "upstream-timeout": Code(504, "upstream", "The upstream did not answer in time"),
    "response-too-large": Code(502, "upstream", "The answer is too large"),
}


class GuardhouseError(Exception):
    """Could not decide, so closed. The base of every refusal.

    `message` goes to the caller, `detail` to the audit. `headers` are added to the answer (a challenge,
    Retry-After). `extra` are further members of the problem document (RFC 9457 section 3.2).
    """

    default_code: ClassVar[str] = "unavailable"
    default_message: ClassVar[str] = "Guardhouse could not decide about this request, so it was refused. Try again later."

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        detail: str = "",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message or self.default_message)
        self.code = code or self.default_code
        self.detail = detail
        self.status = status or CODES[self.code].status
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @property
    def title(self) -> str:
        """The code's title, for people."""
        return CODES[self.code].title


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong in a policy file."""

    where: str  # "gateway.yaml:12" (relative to the policies folder)
    problem: str  # what was got and what was expected, one sentence
    hint: str = ""  # the nearest known key, or what to write instead


class ConfigError(GuardhouseError):
    """A policy file cannot be used. Becomes mitmproxy's OptionsError at start; a reload keeps the old Snapshot."""

    def __init__(self, problems: list[ConfigProblem]) -> None:
        lines = [f"{p.where}: {p.problem}" + (f" ({p.hint})" if p.hint else "") for p in problems]
        super().__init__("\n".join(lines))
        self.problems = problems


class ValidationError(GuardhouseError):
    """Two readers could read this request differently."""

    default_code = "request-malformed"


class RouteError(GuardhouseError):
    """No service stands at this host."""

    default_code = "no-service"
    default_message = "No service of this gateway has this host. Check the Host you sent."


class AuthenticationError(GuardhouseError):
    """The credential does not make a principal. The caller learns the code; which check failed only the auditor."""

    default_code = "token-invalid"
    default_message = "The token is not accepted here. Get a fresh token for this gateway's audience."


class TokenInvalid(AuthenticationError):
    """The token failed a check of the table in design/identity.md 3.2."""


class TokenExpired(AuthenticationError):
    """The token is expired or not yet valid."""

    default_code = "token-expired"
    default_message = "The token has expired. Get a fresh one and send the request again."


class ApiKeyUnknown(AuthenticationError):
    """The API key is unknown, expired, revoked, or came from a network it is not for."""

    default_code = "key-unknown"
    default_message = "The API key is not accepted here."


class IdentityUnavailableError(GuardhouseError):
    """The issuer's keys cannot be had: not the caller's fault."""

    default_code = "identity-unavailable"
    default_message = "The identity provider cannot be reached, so no token can be checked. Try again shortly."


class PurposeError(GuardhouseError):
    """The request does not say, or does not properly say, why it is made."""

    default_code = "purpose-missing"


class PolicyDeniedError(GuardhouseError):
    """A rule, or the default, forbids it."""

    default_code = "policy-denied"
    default_message = "Policy does not allow this request."


class WriteBackError(GuardhouseError):
    """The write carries one of our masks, or moves or tests a masked place."""

    default_code = "write-back"
    default_message = "The request carries a masked value. Leave that field out and send the rest."


class ApprovalError(GuardhouseError):
    """Not (yet) approved."""

    default_code = "approval-pending"


class DecisionError(GuardhouseError):
    """A vote or a signal that does not count, and why."""

    default_code = "invalid"


class CredentialError(GuardhouseError):
    """The upstream's secret is not available."""

    default_code = "credential-unavailable"
    default_message = "The gateway's credential for this service is not available. Nothing was sent; tell the gateway's operators."


class MaskingError(GuardhouseError):
    """What cannot be masked is not sent."""

    default_code = "unmaskable"
    default_message = "The answer could not be masked, so it was withheld."


UNMASKABLE_REASONS = ("coding", "truncated", "bomb", "charset", "syntax", "depth", "size", "deadline", "media", "range", "opaque", "crash")


class Unmaskable(MaskingError):
    """Bytes that no masker can read. `reason` is one of UNMASKABLE_REASONS."""

    def __init__(self, reason: str, *, code: str | None = None, detail: str = "") -> None:
        assert reason in UNMASKABLE_REASONS
        super().__init__(
            f"The content could not be masked ({reason}), so it was withheld.", code=code, detail=detail, extra={"reason": reason}
        )
        self.reason = reason


class AuditError(GuardhouseError):
    """Not recordable, so not allowed."""

    default_code = "audit-unavailable"
    default_message = "The request cannot be recorded right now, so it was not carried out. Try again shortly."


class UpstreamError(GuardhouseError):
    """The upstream failed or did not answer."""

    default_code = "upstream-failed"
    default_message = "The upstream did not give a usable answer."


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal as the caller reads it (RFC 9457)."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


def problem_of(error: GuardhouseError, request_id: str = "") -> Problem:
    """Return the problem document of a refusal. `request_id` is the flow's id, for the auditor to look up."""
    body: dict[str, Any] = {
        "type": f"urn:guardhouse:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": str(error),
    }
    if request_id:
        body["instance"] = f"urn:uuid:{request_id}"
    body.update(error.extra)
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store", **error.headers}
    return Problem(error.status, headers, body)
