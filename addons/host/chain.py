"""The order of the chain, as the host insists on it. `stack.py` explains why each step stands where it does.

`Listeners` binds only if the registered steps are exactly these, and `Departure` lets a request out only if these hooks
ended normally, in this order. A step that is missing, moved, or that returned early does not raise: this is what
notices.
"""

CHAIN = (
    "guardhouse-hardening",
    "guardhouse-development",
    "guardhouse-validation",
    "guardhouse-routing",
    "guardhouse-identity",
    "guardhouse-session",
    "guardhouse-policy",
    "guardhouse-prepare",
    "guardhouse-intent",
    "guardhouse-approval",
    "guardhouse-credentials",
    "guardhouse-departure",
    "guardhouse-apply",
    "guardhouse-arrival",
    "guardhouse-recording",
    "guardhouse-outcome",
    "guardhouse-control",
    "guardhouse-drain",
    "guardhouse-listeners",
)

FINGERPRINTED = "guardhouse-prepare.request"  # the guard takes the fingerprint of the request right after this step

WAY_OUT = (
    "guardhouse-validation.requestheaders",
    "guardhouse-routing.requestheaders",
    "guardhouse-identity.requestheaders",
    "guardhouse-session.requestheaders",
    "guardhouse-validation.request",
    "guardhouse-routing.request",
    "guardhouse-policy.request",
    FINGERPRINTED,
    "guardhouse-intent.request",
    "guardhouse-approval.request",
    "guardhouse-credentials.request",
)


def first_missing(steps: list[str]) -> str | None:
    """Return the first step of the way out that did not end normally in its place, None when all did."""
    at = 0
    for wanted in WAY_OUT:
        try:
            at = steps.index(wanted, at) + 1
        except ValueError:
            return wanted
    return None
