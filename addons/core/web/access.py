"""Who speaks to the control plane, and what their role lets them read or do.

REST takes a bearer token and never a cookie, so a page of somebody else cannot make a browser speak for its owner. The
token must be for one of `control.audiences`: one for the data path does not open the control plane, save for the state
of one's own approval. Reviewers have no role here: who may vote stands in approvals.yaml and is decided by the desk.
"""

from starlette.requests import Request

from addons.core.config.model import Snapshot
from addons.core.errors import AuthenticationError, GuardhouseError
from addons.core.exchange import Principal
from addons.core.identity import challenge, metadata
from addons.core.web.limits import Buckets
from addons.core.web.services import ControlServices

PEER_FACTOR = 5.0  # one address may be several people (a proxy, a shared host)
MAX_TOKEN = 16 << 10  # longer than any token we accept on the data path


class ForbiddenError(GuardhouseError):
    """The caller is known, and may not do this."""

    default_code = "forbidden"
    default_message = "Your role does not allow this."


class Access:
    """Turns a request into a principal, at a bounded rate."""

    def __init__(self, services: ControlServices) -> None:
        self._services = services
        self._buckets = Buckets(services.clock)

    async def bearer(self, request: Request) -> Principal:
        """Whose token this is, for the control plane. A refusal points to the metadata (RFC 9728)."""
        snapshot = self._services.snapshot()
        try:
            return await self.verified(token_of(request), snapshot.gateway.control.audiences, snapshot, peer_of(request))
        except AuthenticationError as error:
            metadata.point(error, snapshot)
            raise

    async def requester(self, request: Request) -> Principal:
        """Whose token or API key this is, where one of the data path counts too (one's own approval's state)."""
        snapshot = self._services.snapshot()
        if key := key_of(request):
            principal = await self._services.identity.verify_key(key, snapshot, peer_of(request))
            self.count(principal)
            return principal
        return await self.verified(token_of(request), data_audiences(snapshot), snapshot, peer_of(request))

    async def with_role(self, request: Request, *roles: str) -> Principal:
        """Whose token this is, if one of their groups has one of the roles."""
        principal = await self.bearer(request)
        groups = self._services.snapshot().gateway.control.roles
        if any(set(principal.groups) & set(groups.get(role, ())) for role in roles):
            return principal
        raise ForbiddenError(f"This needs the role {' or '.join(roles)} (control.roles in gateway.yaml).")

    async def verified(self, token: str, audiences: tuple[str, ...], snapshot: Snapshot, peer: str) -> Principal:
        """Check a token, wherever it came from."""
        if not token or len(token) > MAX_TOKEN:
            raise challenge.invalid("token-size")
        principal = await self._services.identity.verify_bearer(token, audiences, snapshot, peer)
        self.count(principal)
        return principal

    def count(self, principal: Principal) -> None:
        """One more request of this person. Raises when there were too many."""
        self._buckets.take("person " + principal.key, self._services.snapshot().gateway.control.rate_limit_per_person)

    def admit(self, peer: str) -> None:
        """One more request of an address, whoever it turns out to be. Raises when there were too many."""
        rate = self._services.snapshot().gateway.control.rate_limit_per_person
        self._buckets.take("peer " + peer, rate * PEER_FACTOR)


def token_of(request: Request) -> str:
    """The one bearer token of a request. A cookie is no credential here."""
    fields = request.headers.getlist("authorization")
    if not fields:
        raise AuthenticationError(
            "A bearer token is needed: send Authorization: Bearer TOKEN, for this control plane's audience.",
            code="credential-required",
            headers=challenge.challenge(),
        )
    scheme, _, token = fields[0].partition(" ")
    if len(fields) > 1:
        raise AuthenticationError("Send one Authorization header.", code="credential-ambiguous")
    if scheme.lower() != "bearer":
        raise challenge.required("scheme")
    if not token or " " in token:
        raise challenge.invalid("token-shape")
    return token


def key_of(request: Request) -> str:
    """The API key of a request that brings one, and nothing beside it, in the header that the data path takes it from."""
    fields = request.headers.getlist("x-api-key")
    return fields[0] if len(fields) == 1 and "authorization" not in request.headers else ""


def peer_of(request: Request) -> str:
    """The address at the other end, as the socket has it (no forwarding header is believed)."""
    return request.client.host if request.client else ""


def data_audiences(snapshot: Snapshot) -> tuple[str, ...]:
    """Every audience for which somebody's token opens this gateway's data path."""
    control = snapshot.gateway.control.audiences
    return tuple(sorted({audience for issuer in snapshot.gateway.identity.issuers for audience in issuer.audiences} | set(control)))
