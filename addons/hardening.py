"""Make mitmproxy itself fail closed: no hot reload, no foreign option, no listener of its own, a deadbolt.

The first addon of the chain. It decides nothing about requests; it reads the configuration, prepares the host, and
refuses to start when something is not as it must be. An error that is logged before start-up ends makes mitmdump exit
with code 1, and no listener is bound before that.
"""

import logging

from mitmproxy import connection, ctx, exceptions
from mitmproxy import tls as mitmtls
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import layer

from addons.core.clock import SystemClock
from addons.core.errors import ConfigError
from addons.host import clocks, connections, hook_index, listeners, loghook, options, patches, process, startup, tls, watchdog
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime

logger = logging.getLogger(__name__)


class Hardening:
    """Prepares the host, and guards the gateway's own life."""

    name = "guardhouse-hardening"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def load(self, loader: Loader) -> None:
        """Read the configuration and set the host up. First of all: nothing may be bound."""
        listeners.unbind()
        loader.add_option("guardhouse_policies", str, "", "Where the policies folder of Guardhouse is.")
        try:
            process.harden()
            self.runtime.clock = SystemClock()
            self.read()
            assert self.runtime.snapshot is not None
            options.apply(ctx.options, self.runtime.snapshot.gateway)
            self.runtime.tls_contexts = tls.contexts(self.runtime.snapshot)
            patches.install(self.runtime)
            hook_index.install(self.runtime)
        except (ConfigError, process.NotSafe) as error:
            self.runtime.snapshot = None
            for line in str(error).splitlines():
                logger.error("%s", line)
            raise exceptions.OptionsError(str(error)) from error
        loghook.install(self.runtime)

    def read(self) -> None:
        """Fill the slots that the files fill, and set mitmproxy's options by them."""
        assert self.runtime.clock is not None
        self.runtime.snapshot = startup.read_snapshot(ctx.options.guardhouse_policies, self.runtime.clock)
        self.runtime.secrets, self.runtime.keys = startup.open_secrets(self.runtime.snapshot)

    def configure(self, updated: set[str]) -> None:
        """An option that was harmless at the start stays so."""
        if self.runtime.running and self.name in self.runtime.running:
            self._require_options()

    async def running(self) -> None:
        self._require_options()
        startup.cancel_watchers()
        startup.handle_reload_signal(self.runtime)
        watchdog.start(self.runtime)
        clocks.start(self.runtime)

    def client_connected(self, client: connection.Client) -> None:
        """Only clients of a listener that the file names, and not more of them than it allows."""
        connections.admit(self.runtime, client)

    def client_disconnected(self, client: connection.Client) -> None:
        """What the log said of this connection goes into its facts, for the audit's row."""
        connections.conclude(self.runtime, client)

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Cleartext on a TLS listener, and TLS on a cleartext one, are refused before a byte of it is read as HTTP."""
        connections.require_transport(self.runtime, nextlayer)

    def tls_start_client(self, data: mitmtls.TlsData) -> None:
        """Each listener shows its own certificate, and verifies the client's where the file says so."""
        tls.present(self.runtime, data)

    def tls_start_server(self, data: mitmtls.TlsData) -> None:
        """A service's own authority, where it names one."""
        tls.trust(self.runtime, data)

    def done(self) -> None:
        """The deadbolt: somebody unloads us while the gateway is running, so the process ends."""
        if startup.is_complete() and not ctx.master.should_exit.is_set():
            raise SystemExit(70)

    def _require_options(self) -> None:
        if self.runtime.snapshot is None:
            raise exceptions.OptionsError("the configuration was not read")
        if found := options.problems(ctx.options, self.runtime.snapshot.gateway, startup.own_script(self.runtime)):
            for line in found:
                logger.error("%s", line)
            raise exceptions.OptionsError("; ".join(found))


addons = [guard(Hardening(Runtime()))]
