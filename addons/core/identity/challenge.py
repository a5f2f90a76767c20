"""How a credential is refused: one constructor for each way, each with its challenge (RFC 6750 section 3).

The caller learns the code and, where it helps and gives nothing away, a hint (expired, audience). Which check failed
stands in `detail`, a slug for the auditor. Neither ever holds the token, a claim's value or a key.
"""

from addons.core.errors import (
    ApiKeyUnknown,
    AuthenticationError,
    GuardhouseError,
    IdentityUnavailableError,
    TokenExpired,
    TokenInvalid,
    ValidationError,
)

REALM = "guardhouse"


def challenge(error: str = "", description: str = "") -> dict[str, str]:
    """Return the WWW-Authenticate header. Without a credential there is no `error` member (RFC 6750 section 3.1)."""
    parts = [f'Bearer realm="{REALM}"']
    if error:
        parts.append(f'error="{error}"')
    if description:
        parts.append(f'error_description="{description}"')
    return {"WWW-Authenticate": ", ".join(parts)}


def required(detail: str = "no-credential") -> AuthenticationError:
    """No credential came, or one of a scheme that is not served."""
    return AuthenticationError(
        "Send an access token for this gateway: Authorization: Bearer <token>.",
        code="credential-required",
        detail=detail,
        headers=challenge(),
    )


def ambiguous(detail: str) -> AuthenticationError:
    """More than one credential came, or one in a place where it is logged (the query)."""
    return AuthenticationError(
        "Send exactly one credential, once, in the Authorization header.", code="credential-ambiguous", detail=detail
    )


def malformed(detail: str) -> ValidationError:
    """The credential cannot be one: too long, or with bytes that no credential has."""
    return ValidationError("The credential is malformed or too long.", detail=detail)


def invalid(detail: str, message: str | None = None) -> TokenInvalid:
    """The token failed a check."""
    return TokenInvalid(message, detail=detail, headers=challenge("invalid_token"))


def expired(detail: str) -> TokenExpired:
    """The token is expired or not valid yet."""
    if detail == "not-yet-valid":
        return TokenExpired(
            "The token is not valid yet. Check the clocks.", detail=detail, headers=challenge("invalid_token", "The token is not valid yet")
        )
    return TokenExpired(detail=detail, headers=challenge("invalid_token", "The token has expired"))


def proof(detail: str) -> AuthenticationError:
    """The token is bound to a key (`cnf`), or has to be, and no proof of that key came."""
    message = "This token is bound to a key, so it does not count as a plain bearer token. Use one that is not, or prove the key."
    return AuthenticationError(message, code="proof-invalid", detail=detail, headers=challenge("invalid_token"))


def key_unknown(detail: str) -> ApiKeyUnknown:
    """The API key is unknown, expired, revoked or from a wrong network; the caller does not learn which."""
    return ApiKeyUnknown(detail=detail, headers=challenge("invalid_token"))


def unavailable(detail: str, retry_after: float) -> IdentityUnavailableError:
    """The issuer's keys cannot be had, so nobody of that issuer gets in. Ours, not the caller's fault."""
    return IdentityUnavailableError(detail=detail, headers={"Retry-After": str(max(1, round(retry_after)))})


def flooded(detail: str) -> GuardhouseError:
    """More tokens came than we verify in a second."""
    return GuardhouseError(
        "Too many new tokens at once. Use one token for many requests.",
        code="too-many-requests",
        detail=detail,
        headers={"Retry-After": "1"},
    )
