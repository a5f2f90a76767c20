"""approvals.yaml: who decides what is held, over which channels, and for how long an answer counts.

No key turns four-eyes off and none approves on silence. Whether the people and channels can ever fill a requirement
is judged by the approval area's check (`addons.core.approval.check`); names and groups are checked here.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from addons.core.config.model import Approvals, ApprovalTerms, Integration, Reference, Requirement, Signals
from addons.core.config.reading import NAME
from addons.core.config.section import Section

ASSURANCES = ("oidc", "integration", "file")
PENDING_STATUSES = (429, 503, 409, 425)
DISCONNECTS = ("keep_ticket", "cancel")
_HOUR = 3600.0


def read(file: Section) -> Approvals:
    file.unbuilt("break_glass", "notifications")
    defaults = _terms(file.section("defaults", "approvals.defaults"), {})
    people = {person: _groups(entry) for person, entry in file.named("people", "approvals.people")}
    file.people("people", people)
    return Approvals(
        terms={name: _approval(name, entry, defaults) for name, entry in file.named("approvals", "approvals.approvals")},
        people=people,
        signals=_signals(file.section("signals", "approvals.signals"), people),
        integrations={name: _integration(name, entry, people) for name, entry in file.named("integrations", "approvals.integrations")},
    )


def _groups(entry: Section) -> tuple[str, ...]:
    groups = entry.texts("groups")
    entry.people("groups", groups)
    return groups


def _terms(at: Section, base: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `defaults` gives and each approval may override. `base`: what counts where a key is absent."""
    status = at.integer("pending_status", base.get("pending_status", 429), 100, 599)
    if "pending_status" in at.values and status not in PENDING_STATUSES:
        at.wrong("pending_status", f"`pending_status` is `{status}`, expected one of: {', '.join(map(str, PENDING_STATUSES))}")
    terms: dict[str, Any] = {
        "pending_status": status,
        "hold_timeout": at.duration("hold_timeout", base.get("hold_timeout", 50.0), 0.0, _HOUR),
        "max_hold": at.duration("max_hold", base.get("max_hold", 900.0), 0.0, 24 * _HOUR),
        "approval_expiry": at.duration("approval_expiry", base.get("approval_expiry", 3600.0)),
        "execution_expiry": at.duration("execution_expiry", base.get("execution_expiry", 600.0)),
        "deny_cooloff": at.duration("deny_cooloff", base.get("deny_cooloff", 600.0), 0.0),
        "reason_required": at.flag("reason_required", base.get("reason_required", True)),
        "expose_reason": at.flag("expose_reason", base.get("expose_reason", False)),
        "body_must_be_visible": at.flag("body_must_be_visible", base.get("body_must_be_visible", True)),
        "max_hold_body": at.size("max_hold_body", base.get("max_hold_body", 1 << 20)),
        "max_pending_per_principal": at.integer("max_pending_per_principal", base.get("max_pending_per_principal", 5)),
        "max_pending": at.integer("max_pending", base.get("max_pending", 1000)),
        "max_openings_per_hour": at.integer("max_openings_per_hour", base.get("max_openings_per_hour", 20)),
        "on_client_disconnect": at.choice("on_client_disconnect", DISCONNECTS, base.get("on_client_disconnect", "keep_ticket")),
    }
    if terms["max_hold"] < terms["hold_timeout"]:
        at.wrong("max_hold", "`max_hold` is shorter than `hold_timeout`, expected at least as long")
    return terms


def _approval(name: str, at: Section, defaults: Mapping[str, Any]) -> ApprovalTerms:
    if not NAME.fullmatch(name):
        at.reading.tell(at.line, f"the approval's name is {at.quote(name)}, expected lower-case letters, digits and `-`")
    at.unbuilt("escalation_after", "escalation_groups", "break_glass")
    _grant(at.section("grant", "approvals.grant"))
    requirements = tuple(_requirement(item) for item in at.items("requirements", "approvals.requirements"))
    if not requirements:
        at.wrong("requirements", f"the approval `{name}` has no requirements, expected at least one group", "nobody would decide")
    return ApprovalTerms(
        name=name,
        requirements=requirements,
        assurance=at.choice("assurance", ASSURANCES, "oidc"),
        require_acr=at.maybe_text("require_acr"),
        max_auth_age=at.duration("max_auth_age", 1.0) if at.has("max_auth_age") else None,
        where=at.where,
        **_terms(at, defaults),
    )


def _requirement(item: Section) -> Requirement:
    group = item.text("group", expected='a group such as "corp:sre"')
    item.people("group", [group])
    return Requirement(group, item.integer("approvals_needed", 1, 1, 20))


def _grant(grant: Section) -> None:
    kinds = grant.texts("kinds", ("one_time",), least=1)
    for kind in kinds:
        if kind == "window":
            grant.wrong("kinds", "`window` grants belong to a part that is not built yet", "use one_time")
        elif kind and kind != "one_time":
            grant.wrong("kinds", f"`kinds` names {grant.quote(kind)}, expected one_time")
    grant.unbuilt("max_duration", "max_uses", "scopes", "vary")


def _signals(at: Section, people: Mapping[str, tuple[str, ...]]) -> Signals:
    directory = at.maybe_text("dir")
    approvers: dict[int, str] = {}
    for uid, node in at.entries("approvers").items():
        person = node.value if isinstance(node.value, str) else ""
        if uid == "self":
            if not at.reading.names.development:
                at.reading.tell(node.line, "`approvers: {self: ...}` is only for unsafe_development", "name the uid of the person")
            _voter(at, node.line, person, people)
            approvers[os.getuid()] = person
        elif re.fullmatch("0|[1-9][0-9]{0,9}", uid):
            _voter(at, node.line, person, people)
            approvers[int(uid)] = person
        else:
            at.reading.tell(node.line, f"{at.quote(uid)} in `approvers`, expected a uid (a number)")
    path = None if directory is None else at.reading.place(directory)
    return Signals(path, at.duration("poll_interval", 0.25, 0.01, 60.0), approvers)


def _integration(name: str, at: Section, people: Mapping[str, tuple[str, ...]]) -> Integration:
    if not NAME.fullmatch(name):
        at.reading.tell(at.line, f"the integration's name is {at.quote(name)}, expected lower-case letters, digits and `-`")
    secrets: list[Reference] = []
    for number, node in enumerate(at.nodes("secrets"), 1):
        file_name = f"integration-{name}" if number == 1 else f"integration-{name}.{number}"
        secrets.append(at.reference_of(node, "secrets", file_name, ("env", "file", "state", "auto")))
    if not secrets:
        at.wrong("secrets", "`secrets` is empty, expected at least one reference", "nothing unsigned is ever accepted")
    voters = at.texts("people", expected="a list of people, `alias:subject`", least=1)
    for voter in voters:
        _voter(at, at.line_of("people"), voter, people)
    return Integration(name, tuple(secrets), voters)


def _voter(at: Section, line: int, person: str, people: Mapping[str, tuple[str, ...]]) -> None:
    if person not in people:
        at.reading.tell(
            line, f"{at.quote(person)} is not in `people`", "who decides by a channel without a token must stand there, with groups"
        )
