"""Who is signed in to the pages, and proof that a form came from our own page.

A session is kept here, in memory, under a keyed hash of a random id; the browser holds only the id, in a `__Host-`
cookie. The pasted token itself is not kept: what it proved is, and no longer than the token itself is good. A form
carries a token derived from the session id, so it is worth nothing in another session, nor after signing out.
"""

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from addons.core.clock import Clock
from addons.core.exchange import Principal

LIFETIME = 8 * 3600.0  # a working day
MAX_SESSIONS = 1000  # the oldest is signed out; reviewers are few
MAX_PER_PERSON = 10  # browsers of one person; so that nobody can sign the others out
SESSION_COOKIE = "__Host-guardhouse"
SIGN_IN_COOKIE = "__Host-guardhouse-sign-in"


@dataclass(frozen=True, slots=True)
class PageSession:
    """One signed-in browser."""

    principal: Principal
    csrf: str
    expires_at: float  # unix seconds


class PageSessions:
    """All signed-in browsers of this process. They end with it."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._open: OrderedDict[bytes, PageSession] = OrderedDict()

    def open(self, principal: Principal) -> tuple[str, PageSession]:
        """Sign somebody in; returns what goes into the cookie, and the session."""
        own = [place for place, session in self._open.items() if session.principal.key == principal.key]
        for place in own[: max(0, len(own) + 1 - MAX_PER_PERSON)]:
            del self._open[place]
        cookie = new_id()
        ends = min(self._clock.now() + LIFETIME, principal.expires_at)
        session = PageSession(principal, self.form_token("page", cookie), ends)
        self._open[self._mac("session", cookie)] = session
        if len(self._open) > MAX_SESSIONS:
            self._open.popitem(last=False)
        return cookie, session

    def find(self, cookie: str | None) -> PageSession | None:
        """Return the session of a cookie; None when there is none, or it has ended."""
        if not cookie:
            return None
        place = self._mac("session", cookie)
        session = self._open.get(place)
        if session is None or session.expires_at > self._clock.now():
            return session
        del self._open[place]
        return None

    def close(self, cookie: str | None) -> None:
        """Sign out."""
        if cookie:
            self._open.pop(self._mac("session", cookie), None)

    def form_token(self, use: str, cookie: str) -> str:
        """Return the token that a form of this browser must carry."""
        return self._mac("form " + use, cookie).hex()

    def is_form_token(self, use: str, cookie: str | None, token: str) -> bool:
        """True when the form was made for this browser."""
        if not cookie or not token.isascii():
            return False
        return hmac.compare_digest(self.form_token(use, cookie), token)

    def _mac(self, use: str, cookie: str) -> bytes:
        return hmac.digest(self._key, f"{use}\0{cookie}".encode("utf-8", "replace"), "sha256")


def new_id() -> str:
    """A random id that cannot be guessed (256 bits)."""
    return secrets.token_urlsafe(32)
