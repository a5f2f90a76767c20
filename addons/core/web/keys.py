"""REST for API keys: issue, list, rotate, revoke. Admins only; each leaves an event, and the event and the row are one transaction.

The key itself is in one answer and nowhere else: not in the store, not in an event, not in a log. What a key may be is
decided in `addons.core.identity.api_keys`.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from addons.core.audit import events
from addons.core.errors import DecisionError, GuardhouseError
from addons.core.exchange import Principal
from addons.core.identity import api_keys, key_rows
from addons.core.identity.api_keys import ApiKeys
from addons.core.identity.key_rows import DamagedRow, KeyRow
from addons.core.moves import Move
from addons.core.web.access import Access
from addons.core.web.approvals import takes
from addons.core.web.body import Strict, read_json
from addons.core.web.problems import Invalid, NotFound
from addons.core.web.reading import principal_field
from addons.core.web.services import ControlServices

ROLE = "admin"
MAX_LISTED = 1000
MAX_OVERLAP = 7 * 86400  # seconds for which an old secret may live beside the new one
Names = Annotated[list[Annotated[str, Field(max_length=80)]], Field(max_length=api_keys.MAX_LIST)]
Reason = Annotated[str, Field(max_length=1000)]
Seconds = Annotated[int, Field(gt=0, le=10 * 365 * 86400)]


class NewKey(Strict):
    """A key that is to be made. Owner and end are mandatory; a key is never a person."""

    name: Annotated[str, Field(max_length=64)]
    owner: Annotated[str, Field(max_length=300)]
    kind: Literal["service", "agent", "ci", "workload"]
    expires_in: Seconds
    groups: Names = []
    allowed_cidrs: Names = []
    reason: Reason = ""


class Rotation(Strict):
    """A new secret for a key. The old one ends at once, or after `overlap` seconds."""

    overlap: Annotated[int, Field(ge=0, le=MAX_OVERLAP)] = 0
    expires_in: Seconds | None = None
    reason: Reason = ""


class Revocation(Strict):
    """Why a key ends."""

    reason: Reason = ""


class KeyBook:
    """The keys of the store, and every change of them with its event."""

    def __init__(self, services: ControlServices) -> None:
        self._services = services

    async def issue(self, who: Principal, asked: NewKey) -> tuple[str, KeyRow]:
        """Make a key. Raises Invalid when it must not be."""
        keys, now = self._keys(), self._now()
        text, key = api_keys.make()
        row = KeyRow(
            id=key.id, digest=api_keys.mac(keys.pepper, key), name=asked.name, owner=asked.owner, kind=asked.kind,
            groups=tuple(f"{api_keys.ALIAS}:{group.removeprefix(api_keys.ALIAS + ':')}" for group in asked.groups),
            networks=tuple(asked.allowed_cidrs), created_at=now, expires_at=now + asked.expires_in * 1_000_000,
        )  # fmt: skip
        self._check(row)
        await self._write(who, "issued", row, key_rows.insert(row, keys.pepper), asked.reason)
        return text, row

    async def rotate(self, who: Principal, key_id: str, asked: Rotation) -> tuple[str, KeyRow]:
        """Give a key a new secret; its name, its groups and its subject stay."""
        keys, now, before = self._keys(), self._now(), await self._living(key_id)
        text, key = api_keys.make(key_id)
        until = min(now + asked.overlap * 1_000_000, before.expires_at)
        ends = before.expires_at if asked.expires_in is None else now + asked.expires_in * 1_000_000
        after = replace(
            before, digest=api_keys.mac(keys.pepper, key), generation=before.generation + 1, previous=before.digest, previous_until=until,
            expires_at=ends,
        )  # fmt: skip
        self._check(after)
        await self._write(who, "rotated", after, key_rows.change(before, after, keys.pepper), asked.reason)
        keys.changed(before, after)
        return text, after

    async def revoke(self, who: Principal, key_id: str, asked: Revocation) -> KeyRow:
        """End a key: no request begins with it, and none that is under way departs."""
        keys, before = self._keys(), await self._living(key_id)
        after = replace(before, revoked_at=self._now(), previous=None, previous_until=None)
        await self._write(who, "revoked", after, key_rows.change(before, after, keys.pepper), asked.reason)
        keys.changed(before, after)
        return after

    async def listed(self, who: Principal) -> list[dict[str, Any]]:
        """All keys, the newest first; that somebody looked is on record first."""
        await self._services.store.append(events.make("Mark", "read", {"verb": "keys"}, {"principal": principal_field(who)}))
        rows = await self._services.store.rows(key_rows.TABLE, {}, "created_at DESC", MAX_LISTED)
        return [self._told(row) for row in rows]

    def told(self, row: KeyRow) -> dict[str, Any]:
        """A key without its secret."""
        now = self._now()
        state = "revoked" if row.revoked_at is not None else "expired" if row.expires_at <= now else "active"
        until = row.previous_until if state == "active" and (row.previous_until or 0) > now else None
        said = {
            "id": row.id, "name": row.name, "subject": f"{api_keys.ALIAS}:{row.id}", "owner": row.owner, "kind": row.kind, "state": state,
            "groups": list(row.groups), "allowed_cidrs": list(row.networks), "created_at": moment(row.created_at),
            "expires_at": moment(row.expires_at), "revoked_at": moment(row.revoked_at), "last_used_at": moment(row.last_used_at),
            "previous_until": moment(until),
        }  # fmt: skip
        return {name: value for name, value in said.items() if value is not None}

    def _told(self, stored: dict[str, Any]) -> dict[str, Any]:
        try:
            row = key_rows.read(stored)
        except DamagedRow:
            return {"id": str(stored.get("id")), "state": "damaged"}
        return self.told(row) if key_rows.is_ours(stored, row, self._keys().pepper) else {"id": row.id, "state": "damaged"}

    async def _living(self, key_id: str) -> KeyRow:
        rows = await self._services.store.rows(key_rows.TABLE, {"id": key_id}, limit=1)
        if not rows:
            raise NotFound()
        try:
            row = key_rows.read(rows[0])
        except DamagedRow as error:
            raise _not_active() from error
        if row.revoked_at is not None or not key_rows.is_ours(rows[0], row, self._keys().pepper):
            raise _not_active()
        return row

    def _check(self, row: KeyRow) -> None:
        try:
            api_keys.check_new(row, self._services.snapshot().gateway.identity, self._services.clock.now())
        except ValueError as error:
            raise Invalid(str(error)) from error

    async def _write(self, who: Principal, verb: str, row: KeyRow, move: Move, reason: str) -> None:
        masked = await asyncio.to_thread(self._services.redact, reason)
        terms = {name: value for name, value in self.told(row).items() if name != "last_used_at"}
        fields = {
            "principal": principal_field(who),
            "note": events.json_field(terms),
            "reason": masked.encode("utf-8", "backslashreplace") or None,
        }
        event = events.make("Mark", "key", {"verb": verb, "ref": row.id}, fields)
        if await self._services.store.commit(event, [move]) is None:
            raise DecisionError("Somebody else changed this key at the same moment. Look again.", code="approval-state")

    def _keys(self) -> ApiKeys:
        if self._services.api_keys is None:
            raise GuardhouseError(detail="no API keys")
        return self._services.api_keys

    def _now(self) -> int:
        return int(self._services.clock.now() * 1_000_000)


def routes(services: ControlServices, access: Access) -> APIRouter:
    """The keys' part of /v1."""
    router = APIRouter(prefix="/v1/keys")
    book = KeyBook(services)

    @router.get("", summary="API keys, without their secrets")
    async def keys(request: Request) -> Response:
        who = await access.with_role(request, ROLE)
        return JSONResponse({"keys": await book.listed(who)})

    @router.post("", status_code=201, summary="Issue an API key; it is shown in this answer and never again", openapi_extra=takes(NewKey))
    async def issue(request: Request) -> Response:
        who = await access.with_role(request, ROLE)
        text, row = await book.issue(who, await read_json(request, NewKey))
        return JSONResponse({"key": text, **book.told(row)}, 201)

    @router.post("/{key_id}/rotate", summary="Give a key a new secret", openapi_extra=takes(Rotation))
    async def rotate(request: Request, key_id: str) -> Response:
        who = await access.with_role(request, ROLE)
        text, row = await book.rotate(who, key_id, await read_json(request, Rotation))
        return JSONResponse({"key": text, **book.told(row)})

    @router.post("/{key_id}/revoke", summary="End a key at once", openapi_extra=takes(Revocation))
    async def revoke(request: Request, key_id: str) -> Response:
        who = await access.with_role(request, ROLE)
        return JSONResponse(book.told(await book.revoke(who, key_id, await read_json(request, Revocation))))

    return router


def moment(microseconds: int | None) -> str | None:
    """RFC 3339, to the second, in UTC."""
    return None if microseconds is None else datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _not_active() -> DecisionError:
    return DecisionError("The key is revoked, or its row is damaged. Issue a new one.", code="approval-state")
