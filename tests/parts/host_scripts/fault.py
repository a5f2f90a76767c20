"""A further script, vouched for by `extra_scripts`, that puts a fault into any hook of any step of the real stack.

A flow's hook fails when the request says so (`X-Fault: guardhouse-policy.request=Hang`); a connection's, when the client
comes from the address that GUARDHOUSE_TEST_PEERS (JSON) gives to the fault.
"""

import json
import os

from mitmproxy import connection, ctx
from mitmproxy import flow as mitmflow

from addons.host.fail_closed import Guarded, hooks_of
from tests.parts.host_faults import failing

PEERS = json.loads(os.environ.get("GUARDHOUSE_TEST_PEERS", "{}"))


def asked(arguments) -> str:
    """Which fault this call is to have."""
    about = arguments[0]
    if isinstance(about, mitmflow.Flow):
        return about.request.headers.get("x-fault", "")
    if isinstance(about, connection.Client):
        return PEERS.get(about.peername[0], "")
    context = getattr(about, "context", None)
    client = context.client if context is not None else about.client
    return PEERS.get(client.peername[0], "")


def running() -> None:
    for addon in list(ctx.master.addons.lookup.values()):
        if isinstance(addon, Guarded):
            for hook in hooks_of(addon.addon):
                setattr(addon, hook, addon._closed(hook, failing(f"{addon.name}.{hook}", getattr(addon.addon, hook), asked)))
    ctx.master.addons.guardhouse_index._entries.clear()
