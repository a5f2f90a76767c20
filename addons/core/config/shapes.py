"""Every key that a policy file may hold, section by section.

One table, so that an unknown key is told apart from a known one in one place, and so that a test can hold
policies/README.md to it. `addons.core.config.section` reads a file by these shapes.
"""

from collections.abc import Mapping

_HOLD_TERMS = (
    "hold_timeout", "max_hold", "pending_status", "approval_expiry", "execution_expiry", "deny_cooloff", "reason_required", "expose_reason",
    "body_must_be_visible", "max_hold_body", "max_pending_per_principal", "max_pending", "max_openings_per_hour", "on_client_disconnect",
)  # fmt: skip

SHAPES: Mapping[str, tuple[str, ...]] = {
    # gateway.yaml
    "gateway": (
        "version", "name", "unsafe_development", "state", "keys", "listeners", "extra_scripts", "processes", "limits", "control", "identity",
        "purpose", "session", "trace", "services", "audit",
    ),
    "unsafe_development": ("issuer", "example_service", "people"),
    "unsafe_development.people": ("kind", "groups", "client", "on_behalf_of"),
    "keys": (
        "root", "masking", "approval_mac", "approval_digest", "evidence", "blob_address", "value_tags", "api_key_pepper", "span_id", "page_session",
    ),
    "listeners": ("name", "bind", "tls", "services", "unsafe_cleartext"),
    "tls": ("certificate", "client_ca"),
    "limits": (
        "headers", "header_count", "body", "upstream_connections", "backlog", "interim_responses", "hook_deadline", "drain", "idle", "handshake",
        "headers_time", "body_idle", "body_time", "keep_alive", "connections", "per_peer", "live_hooks", "resets",
    ),
    "control": (
        "bind", "tls", "public_url", "audiences", "sign_in", "roles", "rate_limit", "unsafe_metrics_open", "require_reason",
    ),
    "control.sign_in": ("issuer", "mode", "client_id", "client_secret"),
    "control.roles": ("investigator", "admin"),
    "control.roles.*": ("groups",),
    "control.rate_limit": ("per_person",),
    "identity": ("public_url", "issuers", "api_keys", "require_proof_of_possession", "agents", "aliases"),
    "identity.issuers": (
        "name", "preset", "issuer", "audiences", "authorized_parties", "token_types", "signing_algorithms", "groups_claim", "claim_mappings", "kind",
        "bound_claims", "single_audience", "leeway", "max_token_lifetime", "jwks", "introspection", "require_proof_of_possession",
    ),
    "identity.issuers.kind": ("client", "claim", "is", "kind"),
    "identity.issuers.jwks": ("uri", "file", "lifespan", "cooldown", "max_stale", "timeout", "max_size", "max_keys"),
    "identity.api_keys": ("max_lifetime",),
    "identity.agents": ("owner",),
    "purpose": ("header", "required", "catalogue"),
    "session": ("header", "quiet"),
    "trace": ("forward_baggage",),
    "services": (
        "name", "kind", "url", "hosts", "ca", "host_header", "credential", "websocket", "request_trailers", "observe", "accept", "digest", "audit",
        "timeouts", "outlive_token", "mcp", "kubernetes",
    ),
    "services.mcp": ("path", "tools"),
    "services.credential": ("type", "value", "name"),
    "services.websocket": ("subprotocols",),
    "services.websocket.subprotocols": ("messages", "extractor"),
    "services.observe": ("until", "reason"),
    "services.accept": ("get_body", "method_override", "path_parameters", "cookies"),
    "services.digest": ("ignore_headers",),
    "services.audit": ("level",),
    "services.timeouts": ("connect", "response", "idle"),
    "audit": ("database", "origin", "body_cap", "queue", "heartbeat", "anchors", "seal", "sinks"),
    "audit.queue": ("events", "size", "deadline"),
    "audit.anchors": ("every", "events", "to"),
    "audit.anchors.to": ("file", "witness"),
    # rules.yaml
    "rules": ("version", "default", "rules"),
    "rules.rules": ("name", "match", "when", "effect", "mask", "approval", "reason", "audit", "accept_claimed_by_header"),
    "rules.match": (
        "services", "protocols", "methods", "verbs", "paths", "resources", "access", "attributes", "principals", "purposes", "purpose_sources",
    ),
    "rules.match.principals": ("issuers", "kinds", "subjects", "groups", "clients", "actors", "owners"),
    # masking.yaml
    "masking": ("version", "nlp_engine", "phone_regions", "pseudonyms", "limits", "keys_of_objects", "profiles", "services"),
    "masking.phone_regions": ("home", "text"),
    "masking.pseudonyms": ("scope",),
    "masking.limits": ("whole", "decoded", "ratio", "depth", "line", "event", "time"),
    "masking.profiles": ("entities", "fields", "exempt", "allow_values", "reveal", "hex", "on_unmaskable"),
    "masking.entities": ("transform", "threshold", "keep_first", "keep_last", "shape"),
    "masking.fields": ("path", "key", "scan", "info_type", "transform", "keep_first", "keep_last", "shape"),
    "masking.reveal": ("groups", "purposes", "kinds", "accept_claimed_by_header"),
    "masking.services": ("always", "pass_media", "joined_paths", "writes", "filters", "recompress"),
    # approvals.yaml
    "approvals": ("version", "defaults", "approvals", "break_glass", "people", "signals", "integrations", "notifications"),
    "approvals.defaults": _HOLD_TERMS,
    "approvals.approvals": (
        *_HOLD_TERMS, "requirements", "assurance", "require_acr", "max_auth_age", "grant", "escalation_after", "escalation_groups", "break_glass",
    ),
    "approvals.requirements": ("group", "approvals_needed"),
    "approvals.grant": ("kinds", "max_duration", "max_uses", "scopes", "vary"),
    "approvals.people": ("groups",),
    "approvals.signals": ("dir", "poll_interval", "approvers"),
    "approvals.integrations": ("secrets", "people"),
    # retention.yaml
    "retention": ("version", "rules"),
    "retention.rules": ("match", "keep", "then"),
    "retention.match": ("kinds", "services", "levels"),
}  # fmt: skip
