"""Put the service's own credential into the request: the last thing that happens to it.

Stands after `approval` (nobody's secret is fetched for what is not allowed) and before departure, which checks that
exactly what was injected is there, and only then uses up an approval: a secret that cannot be had burns none.

How a credential becomes a header is decided in `addons.core.services.credentials`. Loaded alone it has an empty
Runtime, so it refuses everything.
"""

import asyncio

from mitmproxy import http

from addons.core import exchange
from addons.core.config.model import Service
from addons.core.errors import CredentialError
from addons.core.services.credentials.inject import Injection, inject, injection_of
from addons.core.services.credentials.scrub import forms
from addons.core.services.credentials.target import check
from addons.host import gate
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime

SLOW = frozenset({"file", "exec"})  # may wait for a disk or a program: resolved in a thread


class Credentials:
    name = "guardhouse-credentials"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def request(self, flow: http.HTTPFlow) -> None:
        record = exchange.read(flow.metadata)
        service = self.runtime.snapshot_of(flow).gateway.services[record.service or ""]
        if service.credential is None:
            return
        check(service, flow.request.scheme, flow.request.host, flow.request.port)
        injection = await self._injection(service)
        flow.request.headers.fields = inject(flow.request.headers.fields, injection)
        kept = gate.of(flow)
        kept.injected = {injection.name.lower(): injection.value}
        kept.scrub = forms(injection.value)

    async def _injection(self, service: Service) -> Injection:
        credential, secrets = service.credential, self.runtime.secrets
        if credential is None or secrets is None:
            raise CredentialError(detail="no secrets")
        if credential.value.scheme in SLOW:
            secret = await asyncio.to_thread(secrets.resolve, credential.value)
        else:
            secret = secrets.resolve(credential.value)
        return injection_of(credential, secret.reveal())


addons = [guard(Credentials(Runtime()))]
