"""The `identity` part of gateway.yaml: whose tokens count, and what they make of their bearer."""

import re
from collections.abc import Mapping

from addons.core.config import units
from addons.core.config.model import Identity, Issuer, Jwks, KindRule
from addons.core.config.reading import NAME, Place
from addons.core.config.rules import KEY_ALIAS, KINDS
from addons.core.config.section import Section

LATER_PRESETS = ("kubernetes", "github-actions", "gitlab", "spiffe", "saml")
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
TOKEN_TYPES = ("at+jwt", "application/at+jwt", "JWT")
MAPPED = ("actors", "purpose", "client_id")
MAX_LEEWAY = 120.0  # design/identity.md 3.2, row 16
_URI = re.compile(r"[\x21-\x7e]{1,1024}")


def read(at: Section) -> Identity:
    at.unbuilt("require_proof_of_possession")
    issuers = tuple(_issuer(item) for item in at.items("issuers", "identity.issuers"))
    for attribute in ("name", "issuer"):
        _unique(at, attribute, issuers)
    if not issuers:
        at.reading.warnings.append("identity: no issuer is configured, so every token is refused")
    agents = {agent: entry.text("owner", expected="a person, `alias:subject`") for agent, entry in at.named("agents", "identity.agents")}
    at.people("agents", [*agents, *agents.values()], (KEY_ALIAS,))
    return Identity(
        public_url=at.safe_url("public_url"),
        issuers=issuers,
        api_key_max_lifetime=at.section("api_keys", "identity.api_keys").duration("max_lifetime", 90 * 86400.0),
        agents=agents,
        aliases=_aliases(at),
    )


def _unique(at: Section, attribute: str, issuers: tuple[Issuer, ...]) -> None:
    seen: dict[str, str] = {}
    for issuer in issuers:
        value = getattr(issuer, attribute)
        if value and value in seen:
            line = int(issuer.where.rpartition(":")[2])
            at.reading.tell(
                line, f"a second issuer has the {attribute} {at.quote(value)}, first at {seen[value]}", "the token's `iss` picks one issuer"
            )
        seen.setdefault(value, issuer.where)


def _aliases(at: Section) -> tuple[tuple[str, ...], ...]:
    found = []
    for node in at.nodes("aliases"):
        items = node.value if isinstance(node.value, list) else []
        persons = tuple(item.value for item in items if isinstance(item.value, str))
        if len(persons) < 2 or len(persons) != len(items):
            at.reading.tell(node.line, "an item of `aliases` is a list of at least two `alias:subject` that are one person")
        at.people("aliases", persons)
        found.append(persons)
    return tuple(found)


def _issuer(at: Section) -> Issuer:
    name = at.text("name", pattern=NAME, expected="a name of lower-case letters, digits and `-`")
    if name == KEY_ALIAS:
        at.wrong("name", "the name `key` is reserved for our own API keys", "choose another")
    preset = _preset(at)
    at.unbuilt("introspection", "require_proof_of_possession")
    issuer = Issuer(
        name=name,
        preset=preset,
        issuer=_url(at, name),
        audiences=at.texts("audiences", pattern=_URI, expected="a list of at least one audience", least=1),
        authorized_parties=at.maybe_texts("authorized_parties", _URI, "a list of client ids, or null for any")
        if at.has("authorized_parties")
        else None,
        token_types=at.texts("token_types", ("at+jwt",), least=1),
        signing_algorithms=at.texts("signing_algorithms", ALGORITHMS, least=1),
        groups_claim=at.text("groups_claim", "groups"),
        claim_mappings=_mappings(at),
        kinds=tuple(_kind(item) for item in at.items("kind", "identity.issuers.kind")),
        bound_claims=_bound_claims(at),
        single_audience=at.flag("single_audience"),
        leeway=at.duration("leeway", 30.0, 0.0, MAX_LEEWAY),
        max_token_lifetime=at.duration("max_token_lifetime", 86400.0, 1.0, 30 * 86400.0),
        jwks=_jwks(at.section("jwks", "identity.issuers.jwks"), name),
        where=at.where,
    )
    at.known("token_types", issuer.token_types, TOKEN_TYPES, "token type")
    at.known("signing_algorithms", issuer.signing_algorithms, ALGORITHMS, "signing algorithm (asymmetric ones only)")
    return issuer


def _preset(at: Section) -> str:
    preset = at.text("preset", expected="oidc or development")
    if preset in LATER_PRESETS:
        at.wrong("preset", f"the preset `{preset}` is not built yet", "use oidc")
    elif preset == "development" and not at.reading.names.development:
        at.wrong("preset", "`preset: development` is only for unsafe_development", "use oidc")
    elif preset not in ("oidc", "development", ""):
        at.wrong("preset", f"`preset` is {at.quote(preset)}, expected oidc or development")
    return preset


def _url(at: Section, name: str) -> str:
    text = at.safe_url("issuer")
    try:
        at.reading.places.append(Place(f"issuer {name}", units.url(text, path=True)[1], False, at.reading.where(at.line_of("issuer"))))
    except units.Wrong:
        return text  # told already
    return text


def _mappings(at: Section) -> Mapping[str, str]:
    found = {}
    for claim, node in at.entries("claim_mappings").items():
        if not isinstance(node.value, str) or node.value not in MAPPED:
            at.reading.tell(node.line, f"the claim `{claim}` in `claim_mappings`: expected one of: {', '.join(MAPPED)}")
            continue
        found[claim] = node.value
    return found


def _bound_claims(at: Section) -> Mapping[str, str]:
    found = {}
    for claim, node in at.entries("bound_claims").items():
        if not isinstance(node.value, str) or not node.value:
            at.reading.tell(node.line, f"the claim `{claim}` in `bound_claims` is {node.shape}, expected a text (put a number in quotes)")
            continue
        found[claim] = node.value
    return found


def _kind(at: Section) -> KindRule:
    """One line of `kind`. A line without a condition would guess, and `human` is never guessed."""
    rule = KindRule(at.choice("kind", KINDS), at.texts("client"), at.maybe_text("claim"), at.maybe_text("is"))
    if not rule.clients and rule.claim is None:
        at.reading.tell(at.line, "a line of `kind` without a condition", "add `client: [...]`, or `claim:` with `is:`")
    if (rule.claim is None) != (rule.value is None):
        at.reading.tell(at.line, "`claim` and `is` go together in a line of `kind`")
    return rule


def _jwks(at: Section, name: str) -> Jwks:
    uri = at.safe_url("uri") if at.has("uri") else None
    file = at.maybe_text("file")
    if uri is not None and file is not None:
        at.wrong("file", "`jwks` has both `uri` and `file`, expected at most one")
    if uri is not None:
        try:
            at.reading.places.append(
                Place(f"keys of issuer {name}", units.url(uri, path=True)[1], False, at.reading.where(at.line_of("uri")))
            )
        except units.Wrong:
            uri = None  # told already
    return Jwks(
        uri=uri,
        file=None if file is None else at.reading.place(file),
        lifespan=at.duration("lifespan", 300.0, 1.0),
        cooldown=at.duration("cooldown", 10.0, 5.0, 30.0),
        max_stale=at.duration("max_stale", 3600.0, 1.0),
        timeout=at.duration("timeout", 2.0, 0.1, 10.0),
        max_size=at.size("max_size", 256 << 10),
        max_keys=at.integer("max_keys", 64, 1, 1024),
    )
