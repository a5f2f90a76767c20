"""Who looks at a page, and whether a form was surely sent by them from it.

A page takes the session cookie and never a bearer token. A form counts only when three independent things agree: its
token was made for this browser's session, `Origin` is this very address, and the browser says the request came from
the same origin.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from addons.core.errors import AuthenticationError
from addons.core.exchange import Principal
from addons.core.web.access import Access, ForbiddenError, peer_of
from addons.core.web.body import read_form
from addons.core.web.problems import Invalid
from addons.core.web.services import ControlServices
from addons.core.web.sessions import SESSION_COOKIE, PageSession, PageSessions


class CrossSiteError(ForbiddenError):
    """The form was not sent from our own page, or the page is stale."""

    default_code = "cross-site"
    default_message = "The form did not come from this page, or the page is too old. Open it again and send it from there."


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    principal: Principal
    session: PageSession
    cookie: str


class Signed:
    """Finds the visitor of a page, and guards its forms."""

    def __init__(self, services: ControlServices, access: Access) -> None:
        self.services = services
        self.access = access
        self.sessions = PageSessions(services.session_key, services.clock)

    def visit(self, request: Request) -> Visit | None:
        """Who is looking; None when nobody is signed in, or their token is no longer good."""
        refuse_bearer(request)
        cookie = request.cookies.get(SESSION_COOKIE)
        session = self.sessions.find(cookie)
        if session is None or cookie is None:
            return None
        try:
            self.services.identity.still_good(session.principal, self.services.snapshot())
        except AuthenticationError:
            self.sessions.close(cookie)
            return None
        self.access.count(session.principal)
        return Visit(session.principal, session, cookie)

    async def form(self, request: Request, use: str, cookie: str | None) -> dict[str, str]:
        """The fields of a form that was surely sent from our own page in this browser."""
        check_origin(request, urlsplit(self.services.snapshot().gateway.control.public_url).scheme)
        fields = await read_form(request)
        if not self.sessions.is_form_token(use, cookie, fields.pop("csrf", "")):
            raise CrossSiteError()
        return fields

    async def sign_in(self, request: Request, token: str) -> tuple[str, PageSession]:
        """Check a pasted token and open a session for the person it names."""
        snapshot = self.services.snapshot()
        control = snapshot.gateway.control
        principal = await self.access.verified(token, control.audiences, snapshot, peer_of(request))
        if control.sign_in.issuer is not None and principal.issuer_alias != control.sign_in.issuer:
            raise AuthenticationError(f"Sign in with a token of the issuer {control.sign_in.issuer}.")
        if principal.kind != "human" or principal.actors:
            raise ForbiddenError("These pages are for people. Agents and services use the REST interface.", code="not-a-person")
        return self.sessions.open(principal)


def refuse_bearer(request: Request) -> None:
    """A page never takes a bearer token: whoever can send one should use REST, which takes no cookie."""
    if "authorization" in request.headers:
        raise Invalid("Pages take no Authorization header; use /v1 with the token.", code="credential-ambiguous", status=400)


def check_origin(request: Request, scheme: str) -> None:
    """The browser itself says that our own page sent this form. `Host` was checked at the door."""
    origins = request.headers.getlist("origin")
    sites = request.headers.getlist("sec-fetch-site")
    if origins != [f"{scheme}://{request.headers.get('host', '')}"] or sites != ["same-origin"]:
        raise CrossSiteError()
