"""Run by mitmdump in tests: validation and routing, guarded, before an upstream that writes down what it gets.

Configuration comes from the environment (ports only). The last addon puts what policy would match into a header, so that
the upstream holds both readings of one request side by side.
"""

import base64
import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mitmproxy import http

from addons.core import exchange
from addons.core.config import model
from addons.host import gate
from addons.host.fail_closed import chain_of
from addons.routing import Routing
from addons.validation import Validation
from tests import harness

MATCHED = "X-Matched"


def snapshot() -> model.Snapshot:
    cleartext, tls, upstream = (int(os.environ[name]) for name in ("TEST_CLEARTEXT", "TEST_TLS", "TEST_UPSTREAM"))
    certificate = model.Tls(model.Reference("auto", "", "test"))
    return harness.snapshot(
        listeners=(
            model.Listener("cleartext", model.Address("127.0.0.1", cleartext), None, ("crm",)),
            model.Listener("tls", model.Address("127.0.0.1", tls), certificate, ("crm", "echo")),
        ),
        services={
            "crm": model.Service("crm", "http", "http", model.Address("127.0.0.1", upstream)),
            "echo": model.Service(
                "echo", "http", "http", model.Address("127.0.0.1", upstream), hosts=("echo.test",), host_header="as-received"
            ),
            "far": model.Service("far", "http", "http", model.Address("127.0.0.1", upstream), hosts=("far.test",)),
        },
    )


class Witness:
    """Say what policy would match on. Not guarded: it must not decide anything."""

    name = "test-witness"

    def request(self, flow: http.HTTPFlow) -> None:
        record = exchange.read(flow.metadata)
        kept = gate.of(flow)
        if flow.response is not None or record.operation is None:
            rule = kept.refusal.detail if kept.refusal else "none"
            assert flow.response is not None
            flow.response.headers["X-Rule"] = rule
            return
        operation = record.operation
        said = {
            "verb": operation.verb,
            "path": operation.attributes["path"],
            "text": operation.text,
            "service": record.service,
            "body": hashlib.sha256(flow.request.raw_content or b"").hexdigest(),
            "fields": sorted([name.lower().decode("latin-1"), value.decode("latin-1")] for name, value in flow.request.headers.fields),
        }
        flow.request.headers[MATCHED] = base64.b64encode(json.dumps(said).encode()).decode()


runtime = harness.FullRuntime()
runtime.clock = harness.FakeClock()
runtime.snapshot = replace(snapshot())
addons = [*chain_of(runtime, [Validation, Routing]), Witness()]
