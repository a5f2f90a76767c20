"""Find the approval of these exact bytes, or open a new one within the limits.

A retry needs no header and no ticket of its own: the digest and the principal find the row. An approved row is used
before a pending one is waited on, a fresh denial is repeated without asking anybody, and only then a new row is opened.
Rows of the store and the book in memory must name the same open approvals: one that stands only in the store was
written behind our back, one that stands only in memory was deleted there.
"""

import asyncio
import json
from dataclasses import replace
from weakref import WeakValueDictionary

from addons.core.approval import derive
from addons.core.approval import digest as digests
from addons.core.approval.book import Book, unavailable
from addons.core.approval.hold import Asked, Entry, View, ended
from addons.core.approval.rows import Approval
from addons.core.approval.states import OPEN_STATES, State
from addons.core.approval.terms import MICRO, freeze, thaw
from addons.core.clock import uuid7
from addons.core.errors import ApprovalError
from addons.core.wire import jcs

HOUR = 3600 * MICRO
COMPARED = 5  # latest approvals of the principal in which a near miss is looked for


class Openings:
    """Look-up and opening. Equal requests wait for each other; others are opened side by side."""

    def __init__(self, book: Book, key: bytes) -> None:
        self.book = book
        self.key = key
        self._same_digest: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._being_opened: list[Asked] = []
        self._opened_at: dict[str, list[int]] = {}  # principal -> times of the last hour

    async def find_or_open(self, asked: Asked, digest: str) -> tuple[Entry, str]:
        """The open approval of this request, and what it differs in from an earlier one when it is new."""
        entry = await self._find(asked, digest)
        if entry is not None:
            return entry, ""
        async with self._lock(digest):  # of many equal requests one is masked and opened, the others find it
            entry = await self._find(asked, digest, locked=True)
            return (entry, "") if entry is not None else await self._open(asked, digest)

    async def _open(self, asked: Asked, digest: str) -> tuple[Entry, str]:
        await self._remember(asked)
        members = digests.member_hmacs(asked.facts, self.key)
        differs, view = await self._near_miss(asked, members), await asked.view()
        self._reserve(asked)  # from the check of the limits to here nothing waits, so nobody comes between
        try:
            row = self._row(asked, digest, json.dumps(members, sort_keys=True), _view(asked, view))
            return await self.book.add(row, asked.terms, _more(asked), _core(asked)), differs
        finally:
            self._being_opened.remove(asked)

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._same_digest.setdefault(digest, asyncio.Lock())

    async def _find(self, asked: Asked, digest: str, *, locked: bool = False) -> Entry | None:
        key = {"digest": digest, "principal_key": asked.principal.asker_key}
        rows = await self.book.rows(key, "created_at DESC", 20)
        known = self.book.find(digest, asked.principal.asker_key)
        stored = {row.id for row in rows if row.state in OPEN_STATES}
        same = known is None or any(replace(row, view="") == known.row for row in rows)
        if not same or stored != (set() if known is None else {known.row.id}):
            return await self._settle(asked, digest, stored, known, locked)
        if known is None:
            self._check_cool_off(rows)
        return known

    async def _settle(self, asked: Asked, digest: str, stored: set[str], known: Entry | None, locked: bool) -> Entry | None:
        """Memory and store differ: either a move is just being made, or somebody wrote into the store."""
        if not locked:
            async with self._lock(digest):  # whoever opens has finished
                return await self._find(asked, digest, locked=True)
        if known is not None:
            async with known.lock:  # whoever moves has finished
                row = await self.book.row(known.row.id)
                if known.doubtful:
                    await self.book.certain(known)
                same = row is not None and replace(row, view="") == known.row
            if self.book.find(digest, asked.principal.asker_key) is not known:
                return await self._find(asked, digest, locked=True)
            if same and stored <= {known.row.id}:
                return known
        ident = next(iter(stored - set(self.book.open)), None) or (known.row.id if known is not None else "")
        await self.book.alert(ident, "row-disagrees", "an open approval stands only in the store, or no longer there")
        raise unavailable(f"{ident}: store and memory name different open approvals")

    def _check_cool_off(self, rows: list[Approval]) -> None:
        if not rows or rows[0].state is not State.DENIED:
            return
        row = rows[0]
        terms = thaw(row.requirements)
        if row.decided_at is not None and self.book.now_us() < row.decided_at + terms.deny_cooloff:
            raise ended(Entry(row, terms, "", (), 0.0, ""), None, None)

    async def _remember(self, asked: Asked) -> None:
        """The principal's openings of the last hour, which may be of an earlier process."""
        key = asked.principal.asker_key
        if key in self._opened_at:
            return
        rows = await self.book.rows({"principal_key": key}, "created_at DESC", asked.terms.max_openings_per_hour)
        self._opened_at.setdefault(key, sorted(row.created_at for row in rows))

    def _reserve(self, asked: Asked) -> None:
        """Count this opening, or refuse it: no row, and nobody is asked."""
        terms, key = asked.terms, asked.principal.asker_key
        pending = [(entry.row.principal_key, entry.owner) for entry in self.book.open.values() if entry.row.state is State.PENDING]
        pending += [(other.principal.asker_key, other.owner) for other in self._being_opened]
        most = terms.max_pending_per_principal
        if sum(one == key for one, _ in pending) >= most or sum(owner == asked.owner for _, owner in pending) >= most:
            raise too_many(f"At most {most} of your requests may wait for people at a time. Wait for those, or withdraw some.", 30)
        if len(pending) >= terms.max_pending:
            raise too_many("Too many requests wait for people. Try again later.", 60)
        now = self.book.now_us()
        latest = [at for at in self._opened_at[key] if at > now - HOUR]
        if len(latest) >= terms.max_openings_per_hour:
            wait = (latest[-terms.max_openings_per_hour] - now + HOUR) // MICRO + 1
            raise too_many(f"At most {terms.max_openings_per_hour} requests an hour may ask people. Try again later.", wait)
        self._opened_at[key] = [*latest, now]
        self._being_opened.append(asked)

    async def _near_miss(self, asked: Asked, members: dict[str, str]) -> str:
        """The sentence for a request that differs from an earlier one in headers alone: they may carry no meaning."""
        for row in await self.book.rows(
            {"principal_key": asked.principal.asker_key, "service": asked.facts.service}, "created_at DESC", COMPARED
        ):
            names = digests.differing(derive.members_of(row), members)
            if names and all(name.startswith("headers:") for name in names):
                told = ", ".join(name.removeprefix("headers:") for name in names)
                return f"It differs from {row.id} only in the header {told}; if that carries no meaning, add it to digest.ignore_headers."
        return ""

    def _row(self, asked: Asked, digest: str, members: str, view: str) -> Approval:
        now = self.book.now_us()
        return Approval(
            id=f"ap_{uuid7(self.book.clock)}",
            state=State.PENDING,
            version=1,
            digest=digest,
            digest_key_id=digests.key_id(self.key),
            members=members,
            view=view,
            principal_key=asked.principal.asker_key,
            service=asked.facts.service,
            rules=tuple(sorted(asked.facts.rules)),
            policy_digest=asked.facts.policy,
            target=asked.facts.target,
            requirements=freeze(asked.terms),
            excluded=asked.excluded,
            ticketed=False,
            session_id=asked.session_id,
            trace_id=asked.trace_id,
            created_at=now,
            expires_at=now + asked.terms.approval_expiry,
            decided_at=None,
            execution_expires_at=None,
            uses=0,
            max_uses=1,
        )


def _view(asked: Asked, view: View) -> str:
    """The stored card: the masked view, and who asks for whom and why."""
    principal = asked.principal
    told = {
        "operation": view.operation,
        "request": view.request,
        "body": view.body,
        "masked": view.masked,
        "reasons": view.reasons,
        "purpose": {"value": asked.facts.purpose, "source": view.purpose_source, "detail": view.purpose_detail},
        "principal": {
            "subject": principal.subject,
            "issuer": principal.issuer_alias,
            "kind": principal.kind,
            "client_id": principal.client_id,
            "owner": principal.owner,
        },
        "actors": [{"issuer": actor.issuer, "subject": actor.subject} for actor in principal.actors],
    }
    return json.dumps(told, ensure_ascii=True)


def too_many(text: str, seconds: int) -> ApprovalError:
    """Over a limit: no row was opened and nobody was asked."""
    return ApprovalError(text + " Nothing was sent.", code="too-many-pending", headers={"Retry-After": str(seconds)})


def _more(asked: Asked) -> dict[str, object]:
    """What the opening note says beside the columns."""
    principal = asked.principal
    return {
        "owner": asked.owner,
        "masks": list(asked.masks),
        "principal": {
            "issuer": principal.issuer,
            "alias": principal.issuer_alias,
            "subject": principal.subject,
            "kind": principal.kind,
            "client_id": principal.client_id,
        },
        "actors": [{"issuer": actor.issuer, "subject": actor.subject} for actor in principal.actors],
        "purpose": asked.facts.purpose,
    }


def _core(asked: Asked) -> dict[str, object]:
    core: dict[str, object] = {"flow": asked.flow_id, "service": asked.facts.service, "rules": sorted(asked.facts.rules)}
    if asked.session_id:
        core["session"] = asked.session_id
    if asked.trace_id:
        core["trace"] = asked.trace_id
    jcs.canonical(core)  # raises here, before anything is written, for what could not be recorded
    return core
