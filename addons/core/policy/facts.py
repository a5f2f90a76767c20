"""What rules look at: one request, laid out once, and the words that conditions may use.

`Facts` is made from the record of a flow; nothing here decides. `SCHEMA` names every variable and attribute a condition
may use, so that a misspelt one is found when the rules are loaded and not by the request that it would have denied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from addons.core.config.model import Service, Snapshot
from addons.core.errors import GuardhouseError
from addons.core.exchange import Exchange, Operation, Principal
from addons.core.services import extract, messages

BUILT_IN = "guardhouse"  # the gateway's own destructive operations are operations of this service
DECLARED: Mapping[str, frozenset[str]] = {  # by kind of service, and by protocol of a message inside one
    **extract.ATTRIBUTES,
    **messages.ATTRIBUTES,
    BUILT_IN: frozenset(),
}
OPERATION = frozenset({"protocol", "verb", "text", "access", "resources", "exact", "attributes"})
PRINCIPAL = frozenset(
    {"issuer", "issuer_alias", "subject", "person", "kind", "client_id", "groups", "actors", "owner", "auth_time", "acr", "amr", "method"}
    | {"attributes"}
)  # fmt: skip
NOW = frozenset({"unix", "year", "month", "day", "hour", "minute", "weekday"})  # UTC; Monday is 0
VARIABLES = ("operation", "principal", "purpose", "session", "service", "now", "null")  # null: as rules.yaml calls Jinja's none


@dataclass(frozen=True, slots=True)
class Facts:
    """One request as policy sees it."""

    nodes: tuple[Operation, ...]  # the operation and everything nested in it, outermost first
    principal: Principal
    actors: tuple[str, ...]  # "alias:subject", the current actor first
    service: str
    purpose: str
    purpose_source: str
    session: str | None
    now: float


def of(snapshot: Snapshot, record: Exchange, now: float) -> Facts:
    """Lay out the record of a request. A record without operation, principal or service is nobody's to judge: closed."""
    if record.operation is None or record.principal is None or record.service is None:
        raise GuardhouseError(detail="policy met a request without operation, principal or service")
    return Facts(
        nodes=tuple(flatten(record.operation)),
        principal=record.principal,
        actors=people(snapshot, record.principal),
        service=record.service,
        purpose=record.purpose,
        purpose_source=record.purpose_source,
        session=record.session_id,
        now=now,
    )


def flatten(operation: Operation) -> Sequence[Operation]:
    """Return the operation and all that is nested in it."""
    found, waiting = [], [operation]
    while waiting:
        node = waiting.pop(0)
        found.append(node)
        waiting.extend(node.children)
    return found


def people(snapshot: Snapshot, principal: Principal) -> tuple[str, ...]:
    """Return the actors as files name them. An issuer that no file names keeps its own name, which no rule can match."""
    aliases = {issuer.issuer: issuer.name for issuer in snapshot.gateway.identity.issuers}
    return tuple(f"{aliases.get(actor.issuer, actor.issuer)}:{actor.subject}" for actor in principal.actors)


def kind_of(snapshot: Snapshot, service: str) -> str:
    """Return the kind of a service; the built-in one is of its own kind."""
    found: Service | None = snapshot.gateway.services.get(service)
    return found.kind if found is not None else BUILT_IN


class Missing(Exception):
    """A condition asked for a claim that this principal does not have."""


class Named:
    """A read-only view with names in place of keys. A name it has not is an error, never null: the condition denies."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", values)

    def __getattr__(self, name: str) -> Any:
        values = object.__getattribute__(self, "_values")
        if name not in values:
            raise Missing(name)
        return values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("a view is read-only")


class Now(float):
    """The moment of the decision: seconds since 1970, with the parts of the UTC date as attributes."""

    def __getattr__(self, name: str) -> int:
        if name not in NOW:
            raise Missing(name)
        if name == "unix":
            return int(self)
        moment = datetime.fromtimestamp(float(self), UTC)
        return moment.weekday() if name == "weekday" else int(getattr(moment, name))


def variables(facts: Facts, node: Operation) -> dict[str, Any]:
    """Return what a condition sees, for one node of the operation."""
    principal = facts.principal
    return {
        "operation": Named(
            {
                "protocol": node.protocol, "verb": node.verb, "text": node.text, "access": tuple(sorted(map(str, node.access))),
                "resources": node.resources, "exact": node.exact, "attributes": Named(node.attributes),
            }
        ),
        "principal": Named(
            {name: getattr(principal, name) for name in PRINCIPAL - {"actors", "attributes"}}
            | {"actors": facts.actors, "attributes": Named(principal.attributes)}
        ),
        "purpose": facts.purpose or None,
        "session": facts.session,
        "service": facts.service,
        "now": Now(facts.now),
        "null": None,
    }  # fmt: skip
