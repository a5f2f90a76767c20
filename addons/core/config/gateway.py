"""gateway.yaml: where things are. Issuers are read in `issuers`, services in `upstreams`, addresses compared in `places`."""

import re
from collections.abc import Mapping
from pathlib import Path

from addons.core.config import issuers, upstreams
from addons.core.config.model import (
    AuditTerms,
    Control,
    Development,
    DevelopmentPerson,
    Gateway,
    Limits,
    Listener,
    Purpose,
    Reference,
    SessionTerms,
    SignIn,
    Tls,
)
from addons.core.config.reading import NAME, Place
from addons.core.config.rules import KINDS
from addons.core.config.section import Section
from addons.core.config.shapes import SHAPES
from addons.core.config.stripped import is_stripped

_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_CATALOGUE = re.compile(r"[a-z0-9*][a-z0-9._:/*-]{0,127}")
_ORIGIN = re.compile(r"[A-Za-z0-9._/-]{1,200}")  # a line of a signed note: no space, no plus sign
_FILES = ("file", "state")


def read(file: Section) -> Gateway:
    """All of gateway.yaml."""
    reading = file.reading
    development = _development(file.maybe_section("unsafe_development", "unsafe_development"))
    _processes(file)
    services = upstreams.read(file, development)
    purpose = file.section("purpose", "purpose")
    session = file.section("session", "session")
    return Gateway(
        name=file.text("name", pattern=_LABEL, expected="a name of lower-case letters, digits, `.`, `_` and `-`"),
        home=reading.home,
        state=reading.state,
        development=development,
        keys=_keys(file.section("keys", "keys", quiet=True)),
        listeners=_listeners(file),
        extra_scripts=_scripts(file),
        limits=_limits(file.section("limits", "limits")),
        control=_control(file.section("control", "control")),
        identity=issuers.read(file.section("identity", "identity")),
        purpose=Purpose(
            header=_header(purpose, "X-Purpose"),
            required=purpose.flag("required", True),
            catalogue=purpose.texts("catalogue", pattern=_CATALOGUE, expected="a list of purpose globs such as support/*"),
        ),
        session=SessionTerms(_header(session, "X-Session-Id"), session.duration("quiet", 1800.0, 1.0)),
        forward_baggage=file.section("trace", "trace").flag("forward_baggage"),
        services=services,
        audit=_audit(file.section("audit", "audit")),
    )


def _development(at: Section | None) -> Development | None:
    if at is None:
        return None
    issuer, service = at.address("issuer"), at.address("example_service")
    for key, address in (("issuer", issuer), ("example_service", service)):
        at.reading.places.append(Place(f"unsafe_development {key}", address, True, at.reading.where(at.line_of(key))))
    at.reading.warnings.append(f"unsafe_development: anybody on this machine can be anybody; never use this for real data ({at.where})")
    people = {name: _person(name, entry) for name, entry in at.named("people", "unsafe_development.people")}
    for name, person in people.items():
        if person.on_behalf_of is not None and person.on_behalf_of not in people:
            at.wrong("people", f"`{name}` acts on behalf of `{person.on_behalf_of}`, who is not in `people`")
    return Development(issuer, service, people)


def _person(name: str, at: Section) -> DevelopmentPerson:
    if not NAME.fullmatch(name):
        at.reading.tell(at.line, f"the person's name is {at.quote(name)}, expected lower-case letters, digits and `-`")
    return DevelopmentPerson(name, at.choice("kind", KINDS), at.texts("groups"), at.maybe_text("client"), at.maybe_text("on_behalf_of"))


def _processes(file: Section) -> None:
    if file.integer("processes", 1) != 1:
        file.wrong("processes", "more than one process is not built yet", "write 1, or leave it out")


def _keys(at: Section) -> Mapping[str, Reference]:
    """`root` and the overrides, by their HKDF label (`approval_mac` in the file is the label `approval-mac`)."""
    found = {"root": at.reference("root", "root-key") if at.has("root") else Reference("auto", "", "root-key")}
    for key in SHAPES["keys"]:
        label = key.replace("_", "-")
        if key != "root" and at.has(key):
            found[label] = at.reference(key, f"key-{label}")
    return found


def _tls(at: Section, name: str) -> Tls:
    return Tls(
        certificate=at.reference("certificate", name, ("auto", *_FILES)) if at.has("certificate") else Reference("auto", "", name),
        client_ca=at.maybe_reference("client_ca", f"{name}-client-ca", _FILES),
    )


def _listeners(file: Section) -> tuple[Listener, ...]:
    found = tuple(_listener(item) for item in file.items("listeners", "listeners"))
    if not found:
        file.wrong("listeners", "`listeners` is empty, expected at least one listener", "nothing else ever listens")
    seen: set[str] = set()
    for listener in found:
        if listener.name in seen and listener.name:
            file.reading.tell(int(listener.where.rpartition(":")[2]), f"a second listener has the name `{listener.name}`")
        seen.add(listener.name)
    return found


def _listener(at: Section) -> Listener:
    name = at.text("name", pattern=NAME, expected="a name of lower-case letters, digits and `-`")
    bind = at.address("bind")
    at.reading.places.append(Place(f"listener {name}", bind, True, at.reading.where(at.line_of("bind"))))
    services = at.texts("services", expected="a list of at least one service", least=1)
    at.known("services", services, at.reading.names.services, "service")
    cleartext = at.flag("unsafe_cleartext")
    if cleartext:
        at.reading.warnings.append(f"listener {name}: unsafe_cleartext, so tokens and data cross the network in the clear ({at.where})")
    return Listener(name, bind, _listener_tls(at, name), services, cleartext, at.where)


def _listener_tls(at: Section, name: str) -> Tls | None:
    node = at.values.get("tls")
    if node is not None and node.value == "none":
        return None
    if node is None or not isinstance(node.value, dict):
        at.wrong("tls", "`tls` must say how the listener speaks TLS", "`tls: {certificate: auto}`; cleartext only with `tls: none`")
        return Tls(Reference("auto", "", name))
    return _tls(at.section("tls", "tls"), f"listener-{name}")


def _scripts(file: Section) -> tuple[Path, ...]:
    found = []
    for text in file.texts("extra_scripts"):
        path = file.reading.place(text)
        if not path.is_file():
            file.wrong(
                "extra_scripts", f"there is no file {file.quote(text)}", "relative paths start at the folder that holds the policies folder"
            )
        found.append(path)
    return tuple(found)


def _limits(at: Section) -> Limits:
    base = Limits()
    return Limits(
        headers=at.size("headers", base.headers),
        header_count=at.integer("header_count", base.header_count),
        body=at.size("body", base.body),
        upstream_connections=at.integer("upstream_connections", base.upstream_connections),
        backlog=at.integer("backlog", base.backlog),
        interim_responses=at.integer("interim_responses", base.interim_responses),
        hook_deadline=at.duration("hook_deadline", base.hook_deadline),
        drain=at.duration("drain", base.drain),
        idle=at.duration("idle", base.idle),
        handshake=at.duration("handshake", base.handshake),
        headers_time=at.duration("headers_time", base.headers_time),
        body_idle=at.duration("body_idle", base.body_idle),
        body_time=at.duration("body_time", base.body_time),
        keep_alive=at.duration("keep_alive", base.keep_alive),
        connections=at.integer("connections", base.connections),
        per_peer=at.integer("per_peer", base.per_peer),
        live_hooks=at.integer("live_hooks", base.live_hooks),
        resets=at.integer("resets", base.resets),
    )


def _control(at: Section) -> Control:
    bind = at.address("bind")
    at.reading.places.append(Place("control", bind, True, at.reading.where(at.line_of("bind"))))
    if "tls" in at.values and not isinstance(at.values["tls"].value, dict):
        at.wrong("tls", "the control plane always speaks TLS, expected `tls: {certificate: auto}`")
    roles = at.section("roles", "control.roles")
    metrics = at.flag("unsafe_metrics_open")
    if metrics:
        at.reading.warnings.append(
            f"control: unsafe_metrics_open, so /metrics needs no token ({at.reading.where(at.line_of('unsafe_metrics_open'))})"
        )
    return Control(
        bind=bind,
        tls=_tls(
            at.section("tls", "tls") if at.has("tls") and isinstance(at.values["tls"].value, dict) else at.section("none", "tls"), "control"
        ),
        public_url=at.safe_url("public_url"),
        audiences=at.texts("audiences", expected="a list of at least one audience", least=1),
        sign_in=_sign_in(at.section("sign_in", "control.sign_in")),
        roles={role: _role(roles, role) for role in SHAPES["control.roles"]},
        rate_limit_per_person=at.section("rate_limit", "control.rate_limit").rate("per_person", 10.0),
        unsafe_metrics_open=metrics,
        require_reason=at.flag("require_reason"),
    )


def _role(roles: Section, role: str) -> tuple[str, ...]:
    """The groups of a role. A role that is not named is nobody's."""
    at = roles.section(role, "control.roles.*")
    groups = at.texts("groups")
    at.people("groups", groups)
    return groups


def _sign_in(at: Section) -> SignIn:
    mode = at.text("mode", "paste-token")
    if mode == "oidc-code":
        at.wrong("mode", "`mode: oidc-code` is not built yet", "use paste-token")
    elif mode != "paste-token":
        at.wrong("mode", "`mode` is not known, expected paste-token")
    at.unbuilt("client_id", "client_secret")
    issuer = at.maybe_text("issuer")
    at.known("issuer", [issuer] if issuer else (), at.reading.names.aliases, "issuer")
    return SignIn("paste-token", issuer)


def _header(at: Section, default: str) -> str:
    name = at.text("header", default, _HEADER, "a header name")
    if name.lower() in ("purpose", "sec-purpose"):
        at.wrong("header", f"`header` is `{name}`, which browsers send for prefetching", f"use {default}")
    elif is_stripped(name):
        at.wrong("header", f"`header` is `{name}`, a name that is always removed", f"use {default}")
    return name


def _audit(at: Section) -> AuditTerms:
    at.unbuilt("seal", "sinks")
    queue = at.section("queue", "audit.queue")
    anchors = at.section("anchors", "audit.anchors")
    files = []
    for item in anchors.items("to", "audit.anchors.to"):
        item.unbuilt("witness")
        if not item.has("witness"):
            files.append(at.reading.place(item.text("file", expected="a path or state:NAME")))
    if not files:
        at.reading.warnings.append("audit: no anchor is configured, so a log that was cut back would verify clean")
    return AuditTerms(
        database=at.path("database"),
        origin=at.text("origin", pattern=_ORIGIN, expected="a name such as example.org/cluster/r1"),
        body_cap=at.size("body_cap", 8 << 20),
        queue_events=queue.integer("events", 4096),
        queue_size=queue.size("size", 64 << 20),
        queue_deadline=queue.duration("deadline", 2.0),
        heartbeat=at.duration("heartbeat", 10.0),
        anchor_every=anchors.duration("every", 10.0),
        anchor_events=anchors.integer("events", 1000),
        anchor_files=tuple(files),
    )
