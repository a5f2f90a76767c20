"""The control plane of `tests.parts.control` served over TLS in a thread of its own, for clients that block."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from addons.core.config import model
from addons.host import certificates
from addons.host.asgi import Serving
from tests import harness
from tests.parts.control import Bench
from tests.parts.processes import free_ports


@contextmanager
def served(folder: Path, **parts: object) -> Iterator[tuple[Bench, dict[str, str]]]:
    """Yield the bench and the environment in which `guardhouse` finds it. The token is left to the test."""
    port = free_ports(1)[0]
    base = harness.snapshot(home=folder).gateway.control
    control = replace(base, bind=model.Address("127.0.0.1", port), public_url=f"https://127.0.0.1:{port}")
    bench = Bench(snapshot=harness.snapshot(home=folder, control=control), **parts)  # type: ignore[arg-type]
    certificate = certificates.ensure(folder / "state", "control", ["127.0.0.1"])
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = Serving(bench.app, control.bind, certificate.pem_path)
    try:
        asyncio.run_coroutine_threadsafe(serving.start(), loop).result(10)
        yield bench, {"GUARDHOUSE_URL": control.public_url, "GUARDHOUSE_CA": str(certificate.ca_path)}
    finally:
        asyncio.run_coroutine_threadsafe(serving.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
