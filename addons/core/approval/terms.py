"""What must be agreed, by whom and how surely: the terms of every hold rule that matched, merged into one frozen copy.

Several hold rules on one request add their requirements, and of every other term the stricter one counts. The frozen
copy stands in the row and in the signed opening event, so a later change of approvals.yaml never changes what an open
approval needs; that the policy changed is seen in the digests beside it.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.core.approval.decide import ASSURANCE
from addons.core.config.model import ApprovalTerms, Requirement, Rule, Snapshot
from addons.core.errors import GuardhouseError
from addons.core.wire import jcs

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """The merged terms of one hold. Times in microseconds."""

    names: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    assurance: str
    hold_timeout: int
    max_hold: int
    pending_status: int
    approval_expiry: int
    execution_expiry: int
    deny_cooloff: int
    reason_required: bool
    expose_reason: bool
    body_must_be_visible: bool
    max_hold_body: int
    max_pending_per_principal: int
    max_pending: int
    max_openings_per_hour: int
    on_client_disconnect: str
    require_acr: tuple[str, ...]  # every one of them; two different ones can never be met, and that is a closed door
    max_auth_age: int | None

    @property
    def slots(self) -> tuple[str, ...]:
        """One group per vote that is needed."""
        return tuple(need.group for need in self.requirements for _ in range(need.approvals_needed))


def merge(parts: Sequence[ApprovalTerms]) -> Terms:
    """Add the requirements, take the stricter of everything else. No terms at all is an error, never a yes."""
    if not parts or not all(part.requirements for part in parts):
        raise GuardhouseError(detail="a hold without requirements can never be approved")
    parts = sorted(parts, key=lambda part: part.name)
    ages = [_us(part.max_auth_age) for part in parts if part.max_auth_age is not None]
    return Terms(
        names=tuple(part.name for part in parts),
        requirements=tuple(need for part in parts for need in part.requirements),
        assurance=max((part.assurance for part in parts), key=ASSURANCE.index),
        hold_timeout=min(_us(part.hold_timeout) for part in parts),
        max_hold=min(_us(part.max_hold) for part in parts),
        pending_status=parts[0].pending_status,
        approval_expiry=min(_us(part.approval_expiry) for part in parts),
        execution_expiry=min(_us(part.execution_expiry) for part in parts),
        deny_cooloff=max(_us(part.deny_cooloff) for part in parts),
        reason_required=any(part.reason_required for part in parts),
        expose_reason=all(part.expose_reason for part in parts),
        body_must_be_visible=any(part.body_must_be_visible for part in parts),
        max_hold_body=min(part.max_hold_body for part in parts),
        max_pending_per_principal=min(part.max_pending_per_principal for part in parts),
        max_pending=min(part.max_pending for part in parts),
        max_openings_per_hour=min(part.max_openings_per_hour for part in parts),
        on_client_disconnect="cancel" if any(part.on_client_disconnect == "cancel" for part in parts) else "keep_ticket",
        require_acr=tuple(sorted({part.require_acr for part in parts if part.require_acr is not None})),
        max_auth_age=min(ages) if ages else None,
    )


def merged(snapshot: Snapshot, names: Iterable[str]) -> Terms:
    """The terms of these entries of approvals.yaml. A name that is not there closes the door."""
    try:
        return merge([snapshot.approvals.terms[name] for name in names])
    except KeyError as error:
        raise GuardhouseError(detail="a hold rule names an approval that is not defined") from error


def freeze(terms: Terms) -> str:
    """The row's copy: canonical JSON text."""
    return jcs.canonical(plain(terms)).decode()


def thaw(text: str) -> Terms:
    """Read the row's copy back. Raises ValueError, TypeError or KeyError for anything else than what `freeze` wrote."""
    data = json.loads(text)
    data["requirements"] = tuple(Requirement(need["group"], need["approvals_needed"]) for need in data["requirements"])
    data["names"] = tuple(data["names"])
    data["require_acr"] = tuple(data["require_acr"])
    return Terms(**data)


def policy_digest(snapshot: Snapshot, rules: Iterable[str], approvals: Iterable[str]) -> str:
    """Digest of the hold rules that matched and of the terms they name; an unrelated edit leaves it as it is."""
    wanted = set(rules)
    return jcs.digest(
        {
            "rules": [plain(rule) for rule in sorted(snapshot.rules.rules, key=_name) if rule.name in wanted],
            "approvals": [plain(snapshot.approvals.terms[name]) for name in sorted(set(approvals)) if name in snapshot.approvals.terms],
        }
    )


def target_digest(snapshot: Snapshot, service: str, masks: Iterable[str]) -> str:
    """Digest of what the name of the service stands for now, and of the masks that are owed: another address, CA,
    credential reference or a dropped mask asks again."""
    here = snapshot.gateway.services.get(service)
    profiles = [
        [name, plain(snapshot.masking.profiles[name]) if name in snapshot.masking.profiles else None] for name in sorted(set(masks))
    ]
    target: dict[str, Any] | None = None
    if here is not None:
        parts = ("kind", "scheme", "address", "ca", "credential", "host_header")
        target = {name: plain(getattr(here, name)) for name in parts}
    return jcs.digest({"service": target, "masks": {"profiles": profiles, "terms": plain(snapshot.masking.service(service))}})


def plain(value: Any) -> Any:
    """Frozen configuration as data that has a canonical form. `where` (file and line) is no part of what it says."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name != "where"}
    if isinstance(value, Mapping):
        return [[str(name), plain(item)] for name, item in sorted(value.items(), key=lambda pair: str(pair[0]))]
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(str(item) for item in value)
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _name(rule: Rule) -> str:
    return rule.name


def _us(seconds: float) -> int:
    return round(seconds * MICRO)
