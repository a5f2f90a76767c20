"""A stop does not wait for a stream that would never end: it is cut visibly, and recorded as interrupted."""

import threading
import time

import httpx
import pytest

from addons.core.audit.reader import Reader
from tests.parts.gateway import Gateway
from tests.parts.processes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_stop_cuts_an_endless_stream(tmp_path):
    gateway = Gateway(tmp_path).start()
    headers = {"Authorization": f"Bearer {gateway.token('planner')}", "X-Purpose": "demo/tour"}
    got: list[str] = []

    def read() -> None:
        try:
            with httpx.stream("GET", gateway.cleartext + "/events", headers=headers, trust_env=False, timeout=60) as answer:
                got.extend(line for line in answer.iter_lines())
        except httpx.TransportError as error:
            got.append(type(error).__name__)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wait_until(lambda: b"ResponseStarted" in seen(gateway), 20, "the stream begins")
    begun = time.monotonic()
    assert gateway.stop() == 0, gateway.output[-3000:]
    assert time.monotonic() - begun < 15  # limits.drain is 20 s
    reader.join(10)
    assert got[-1] in ("RemoteProtocolError", "ReadError")
    with Reader.open(gateway.store) as store:
        ends = [event for event in store.events("seq > 0", ()) if event.stage == "Interrupted"]
    assert [event.fields["reason"] for event in ends] == [b"shutting-down"]
    assert gateway.cli("verify").status == 0


def seen(gateway: Gateway) -> bytes:
    with Reader.open(gateway.store) as store:
        return b" ".join(event.stage.encode() for event in store.events("seq > 0", ()))
