"""What the five policy files say, as frozen data: the Snapshot.

`load` (beside this file) makes a Snapshot from a folder, all files or none. Everything else only reads it. A flow is
pinned to the Snapshot that was current at its `requestheaders`, so a reload never changes the rules in mid-flow.
Durations are seconds (float), sizes are bytes (int), addresses are `Address`. References to secrets are `Reference`:
they name a place, the secret itself never enters the Snapshot. `where` says file and line, for error messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Address:
    """host:port; an IPv6 host is held without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret lies: `env:NAME`, `file:/abs`, `state:NAME`, `auto`, `exec:/abs/program` (wider)."""

    scheme: str  # env | file | state | auto | exec
    rest: str
    name: str  # what the `auto` file is called in the state folder, e.g. "root-key", "service-crm"

    def __str__(self) -> str:
        return self.scheme if self.scheme == "auto" else f"{self.scheme}:{self.rest}"


@dataclass(frozen=True, slots=True)
class DevelopmentPerson:
    """Somebody whom `guardhouse dev token` may name."""

    name: str
    kind: str
    groups: tuple[str, ...] = ()
    client: str | None = None
    on_behalf_of: str | None = None


@dataclass(frozen=True, slots=True)
class Development:
    """The `unsafe_development` block. None in a Snapshot of a real site."""

    issuer: Address
    example_service: Address
    people: Mapping[str, DevelopmentPerson]


@dataclass(frozen=True, slots=True)
class Tls:
    """How a listener or the control plane speaks TLS. `certificate` is `auto` or a file with key and chain."""

    certificate: Reference
    client_ca: Reference | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    name: str
    bind: Address
    tls: Tls | None  # None: cleartext, which the file must say (`tls: none`)
    services: tuple[str, ...]
    unsafe_cleartext: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    headers: int = 64 << 10
    header_count: int = 128
    body: int = 32 << 20
    upstream_connections: int = 256
    backlog: int = 2048
    interim_responses: int = 16
    hook_deadline: float = 30.0
    drain: float = 20.0
    idle: float = 4 * 3600.0
    handshake: float = 10.0
    headers_time: float = 10.0
    body_idle: float = 30.0
    body_time: float = 300.0
    keep_alive: float = 60.0
    connections: int = 4096
    per_peer: int = 128
    live_hooks: int = 128
    resets: int = 200


@dataclass(frozen=True, slots=True)
class SignIn:
    mode: str = "paste-token"  # paste-token | oidc-code (the approvals issue)
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    bind: Address
    tls: Tls
    public_url: str
    audiences: tuple[str, ...]
    sign_in: SignIn
    roles: Mapping[str, tuple[str, ...]]  # role -> groups ("alias:group"); roles: investigator, admin
    rate_limit_per_person: float = 10.0  # a second
    unsafe_metrics_open: bool = False
    require_reason: bool = False


@dataclass(frozen=True, slots=True)
class Jwks:
    uri: str | None = None
    file: Path | None = None
    lifespan: float = 300.0
    cooldown: float = 10.0
    max_stale: float = 3600.0
    timeout: float = 2.0
    max_size: int = 256 << 10
    max_keys: int = 64


@dataclass(frozen=True, slots=True)
class KindRule:
    """One line of an issuer's `kind` list: every condition that is set must hold."""

    kind: str
    clients: tuple[str, ...] = ()
    claim: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    name: str
    preset: str  # oidc | development
    issuer: str
    audiences: tuple[str, ...]
    authorized_parties: tuple[str, ...] | None = None
    token_types: tuple[str, ...] = ("at+jwt",)
    signing_algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
    groups_claim: str = "groups"
    claim_mappings: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[KindRule, ...] = ()
    bound_claims: Mapping[str, str] = field(default_factory=dict)
    single_audience: bool = False
    leeway: float = 30.0
    max_token_lifetime: float = 86400.0
    jwks: Jwks = field(default_factory=Jwks)
    require_proof_of_possession: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    public_url: str
    issuers: tuple[Issuer, ...]
    api_key_max_lifetime: float = 90 * 86400.0
    require_proof_of_possession: str | None = None
    agents: Mapping[str, str] = field(default_factory=dict)  # "alias:subject" of an agent -> its owner
    aliases: tuple[tuple[str, ...], ...] = ()  # each a set of keys that are one person


@dataclass(frozen=True, slots=True)
class Purpose:
    header: str = "X-Purpose"
    required: bool = True
    catalogue: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionTerms:
    header: str = "X-Session-Id"
    quiet: float = 1800.0


@dataclass(frozen=True, slots=True)
class Credential:
    """The upstream's own credential: injected last, never seen by the caller."""

    type: str  # bearer | basic | header
    value: Reference
    header: str = "Authorization"


@dataclass(frozen=True, slots=True)
class Accept:
    """Ambiguities that a service declares it can live with."""

    get_body: bool = False
    method_override: bool = False
    path_parameters: bool = False
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observe:
    """Until this moment deny and hold are decided and recorded, not enforced."""

    until: float  # unix seconds, exclusive
    reason: str


@dataclass(frozen=True, slots=True)
class Mcp:
    """What a service of the kind `mcp` has beyond the others."""

    path: str = "/mcp"  # the one path at which it speaks
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what a call of this tool does (accesses), in place of `execute`


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    kind: str  # http | mcp (kubernetes comes with its issue)
    scheme: str
    address: Address
    hosts: tuple[str, ...] = ()
    ca: Reference | None = None
    host_header: str = "upstream"  # upstream | as-received
    credential: Credential | None = None
    websocket: Mapping[str, str] | None = None  # subprotocol ("": none) -> opaque, or the extractor of its messages
    request_trailers: tuple[str, ...] = ()
    observe: Observe | None = None
    accept: Accept = field(default_factory=Accept)
    ignore_headers: tuple[str, ...] = ()  # further headers outside the approval digest
    audit_level: str = "RequestResponse"
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    idle_timeout: float = 4 * 3600.0
    outlive_token: float = 0.0
    mcp: Mcp | None = None  # of the kind `mcp`, and of no other
    where: str = ""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"


@dataclass(frozen=True, slots=True)
class AuditTerms:
    database: Path
    origin: str
    body_cap: int = 8 << 20
    queue_events: int = 4096
    queue_size: int = 64 << 20
    queue_deadline: float = 2.0
    heartbeat: float = 10.0
    anchor_every: float = 10.0
    anchor_events: int = 1000
    anchor_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """gateway.yaml."""

    name: str
    home: Path  # the folder that holds the policies folder; relative paths start here
    state: Path
    development: Development | None
    keys: Mapping[str, Reference]  # "root" and overrides by label ("masking", "approval-mac", ...)
    listeners: tuple[Listener, ...]
    extra_scripts: tuple[Path, ...]
    limits: Limits
    control: Control
    identity: Identity
    purpose: Purpose
    session: SessionTerms
    forward_baggage: bool
    services: Mapping[str, Service]
    audit: AuditTerms


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence of rules.yaml. `match` holds only the keys the file has, values as tuples of strings."""

    name: str
    effect: str  # allow | deny | hold
    services: tuple[str, ...] | None = None
    protocols: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None  # `methods` and `verbs` mean the same for http
    verbs: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    resources: tuple[str, ...] | None = None
    access: tuple[str, ...] | None = None
    attributes: Mapping[str, tuple[str, ...]] | None = None
    principals: Mapping[str, tuple[str, ...]] | None = None  # issuers kinds subjects groups clients actors owners
    purposes: tuple[str, ...] | None = None
    purpose_sources: tuple[str, ...] | None = None
    accept_claimed_by_header: bool = False
    when: str | None = None
    mask: tuple[str, ...] = ()
    approval: str | None = None
    reason: str | None = None
    audit: str | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """rules.yaml."""

    default: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class EntityRule:
    """What becomes of one info type in one profile."""

    info_type: str
    transform: str = "pseudonym"
    threshold: float | None = None  # None: the built-in default of this info type
    keep_first: int = 0
    keep_last: int = 0
    shape: bool = False


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A place named by the file: by JSON pointer glob or by key. Either scanned as text, or masked whole."""

    path: str | None = None
    key: str | None = None
    scan: str | None = None  # "text"
    rule: EntityRule | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Reveal:
    groups: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    accept_claimed_by_header: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    entities: Mapping[str, EntityRule]
    fields: tuple[FieldRule, ...] = ()
    exempt: tuple[str, ...] = ()
    allow_values: tuple[str, ...] = ()
    reveal: tuple[Reveal, ...] = ()
    on_unmaskable: str = "block"  # block | withhold | pass
    hex: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class MaskLimits:
    whole: int = 1 << 20
    decoded: int = 64 << 20
    ratio: int = 200
    depth: int = 200
    line: int = 4 << 20
    event: int = 1 << 20
    time: float = 2.0


@dataclass(frozen=True, slots=True)
class MaskedService:
    """How masking treats one service."""

    always: tuple[str, ...] = ("secrets", "pii")
    pass_media: tuple[str, ...] = ()
    joined_paths: tuple[str, ...] = ()
    writes: str = "deny"
    filters: str = "deny"
    recompress: str = "none"


@dataclass(frozen=True, slots=True)
class Masking:
    """masking.yaml."""

    nlp_engine: Any  # "token", or presidio's own NLP configuration as a mapping
    home_region: str
    text_regions: tuple[str, ...]
    pseudonym_scope: str
    limits: MaskLimits
    keys_of_objects: str
    profiles: Mapping[str, Profile]
    services: Mapping[str, MaskedService]

    def service(self, name: str) -> MaskedService:
        """The terms of a service; one that is not named gets the strict default."""
        return self.services.get(name, MaskedService())


@dataclass(frozen=True, slots=True)
class Requirement:
    group: str
    approvals_needed: int


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """One entry of approvals.yaml, the defaults already filled in."""

    name: str
    requirements: tuple[Requirement, ...]
    assurance: str = "oidc"  # oidc > integration > file
    hold_timeout: float = 50.0
    max_hold: float = 900.0
    pending_status: int = 429
    approval_expiry: float = 3600.0
    execution_expiry: float = 600.0
    deny_cooloff: float = 600.0
    reason_required: bool = True
    expose_reason: bool = False
    body_must_be_visible: bool = True
    max_hold_body: int = 1 << 20
    max_pending_per_principal: int = 5
    max_pending: int = 1000
    max_openings_per_hour: int = 20
    on_client_disconnect: str = "keep_ticket"
    require_acr: str | None = None
    max_auth_age: float | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Integration:
    name: str
    secrets: tuple[Reference, ...]
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signals:
    directory: Path | None
    poll_interval: float = 0.25
    approvers: Mapping[int, str] = field(default_factory=dict)  # uid -> "alias:subject"


@dataclass(frozen=True, slots=True)
class Approvals:
    """approvals.yaml."""

    terms: Mapping[str, ApprovalTerms]
    people: Mapping[str, tuple[str, ...]]  # "alias:subject" -> groups, for channels without a token
    signals: Signals
    integrations: Mapping[str, Integration]


@dataclass(frozen=True, slots=True)
class Retention:
    """retention.yaml: validated now, carried out once retention is built."""

    rules: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All five files, validated together, with the digest of what they say."""

    digest: str  # "sha-256:..." over the JCS form of the parsed files
    folder: Path
    gateway: Gateway
    rules: Rules
    masking: Masking
    approvals: Approvals
    retention: Retention
    warnings: tuple[str, ...] = ()

    def rules_digest(self) -> str:
        """What the audit calls policy_digest: the digest of the whole Snapshot."""
        return self.digest
