"""Names of headers that speak of who is asking, or of where we stand: never taken from outside, never passed on.

Configuration refuses them as trailers and as names of our own headers; `addons.core.services.credentials.strip`
removes them. Compared in lower case with `_` as `-`, because many servers read both as one.
"""

STRIPPED = frozenset(
    {
        "authorization", "proxy-authorization", "x-api-key", "dpop", "cookie", "forwarded", "x-real-ip", "x-original-url", "x-rewrite-url",
        "x-original-method", "x-http-method-override", "x-http-method", "x-method-override", "remote-user", "remote-groups", "remote-email",
        "remote-name", "x-client-ip", "true-client-ip", "x-cluster-client-ip", "cf-connecting-ip",
    }
)  # fmt: skip
STRIPPED_PREFIXES = (
    "impersonate-", "x-remote-", "x-forwarded-", "x-auth-", "x-authenticated-", "x-client-cert", "ssl-client-", "x-ssl-client-", "guardhouse-",
)  # fmt: skip


def is_stripped(name: str) -> bool:
    """True for a name of the table, in any spelling."""
    plain = name.lower().replace("_", "-")
    return plain in STRIPPED or plain.startswith(STRIPPED_PREFIXES)
