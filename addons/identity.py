"""Say who asks, and take the caller's credential out of the request.

Stands after `routing` (what a service accepts decides which cookies stay) and before `session` and `policy`, which need
a principal. The credential, and every header by which upstreams believe a gateway, are removed whatever the outcome.
At `request`, when the whole body has trickled in, the identity is looked at again.

What makes a principal is decided in `addons.core.identity`, what is removed in `addons.core.services.credentials.strip`.
Loaded alone it has an empty Runtime, so it refuses everything.
"""

from collections.abc import Mapping
from typing import Any

from mitmproxy import http

from addons.core import exchange
from addons.core.config.model import Accept, Snapshot
from addons.core.errors import AuthenticationError, GuardhouseError
from addons.core.exchange import Exchange
from addons.core.identity import key_rows, metadata, replay_of
from addons.core.identity.api_keys import ApiKeys
from addons.core.identity.jwks import KeySets
from addons.core.identity.presented import pick
from addons.core.identity.verify import Verifier
from addons.core.services.credentials import strip
from addons.host import socket_clock, socket_steps
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime


class Identity:
    name = "guardhouse-identity"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def running(self) -> None:
        runtime = self.runtime
        if runtime.snapshot is None or runtime.clock is None or runtime.keys is None:
            return
        keys = ApiKeys(runtime.clock, runtime.keys.derive("api-key-pepper"), self._key_row, self._note_use)
        verifier = Verifier(runtime.clock, KeySets(runtime.clock), keys)
        await verifier.start(runtime.snapshot)
        runtime.identity = verifier
        runtime.reloaders.append(verifier.follow)
        runtime.on_close("identity", verifier.close)

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        snapshot, record = self.runtime.snapshot_of(flow), exchange.read(flow.metadata)
        replays = flow.request.headers.get_all(replay_of.HEADER)
        try:
            presented = pick(flow.request.headers.items(multi=True), flow.request.path.partition("?")[2])
            record.principal = await self._verifier().verify(presented, snapshot, listener_of(flow), peer_of(flow))
            replay = replay_of.decide(replays, record.principal, snapshot.gateway.control.roles.get("investigator", ()))
            record.replay_of = replay.flow_id
            record.notes.extend(note for note in (replay.note,) if note is not None)
        except AuthenticationError as error:
            metadata.point(error, snapshot, record.service)
            raise
        finally:
            record.notes.extend(strip_headers(flow.request, accepted(snapshot, record)))
            exchange.write(flow.metadata, record)

    def request(self, flow: http.HTTPFlow) -> None:
        snapshot, record = self.runtime.snapshot_of(flow), exchange.read(flow.metadata)
        if record.principal is None:
            raise GuardhouseError(detail="no principal")
        try:
            self._verifier().still_good(record.principal, snapshot)
        except AuthenticationError as error:
            metadata.point(error, snapshot, record.service)
            raise
        frame(flow.request)
        if flow.request.trailers is not None:
            stripped = strip.strip(flow.request.trailers.fields)
            flow.request.trailers.fields = stripped.fields
            record.notes.extend(stripped.notes)
            exchange.write(flow.metadata, record)

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        socket_clock.watch(self.runtime, flow)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        socket_steps.identify(self.runtime, flow)

    def _verifier(self) -> Verifier:
        if self.runtime.identity is None:
            raise GuardhouseError(detail="no verifier")
        return self.runtime.identity

    async def _key_row(self, key_id: str) -> Mapping[str, Any] | None:
        if self.runtime.store is None:
            raise GuardhouseError(detail="no store")
        rows = await self.runtime.store.rows(key_rows.TABLE, {"id": key_id}, limit=1)
        return rows[0] if rows else None

    async def _note_use(self, key_id: str, at_us: int) -> None:
        if self.runtime.store is not None:
            await self.runtime.store.move([key_rows.used(key_id, at_us)])


def strip_headers(request: http.Request, accept: Accept) -> tuple[str, ...]:
    """Remove what may not go upstream; return the notes."""
    stripped = strip.strip(request.headers.fields, accept.cookies, accept.method_override)
    request.headers.fields = stripped.fields
    return stripped.notes


def frame(request: http.Request) -> None:
    """Give a whole body its length. `Transfer-Encoding` is hop-by-hop, and an HTTP/2 body may have had neither: to HTTP/1.1 that would be no body."""
    if not request.raw_content or request.trailers is not None:
        return
    request.headers.pop("transfer-encoding", None)
    request.headers["content-length"] = str(len(request.raw_content))


def accepted(snapshot: Snapshot, record: Exchange) -> Accept:
    """What the service of this request accepts; nothing special when there is none."""
    service = snapshot.gateway.services.get(record.service or "")
    return Accept() if service is None else service.accept


def listener_of(flow: http.HTTPFlow) -> str:
    """The address that was listened on: part of the key of every remembered verdict."""
    return str(flow.client_conn.sockname)


def peer_of(flow: http.HTTPFlow) -> str:
    """The caller's address, without the port."""
    return str(flow.client_conn.peername[0])


addons = [guard(Identity(Runtime()))]
