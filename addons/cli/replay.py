"""`guardhouse replay`: serve recorded answers without any upstream, or send recorded requests to the gateway again.

Both run mitmproxy's own replay in a mitmdump of their own; what stands around it is in `addons.host.sandbox` and
`addons.host.replay`. A file holds masked content only, and neither mode ever contacts a recorded host.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from mitmproxy import http
from mitmproxy.io import FlowWriter

from addons.cli.client import CA_FILE, snapshot_of
from addons.cli.console import AnswerIsNo, CannotRead, escape, json_option, print_json, print_table
from addons.host import flowfile, replay, sandbox

HOST_FOLDER = Path(replay.__file__).parent
NOWHERE = "reverse:http://127.0.0.1:1"  # a reverse proxy to a closed port: nothing answers there
MARK = b"[MASKED:"


@click.group()
def command() -> None:
    """Replay recorded flows with mitmproxy's own replay.

    \b
    Examples:
      guardhouse export --format flows 'service:crm since:1h' -o case.flows
      guardhouse replay serve case.flows --port 8500
      guardhouse replay send case.flows --purpose demo/tour --go
    """


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="Where the sandbox listens on 127.0.0.1.")
def serve(file: Path, port: int) -> None:
    """Answer requests from FILE, with no upstream at all, until Ctrl-C.

    What is not in the file gets 404. Bodies are the masked ones that the caller's answer had in the store.

    \b
    Example:
      guardhouse replay serve case.flows --port 8500
      curl http://127.0.0.1:8500/customers
    """
    flows = [flow for flow in _read(file) if sandbox.prepare(flow)]
    if not flows:
        raise AnswerIsNo(f"{file} holds no recorded answer, so there is nothing to serve")
    with tempfile.TemporaryDirectory(prefix="guardhouse-replay-") as folder:
        prepared = _write(Path(folder) / "prepared.flows", flows)
        masked = any(MARK in (flow.request.raw_content or b"") for flow in flows)
        click.echo(f"{len(flows)} recorded answers at http://127.0.0.1:{port} (no upstream; Ctrl-C ends)", err=True)
        raise SystemExit(_run(_serve_arguments(prepared, port, folder, masked), {}))


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--gateway", default=None, help="The gateway's listener. Default: the first listener of the policy files.")
@click.option("--purpose", default=None, help="Why: sent as X-Purpose. Default: the recorded purpose of each flow.")
@click.option("--go", is_flag=True, help="Send. Without it, only say what would be sent.")
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@json_option
def send(file: Path, gateway: str | None, purpose: str | None, go: bool, policies: str | None, as_json: bool) -> None:
    """Send the recorded requests of FILE to the gateway again, under your own identity (GUARDHOUSE_TOKEN).

    Only GET, HEAD and OPTIONS are sent; policy, approval, masking and audit apply as to any request of yours, and the
    events name the flow that was replayed. Recorded credentials and hosts are dropped.

    \b
    Example:
      GUARDHOUSE_TOKEN=$(guardhouse dev token carol) guardhouse replay send case.flows --purpose demo/tour --go
    """
    site = _Site.find(gateway, policies)
    flows = _read(file)
    recorded = {flow.id: flow.response.status_code if flow.response else None for flow in flows}
    rows = [_plan(flow, recorded[flow.id]) for flow in flows]
    if go:
        if not os.environ.get("GUARDHOUSE_TOKEN"):
            raise click.UsageError("GUARDHOUSE_TOKEN is not set: a replay is sent under your own name")
        chosen = [flow for flow, row in zip(flows, rows, strict=True) if row["sends"]]
        answers = _send(chosen, site, purpose)
        for row in rows:
            row["status"] = answers.get(row["flow"])
    _print(rows, go, as_json)


class _Site:
    """Where the gateway listens, which host names which service, and whom to trust."""

    def __init__(self, gateway: str, hosts: dict[str, str], ca: Path | None, purpose_header: str) -> None:
        self.gateway, self.hosts, self.ca, self.purpose_header = gateway, hosts, ca, purpose_header

    @classmethod
    def find(cls, gateway: str | None, policies: str | None) -> "_Site":
        snapshot = snapshot_of(policies)
        listener = snapshot.gateway.listeners[0]
        url = gateway or f"{'https' if listener.tls else 'http'}://{listener.bind}"
        hosts = {name: service.hosts[0] for name, service in snapshot.gateway.services.items() if service.hosts}
        ca = snapshot.gateway.state / CA_FILE
        return cls(url, hosts, ca if ca.exists() else None, snapshot.gateway.purpose.header)


def _read(file: Path) -> list[http.HTTPFlow]:
    skipped: list[flowfile.Skipped] = []
    try:
        flows = list(flowfile.read_flows(file, skipped))
    except (OSError, ValueError) as error:
        raise CannotRead(f"{file} cannot be read: {error}") from error
    for one in skipped:
        click.echo(f"left out: {escape(one.what)} ({one.why})", err=True)
    if not flows:
        raise AnswerIsNo(f"{file} holds no flow that can be read")
    return flows


def _write(target: Path, flows: Sequence[http.HTTPFlow]) -> Path:
    with target.open("wb") as file:
        writer = FlowWriter(file)
        for flow in flows:
            writer.add(flow)
    return target


def _plan(flow: http.HTTPFlow, recorded: int | None) -> dict[str, Any]:
    sends = flow.request.method in replay.SAFE_METHODS and flow.websocket is None and flow.request.raw_content is not None
    why = "" if sends else "a replay does not write"
    return {"flow": flow.id, "method": flow.request.method, "path": flow.request.path, "recorded": recorded, "sends": sends, "why": why}


def _send(flows: Sequence[http.HTTPFlow], site: _Site, purpose: str | None) -> dict[str, int]:
    if not flows:
        return {}
    for flow in flows:
        facts = _facts(flow)
        headers = {site.purpose_header: purpose or str(facts.get("guardhouse-purpose") or "")}
        replay.retarget(flow, site.gateway, site.hosts.get(str(facts.get("guardhouse-service"))), {k: v for k, v in headers.items() if v})
    with tempfile.TemporaryDirectory(prefix="guardhouse-replay-") as folder:
        prepared = _write(Path(folder) / "prepared.flows", flows)
        arguments = ["-q", "-n", "--set", f"confdir={folder}", "-C", str(prepared), "-s", str(HOST_FOLDER / "replay.py")]
        if site.ca is not None:
            arguments += ["--set", f"ssl_verify_upstream_trusted_ca={site.ca}"]
        environment = {"GUARDHOUSE_REPLAY_GATEWAY": site.gateway}
        done = subprocess.run(_mitmdump(arguments), env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {str(line["flow"]): int(line["status"]) for line in lines}


def _facts(flow: http.HTTPFlow) -> dict[str, Any]:
    try:
        facts = json.loads(flow.comment)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _serve_arguments(prepared: Path, port: int, folder: str, masked: bool) -> list[str]:
    options = {
        "confdir": folder,
        "listen_host": "127.0.0.1",
        "listen_port": str(port),
        "server_replay_extra": "404",  # the default would forward what is not recorded
        "server_replay_reuse": "true",
        "server_replay_refresh": "false",
        "server_replay_ignore_host": "true",
        "server_replay_ignore_port": "true",
        "server_replay_ignore_content": "true" if masked else "false",
        "connection_strategy": "lazy",
        "keepserving": "true",
    }
    arguments = ["-q", "--mode", NOWHERE, "--server-replay", str(prepared), "-s", str(HOST_FOLDER / "sandbox.py")]
    for name, value in options.items():
        arguments += ["--set", f"{name}={value}"]
    return arguments


def _mitmdump(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", *arguments]


def _run(arguments: Sequence[str], environment: dict[str, str]) -> int:
    with subprocess.Popen(_mitmdump(arguments), env={**os.environ, **environment}) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            return 0


def _print(rows: Sequence[dict[str, Any]], sent: bool, as_json: bool) -> None:
    if as_json:
        for row in rows:
            print_json(row)
        return
    columns = ["flow", "method", "path", "recorded", "now" if sent else "would be sent"]
    cells = [[r["flow"], r["method"], r["path"], r["recorded"], _verdict(r, sent)] for r in rows]
    print_table(columns, cells)
    if not sent:
        click.echo("Nothing was sent. Add --go to send what is marked yes.", err=True)


def _verdict(row: dict[str, Any], sent: bool) -> str:
    if not row["sends"]:
        return row["why"] or "no"
    return str(row.get("status")) if sent else "yes"
