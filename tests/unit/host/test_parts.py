"""The host's smaller parts: addresses, log lines, certificates, options, watchdog, reload, fingerprint."""

import asyncio
import io
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy import http
from mitmproxy.options import Options
from mitmproxy.test import taddons

from addons.core.config import model
from addons.core.errors import GuardhouseError, PolicyDeniedError
from addons.core.exchange import Decision, Effect
from addons.host import certificates, connections, departure, gate, listeners, loghook, options, reload
from addons.host.fingerprint import fingerprint
from addons.host.gate import Gate
from addons.host.runtime import Runtime
from addons.host.watchdog import Watchdog
from tests import harness


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("169.254.169.254", 80, "a link-local address"),
        ("fe80::1%eth0", 80, "a link-local address"),
        ("::ffff:169.254.169.254", 80, "a link-local address"),
        ("0.0.0.0", 8444, "not an address of one machine"),
        ("::", 8444, "not an address of one machine"),
        ("224.0.0.1", 80, "not an address of one machine"),
        ("127.0.0.1", 8444, "an address of our own"),
        ("127.9.9.9", 8442, "an address of our own"),
        ("::1", 8444, "an address of our own"),
        ("::ffff:127.0.0.1", 8444, "an address of our own"),
        ("127.0.0.1", 8446, None),
        ("10.0.0.1", 8444, None),
        ("crm.internal", 8444, None),
    ],
)
def test_where_a_service_never_leads(host: str, port: int, why: str | None):
    assert connections.forbidden(host, port, harness.snapshot().gateway) == why


def test_a_listener_on_every_address_is_ours_on_every_address():
    bind = model.Address("0.0.0.0", 8442)
    gateway = harness.snapshot(listeners=(model.Listener("all", bind, None, ("crm",)),)).gateway
    assert connections.forbidden("10.1.2.3", 8442, gateway) == "an address of our own"


def record_of(message: str, level: int = logging.WARNING, name: str = "mitmproxy.proxy.server", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "x.py", 1, message, (), None)
    for key, value in extra.items():
        setattr(made, key, value)
    return made


def printed(record: logging.LogRecord, runtime: Runtime | None = None) -> str:
    out = io.StringIO()
    loghook.LogHook(runtime or Runtime(), out).emit(record)
    return out.getvalue()


def test_bytes_of_peers_are_not_printed_and_their_class_is_kept():
    runtime = Runtime()
    line = printed(record_of("Client closed connection before completing request headers: b'GET /SECRET'", client=("10.0.0.1", 5)), runtime)
    assert "SECRET" not in line
    assert "left-in-headers" in line
    assert runtime.said == {("10.0.0.1", 5): "left-in-headers"}


def test_mitmproxys_chatter_is_not_printed():
    assert printed(record_of("client connect", logging.INFO, client=("10.0.0.1", 5))) == ""


def test_control_characters_are_escaped_and_exceptions_lose_their_message():
    try:
        raise ValueError("SECRET")
    except ValueError:
        record = logging.LogRecord("addons.x", logging.WARNING, "x.py", 1, "odd \x1b[31m", (), sys.exc_info())
    line = printed(record)
    assert "SECRET" not in line
    assert "\x1b" not in line
    assert "ValueError at test_parts.py:" in line


def test_foreign_text_goes_through_the_redactor():
    class Redactor:
        def redact_text(self, text: str, service: str | None) -> str:
            return text.replace("alice@example.org", "(masked)")

    runtime = Runtime()
    runtime.redactor = Redactor()  # type: ignore[assignment]
    assert "(masked)" in printed(record_of("something about alice@example.org", name="uvicorn.error"), runtime)


def test_certificates_are_made_once_and_again_when_hosts_change(tmp_path: Path):
    first = certificates.ensure(tmp_path, "listener-local", ["crm.example"])
    pem = first.pem_path.read_bytes()
    assert certificates.ensure(tmp_path, "listener-local", ["crm.example"]).pem_path.read_bytes() == pem
    assert certificates.ensure(tmp_path, "listener-local", ["other.example"]).pem_path.read_bytes() != pem
    leaf, ca = x509.load_pem_x509_certificates(first.pem_path.read_bytes())
    leaf.verify_directly_issued_by(ca)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "other.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert first.pem_path.stat().st_mode & 0o777 == 0o600
    assert first.pem_path.parent.stat().st_mode & 0o777 == 0o700


def test_a_broken_certificate_file_is_made_again(tmp_path: Path):
    made = certificates.ensure(tmp_path, "x", [])
    made.pem_path.write_text("nonsense")
    assert len(x509.load_pem_x509_certificates(certificates.ensure(tmp_path, "x", []).pem_path.read_bytes())) == 2


async def test_options_are_set_once_and_judged_by_name():
    gateway = harness.snapshot().gateway
    with taddons.context(loadcore=True) as context:
        from mitmproxy.addons import default_addons

        context.master.addons.add(*[addon for addon in default_addons() if addon.__class__.__name__ not in ("Core", "ScriptLoader")])
        known: Options = context.options
        known.add_option("scripts", list, [], "scripts") if "scripts" not in known else None
        options.apply(known, gateway)
        assert known.mode == listeners.modes(gateway)
        assert known.connection_strategy == "lazy"
        assert options.problems(known, gateway, None) == []
        known.update(ssl_insecure=True)
        assert [line.split(":")[0] for line in options.problems(known, gateway, None)] == ["ssl_insecure"]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--mode", "regular"], True),
        (["-m", "regular"], True),
        (["--mode=regular"], True),
        (["--set", "mode=regular"], True),
        (["--set=mode=regular"], True),
        (["-s", "stack.py"], False),
        (["--set", "confdir=regular"], False),
    ],
)
def test_the_default_mode_is_noticed_when_somebody_asks_for_it(arguments: list[str], asked: bool):
    assert options.asks_for_default_mode(arguments) is asked


async def test_a_stalled_loop_is_seen_with_its_stack():
    watchdog = Watchdog(Runtime(), warn=0.1, stop=60.0, tick=0.02)
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # the fault
    await watchdog.close()
    assert len(watchdog.stalls) == 1
    assert "test_a_stalled_loop_is_seen_with_its_stack" in watchdog.stalls[0]


def test_a_loop_that_stays_stalled_ends_the_process():
    code = (
        "import asyncio, time\nfrom addons.host.runtime import Runtime\nfrom addons.host.watchdog import Watchdog\n"
        "async def main():\n    Watchdog(Runtime(), warn=0.1, stop=0.3, tick=0.02)\n    await asyncio.sleep(0.05)\n    time.sleep(30)\nasyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert ran.returncode == 70
    assert "time.sleep" in ran.stderr or "stood still" in ran.stderr


def test_a_reload_does_not_change_what_is_bound_or_kept():
    old = harness.snapshot().gateway
    assert reload.fixed_changes(old, old) == []
    assert reload.fixed_changes(old, replace(old, listeners=(), forward_baggage=True)) == ["listeners"]


def test_the_fingerprint_sees_every_part_but_what_was_injected():
    flow = harness.live_flow("POST", "/a?b=1", [("X-One", "1")], b"body")
    before = fingerprint(flow, {})
    flow.request.headers["authorization"] = "Bearer upstream"
    assert fingerprint(flow, {"authorization": ""}) == before
    assert fingerprint(flow, {}) != before
    for change in (
        lambda request: setattr(request, "method", "PUT"),
        lambda request: setattr(request, "path", "/a?b=2"),
        lambda request: setattr(request, "port", 1),
        lambda request: setattr(request, "scheme", "https"),
        lambda request: request.headers.add("X-One", "1"),
        lambda request: request.headers.add("X-One2", ""),
        lambda request: setattr(request, "trailers", http.Headers([(b"x", b"y")])),
        lambda request: setattr(request, "authority", "other"),
        lambda request: setattr(request, "http_version", "HTTP/1.0"),
    ):
        other = harness.live_flow("POST", "/a?b=1", [("X-One", "1")], b"body")
        change(other.request)
        assert fingerprint(other, {}) != before


def test_a_changed_body_keeps_the_door_shut():
    flow = harness.live_flow("POST", body=b"body")
    door = Gate(None, fingerprint=fingerprint(flow, {}), body=flow.request.raw_content)
    gate.put(flow, door)
    departure.require_unchanged(flow, door)
    flow.request.content = b"jody"
    with pytest.raises(GuardhouseError):
        departure.require_unchanged(flow, door)


def test_the_newest_rules_may_permit_no_less():
    allow, masked = Decision(Effect.ALLOW), Decision(Effect.ALLOW, masks=("pii",))
    departure.require_no_less(allow, allow)
    departure.require_no_less(masked, allow)
    with pytest.raises(PolicyDeniedError):
        departure.require_no_less(allow, Decision(Effect.DENY))
    for newest in (masked, Decision(Effect.HOLD, approvals=("one",))):
        with pytest.raises(GuardhouseError):
            departure.require_no_less(allow, newest)
