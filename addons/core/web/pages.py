"""The pages: sign in, the list, the card, a decision. No script, nothing from outside, and GET changes nothing.

Who looks, and whether a form is theirs, is decided in `visit`; whether a vote counts, by the desk. After a form the
browser is sent on (303), so that reloading does not repeat it.
"""

import asyncio
import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from addons.core.approval.card import Card
from addons.core.approval.decide import Vote, voter_of
from addons.core.config.model import Snapshot
from addons.core.errors import AuthenticationError, DecisionError, GuardhouseError, problem_of
from addons.core.web.access import Access, ForbiddenError
from addons.core.web.problems import Invalid, NotFound
from addons.core.web.render import Pages
from addons.core.web.services import ControlServices
from addons.core.web.sessions import SESSION_COOKIE, SIGN_IN_COOKIE, new_id
from addons.core.web.visit import Signed, Visit, refuse_bearer

LIST_LENGTH = 50  # as many as the desk hands out at once
NEXT = re.compile(r"/approvals(?:/[A-Za-z0-9_-]{1,64})?", re.ASCII)  # where signing in may lead; never another site
EFFECTS = frozenset({"approve", "deny", "cancel"})


def routes(services: ControlServices, access: Access, pages: Pages) -> APIRouter:
    """Every page. None of them is part of the REST interface, so none is in its description."""
    router = APIRouter(include_in_schema=False)
    signed = Signed(services, access)
    desk = services.holds

    @router.get("/")
    async def home() -> Response:
        return RedirectResponse("/approvals", 303)

    @router.get("/static/style.css")
    async def style() -> Response:
        return Response(pages.style, media_type="text/css; charset=utf-8")

    @router.get("/sign-in")
    async def sign_in_page(request: Request, next: str = "/approvals") -> Response:
        refuse_bearer(request)
        return _sign_in(signed, pages, request, _inside(next))

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        refuse_bearer(request)
        fields = await signed.form(request, "sign-in", request.cookies.get(SIGN_IN_COOKIE))
        target = _inside(fields.get("next", ""))
        try:
            cookie, session = await signed.sign_in(request, fields.get("token", "").strip())
        except (AuthenticationError, ForbiddenError) as error:
            return _sign_in(signed, pages, request, target, error)
        signed.sessions.close(request.cookies.get(SESSION_COOKIE))
        response = RedirectResponse(target, 303)
        seconds = int(session.expires_at - services.clock.now())
        response.set_cookie(SESSION_COOKIE, cookie, max_age=max(seconds, 1), path="/", secure=True, httponly=True, samesite="lax")
        response.delete_cookie(SIGN_IN_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        refuse_bearer(request)
        cookie = request.cookies.get(SESSION_COOKIE)
        await signed.form(request, "page", cookie)
        signed.sessions.close(cookie)
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return response

    @router.get("/approvals")
    async def list_page(request: Request, before: str | None = None) -> Response:
        visit = signed.visit(request)
        if visit is None:
            return _to_sign_in("/approvals")
        cards = await desk.cards(voter_of(visit.principal), limit=LIST_LENGTH, before=before)
        values = common(services, visit) | grouped([named(card, services.snapshot()) for card in cards])
        return await asyncio.to_thread(pages.page, "list", values)

    @router.get("/approvals/{approval_id}")
    async def card_page(request: Request, approval_id: str) -> Response:
        visit = signed.visit(request)
        if visit is None:
            return _to_sign_in(f"/approvals/{approval_id}")
        card = await desk.card(approval_id, voter_of(visit.principal))
        return await asyncio.to_thread(_card, services, pages, visit, card)

    @router.post("/approvals/{approval_id}")
    async def decide(request: Request, approval_id: str) -> Response:
        visit = signed.visit(request)
        if visit is None:
            return _to_sign_in(f"/approvals/{approval_id}")
        fields = await signed.form(request, "page", visit.cookie)
        try:
            await _act(services, visit, approval_id, fields)
        except DecisionError as error:
            if error.status == NotFound().status:
                raise
            card = await desk.card(approval_id, voter_of(visit.principal))
            return await asyncio.to_thread(_card, services, pages, visit, card, error, fields.get("reason", ""))
        return RedirectResponse(f"/approvals/{quote(approval_id, safe='')}", 303)

    return router


async def _act(services: ControlServices, visit: Visit, approval_id: str, fields: dict[str, str]) -> None:
    effect, voter = fields.get("effect", ""), voter_of(visit.principal)
    if effect not in EFFECTS or not fields.keys() <= {"effect", "digest", "reason"}:
        raise Invalid("The form is not one of ours.")
    if effect == "cancel":
        await services.holds.cancel(approval_id, voter)
        return
    vote = Vote(approval_id, fields.get("digest", ""), effect, fields.get("reason", "").replace("\r\n", "\n"), voter, channel="page")
    await services.holds.decide(vote)


def common(services: ControlServices, visit: Visit | None) -> dict[str, object]:
    """What the frame of every page shows."""
    gateway = services.snapshot().gateway
    return {
        "gateway": gateway.name,
        "is_development": gateway.development is not None,
        "person": visit.principal.person if visit else "",
        "csrf": visit.session.csrf if visit else "",
    }


def grouped(cards: list[Card]) -> dict[str, object]:
    """The list's three parts."""
    return {
        "to_decide": [card for card in cards if card.can_decide],
        "others": [card for card in cards if card.state == "pending" and not card.can_decide],
        "decided": [card for card in cards if card.state != "pending" and not card.can_decide],
        "older": cards[-1].id if len(cards) == LIST_LENGTH else None,
    }


def named(card: Card, snapshot: Snapshot) -> Card:
    """The card with its actors' issuers by the short names that gateway.yaml gives them, as people know them."""
    aliases = {issuer.issuer: issuer.name for issuer in snapshot.gateway.identity.issuers}
    actors = [{**actor, "issuer": aliases.get(actor["issuer"], actor["issuer"])} for actor in card.actors]
    return replace(card, actors=tuple(actors))


def api_page(services: ControlServices, pages: Pages, areas: list[dict[str, Any]]) -> Response:
    """The REST interface, for people. It holds nothing of this site, so it asks nobody to sign in."""
    return pages.page("api", common(services, None) | {"areas": areas})


def problem_page(services: ControlServices, pages: Pages, error: GuardhouseError) -> Response:
    """A refusal as a page."""
    problem = problem_of(error)
    headers = {name: value for name, value in problem.headers.items() if name.lower() != "content-type"}
    return pages.page("problem", common(services, None) | {"problem": problem.body}, problem.status, headers)


def _card(  # in a thread: a body of a mebibyte takes a moment to draw
    services: ControlServices, pages: Pages, visit: Visit, card: Card, error: GuardhouseError | None = None, reason: str = ""
) -> Response:
    asker = f"{card.principal['issuer']}:{card.principal['subject']}"
    values = common(services, visit) | {
        "card": named(card, services.snapshot()),
        "error": str(error) if error else "",
        "reason": reason,
        "is_requester": asker == visit.principal.person,
    }
    return pages.page("card", values, error.status if error else 200)


def _sign_in(signed: Signed, pages: Pages, request: Request, target: str, error: GuardhouseError | None = None) -> Response:
    """The sign-in form, with a cookie of its own that ties the form to this browser."""
    cookie = request.cookies.get(SIGN_IN_COOKIE) or new_id()
    sign_in = signed.services.snapshot().gateway.control.sign_in
    values = common(signed.services, None) | {
        "csrf": signed.sessions.form_token("sign-in", cookie),
        "next": target,
        "error": str(error) if error else "",
        "issuer": sign_in.issuer or "that your gateway trusts",
        "is_token_mode": sign_in.mode == "paste-token",
    }
    response = pages.page("sign-in", values, error.status if error else 200, error.headers if error else None)
    response.set_cookie(SIGN_IN_COOKIE, cookie, max_age=900, path="/", secure=True, httponly=True, samesite="lax")
    return response


def _inside(target: str) -> str:
    return target if NEXT.fullmatch(target) else "/approvals"


def _to_sign_in(target: str) -> Response:
    return RedirectResponse("/sign-in?" + urlencode({"next": _inside(target)}), 303)
