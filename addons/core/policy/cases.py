"""Written cases: requests with the decision that the rules must give (`policies/tests/*.yaml`).

A case says who asks for what and why, and what must come out. It runs through the same reading of the request and the
same decision as live traffic, so a request that the gateway would refuse as ambiguous fails its case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.core.config.model import Service, Snapshot
from addons.core.errors import GuardhouseError
from addons.core.exchange import Actor, Decision, Exchange, Operation, Principal
from addons.core.policy import facts as facts_of
from addons.core.policy import masks
from addons.core.policy.evaluate import decide, matching
from addons.core.services import canonical, extract
from addons.core.services.canonical import Head
from addons.core.services.target import split

_CASE = {"name", "request", "principal", "purpose", "purpose_source", "session", "now", "expect"}
_REQUEST = {"service", "method", "url", "headers", "body"}
_PRINCIPAL = {"issuer", "subject", "kind", "groups", "client", "actors", "owner", "attributes"}
_EXPECT = {"effect", "rules", "mask", "masks", "approvals", "observed", "code"}


class CaseError(ValueError):
    """The file does not hold cases. The text says which case and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request, who makes it, and what must come out."""

    name: str
    service: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    principal: Principal
    purpose: str
    purpose_source: str
    session: str | None
    now: float | None
    expect: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out, and where it differs from what was written."""

    case: Case
    decision: Decision | None
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def cases_from(data: Any, issuers: Mapping[str, str]) -> list[Case]:
    """Read the cases of one file. `issuers`: alias to issuer."""
    if data is None:
        return []
    if not isinstance(data, list):
        raise CaseError("expected a list of cases, each beginning with `- name:`")
    return [_case(item, index, issuers) for index, item in enumerate(data, 1)]


def run(snapshot: Snapshot, case: Case, now: float) -> Verdict:
    """Decide a case and compare. A request that is refused before policy has its code as `expect: {code: ...}`."""
    moment = now if case.now is None else case.now
    try:
        record = record_of(snapshot, case)
        decision = decide(snapshot, record, moment)
    except GuardhouseError as error:
        said = case.expect.get("code")
        return Verdict(case, None, () if said == error.code else (f"refused before policy ({error.code}): {error}",))
    return Verdict(case, decision, tuple(_differences(snapshot, case, record, decision, moment)))


def record_of(snapshot: Snapshot, case: Case) -> Exchange:
    """Return the record that such a request would carry when policy meets it."""
    service = snapshot.gateway.services.get(case.service)
    if service is None:
        raise GuardhouseError(f"There is no service {case.service!r}.", code="no-service")
    return Exchange(
        service=case.service,
        operation=read(service, snapshot, case.method, case.url, case.headers, case.body),
        principal=case.principal,
        session_id=case.session,
        purpose=case.purpose,
        purpose_source=case.purpose_source,
    )


def read(
    service: Service, snapshot: Snapshot, method: str, url: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
) -> Operation:
    """Read a request as the gateway would: canonical or refused, then the operation."""
    host, target = cut(url)
    fields = [(name.encode(errors="surrogatepass"), value.encode(errors="surrogatepass")) for name, value in headers]
    if not any(name.lower() == b"host" for name, _ in fields):
        fields.insert(0, (b"Host", (host or str(service.address)).encode()))
    head = Head(method.encode(errors="surrogatepass"), target.encode(errors="surrogatepass"), b"HTTP/1.1", fields)
    canonical.check_head(head, snapshot.gateway.limits)
    canonical.check_body_size(len(body), snapshot.gateway.limits)
    path, query = split(head.target)
    told = [(name.decode(errors="surrogateescape"), value.decode(errors="surrogateescape")) for name, value in fields]
    return extract.operation(method, service.scheme, service.address.host, path.decode(), query.decode(), told, body, service)


def cut(url: str) -> tuple[str, str]:
    """Cut a URL into host and target without repairing anything. A path alone has no host."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return "", url
    end = min((at for at in (rest.find(char) for char in "/?#\\") if at >= 0), default=len(rest))
    target = rest[end:]
    return rest[:end], target if target.startswith(("/", "\\", "#")) else "/" + target


def _differences(snapshot: Snapshot, case: Case, record: Exchange, decision: Decision, now: float) -> list[str]:
    facts = facts_of.of(snapshot, record, now)
    found, _ = matching(snapshot.rules.rules, facts)
    got: dict[str, Any] = {
        "effect": str(decision.effect),
        "rules": list(decision.rules),
        "mask": list(masks.asked(one.rule for one in found)),  # what the rules ask for
        "masks": list(decision.masks),  # what the answer owes, the service's own included
        "approvals": list(decision.approvals),
        "observed": decision.observed,
        "code": None,
    }
    differ = []
    for key, wanted in case.expect.items():
        plain = sorted(wanted) if isinstance(wanted, list) else wanted
        if plain != got[key]:
            differ.append(f"{key}: expected {wanted}, got {got[key]}")
    return differ


def _case(item: Any, index: int, issuers: Mapping[str, str]) -> Case:
    name = item.get("name") if isinstance(item, dict) else None
    at = f"case {index}" + (f" ({name})" if name else "")
    whole = _mapping(item, _CASE, at)
    request = _mapping(whole.get("request"), _REQUEST, f"{at}, request")
    expect = _mapping(whole.get("expect"), _EXPECT, f"{at}, expect")
    if not expect:
        raise CaseError(f"{at}: `expect` is missing; a case that expects nothing tests nothing")
    for key in ("service", "method", "url"):
        if not isinstance(request.get(key), str):
            raise CaseError(f"{at}: `request.{key}` is missing")
    body = request.get("body", "")
    return Case(
        name=str(name or at),
        service=request["service"],
        method=request["method"],
        url=request["url"],
        headers=tuple((str(key), str(value)) for key, value in _mapping(request.get("headers", {}), None, at).items()),
        body=body.encode() if isinstance(body, str) else b"",
        principal=_principal(_mapping(whole.get("principal"), _PRINCIPAL, f"{at}, principal"), issuers, at),
        purpose=str(whole.get("purpose", "")),
        purpose_source=str(whole.get("purpose_source", "header" if whole.get("purpose") else "none")),
        session=whole.get("session"),
        now=whole.get("now"),
        expect=expect,
    )


def _principal(data: Mapping[str, Any], issuers: Mapping[str, str], at: str) -> Principal:
    alias = str(data.get("issuer", ""))
    if alias not in issuers:
        raise CaseError(f"{at}: `principal.issuer` is {alias!r}, expected one of {', '.join(sorted(issuers))}")
    return person(issuers, alias, str(data.get("subject", "")), data)


def person(issuers: Mapping[str, str], alias: str, subject: str, data: Mapping[str, Any]) -> Principal:
    """Return a made-up principal. Groups and actors without an alias get that of its issuer."""
    actors = [_prefixed(alias, str(actor)).partition(":") for actor in data.get("actors", ())]
    return Principal(
        issuer=issuers.get(alias, alias),
        issuer_alias=alias,
        subject=subject,
        kind=str(data.get("kind", "service")),
        client_id=data.get("client"),
        groups=tuple(_prefixed(alias, str(group)) for group in data.get("groups", ())),
        actors=tuple(Actor(issuers.get(of, of), who) for of, _, who in actors),
        owner=data.get("owner"),
        attributes=dict(data.get("attributes", {})),
    )


def _prefixed(alias: str, name: str) -> str:
    return name if ":" in name else f"{alias}:{name}"


def _mapping(value: Any, known: set[str] | None, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CaseError(f"{at}: expected a mapping")
    unknown = sorted(set(value) - known) if known is not None else []
    if unknown:
        raise CaseError(f"{at}: unknown key {unknown[0]!r}, expected {', '.join(sorted(known or ()))}")
    return value
