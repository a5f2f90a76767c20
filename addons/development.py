"""Run the example's issuer and its upstream beside the gateway, when (and only when) `policies/` says so.

Stands before `identity`, so that the issuer answers when its keys are first fetched. With the block gone from the
configuration nothing starts; with it, the configuration's own warning says so at every start. A reload does not change
the block. What the two servers do stands in `addons.core.development`.
"""

from addons.core.config.model import Development as Terms
from addons.core.config.model import Snapshot
from addons.core.development import example_service, issuer
from addons.core.development.serve import serve
from addons.core.services.credentials.inject import injection_of
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime


class Development:
    name = "guardhouse-development"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def running(self) -> None:
        snapshot = self.runtime.snapshot
        if snapshot is None or snapshot.gateway.development is None:
            return
        terms = snapshot.gateway.development
        await self._start_issuer(snapshot, terms)
        await self._start_example(terms)

    async def _start_issuer(self, snapshot: Snapshot, terms: Terms) -> None:
        for configured in snapshot.gateway.identity.issuers:
            if configured.preset == "development":
                minting = issuer.DevelopmentIssuer(terms, configured.issuer, configured.audiences)
                served = await serve(issuer.make_app(minting, str(terms.issuer)), terms.issuer)
                self.runtime.on_close("development issuer", served.close)
                return

    async def _start_example(self, terms: Terms) -> None:
        example = example_service.ExampleService(lambda: self._expected(terms))
        served = await serve(example_service.make_app(example), terms.example_service)
        self.runtime.on_close("example service", served.close)

    def _expected(self, terms: Terms) -> str | None:
        """What the gateway injects for the example service; None when it is configured to inject nothing."""
        snapshot, secrets = self.runtime.snapshot, self.runtime.secrets
        if snapshot is None or secrets is None:
            return ""
        for service in snapshot.gateway.services.values():
            if service.address == terms.example_service and service.credential is not None:
                return injection_of(service.credential, secrets.resolve(service.credential.value).reveal()).value
        return None


addons = [guard(Development(Runtime()))]
