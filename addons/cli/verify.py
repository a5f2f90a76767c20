"""`guardhouse verify`: prove that the audit log is whole, or that claimed bytes are those that were sent or received.

Works on files alone: no gateway, no role and no reason is needed, and nothing is recorded. Its exit codes differ from the
other verbs': 0 sound, 1 tampered (or the claimed bytes are refuted), 2 not provably complete, 3 cannot read, 64 usage.
"""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from addons.cli.console import UNREACHABLE, escape, json_option, note, print_facts, print_json
from addons.core.audit.keys import PIN_FILE
from addons.core.audit.report import Report
from addons.core.audit.store import StoreError
from addons.core.audit.traffic import proof
from addons.core.audit.verify import MAX_ANCHOR_LAG, Claim, verify
from addons.core.clock import SystemClock
from addons.core.config.load import find_policies, load
from addons.core.config.model import Snapshot
from addons.core.errors import ConfigError, GuardhouseError
from addons.core.services.credentials.references import Secrets, open_keys

USAGE = 64
SHOWN = 20


class Misused(click.UsageError):
    """A usage error, by the exit code that is left for it."""

    exit_code = USAGE


class Verdicts(click.Command):
    """A command whose exit code 2 has a meaning, so that usage errors exit 64."""

    def make_context(self, *args: Any, **values: Any) -> click.Context:
        try:
            return super().make_context(*args, **values)
        except click.UsageError as error:
            raise Misused(error.message, error.ctx) from error


@click.command(
    cls=Verdicts,
    epilog="""\b
Exit codes: 0 sound, 1 tampered or refuted, 2 not provably complete, 3 cannot read, 64 usage.
\b
Examples:
  guardhouse verify
  guardhouse verify copy/audit.db --pin log.pin --anchor witness.notes --json
  guardhouse verify --against-bytes answer.json     # was exactly this sent or received?
""",
)
@click.argument("database", required=False, type=click.Path(path_type=Path))
@click.option("--pin", type=click.Path(path_type=Path), help="The pinned key. Default: log.pin of the state folder.")
@click.option("--anchor", "anchors", multiple=True, type=click.Path(path_type=Path), help="A witness file; may be given more than once.")
@click.option(
    "--against-bytes", "claimed", type=click.File("rb"), help="Prove or refute that these bytes were sent or received (needs the keys)."
)
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@json_option
def command(database: Path | None, pin: Path | None, anchors: tuple[Path, ...], claimed: Any, policies: str | None, as_json: bool) -> None:
    """Prove that the audit log is whole: every event, every checkpoint, the pinned key and the anchors."""
    snapshot = site(policies, is_needed=database is None or claimed is not None)
    if snapshot is not None:
        database = database or snapshot.gateway.audit.database
        pin = pin or snapshot.gateway.state / PIN_FILE
        anchors = anchors or snapshot.gateway.audit.anchor_files
    assert database is not None
    try:
        report = verify(database, pin=pin, anchors=anchors, claim=claim_of(snapshot, claimed), max_lag=lag_of(snapshot))
    except StoreError as error:
        cannot(str(error), as_json)
    print_json(report.to_plain()) if as_json else show(report)
    sys.exit(report.exit_code)


def site(policies: str | None, *, is_needed: bool) -> Snapshot | None:
    """Load the site's files, for the places of database, pin and anchors. Without them a bare file can still be verified."""
    try:
        return load(find_policies(policies, os.environ, Path(__file__).parents[2]), clock_now=SystemClock().now(), environ=os.environ)
    except ConfigError as error:
        if is_needed:
            cannot(f"the policy files cannot be used: {error}", as_json=False)
        note("No usable policies folder: pin and anchors are only those that were named.")
        return None


def lag_of(snapshot: Snapshot | None) -> float:
    """How old the newest anchor may be: six intervals, as the alert has it."""
    return MAX_ANCHOR_LAG if snapshot is None else max(MAX_ANCHOR_LAG, 6 * snapshot.gateway.audit.anchor_every)


def claim_of(snapshot: Snapshot | None, claimed: Any) -> Claim | None:
    """Return the claim as the log would have written it. The key never leaves this process."""
    if claimed is None or snapshot is None:
        return None
    secrets = Secrets(snapshot.gateway.state, os.environ)
    root = snapshot.gateway.keys["root"]
    try:
        if root.scheme == "auto" and not secrets.path_of(root).exists():
            cannot("the root key is not here, and only who has it can compare bytes", as_json=False)
        key = open_keys(snapshot, secrets).derive("evidence")
    except GuardhouseError as error:
        cannot(str(error), as_json=False)
    told = proof(key, claimed.read())
    return Claim(told["hmac"], told["bytes"])


def show(report: Report) -> None:
    """Print the report for people."""
    facts: dict[str, object] = {
        "verdict": report.verdict,
        "log": report.origin,
        "events": report.events,
        "checkpoints": report.checkpoints,
        "anchors": report.anchors,
        "root": report.root,
        "still open": report.open_flows or None,
        "bytes bound by": None if not report.proven else "events " + ", ".join(map(str, report.proven[:SHOWN])),
    }
    print_facts(facts)
    for finding in report.findings[:SHOWN]:
        where = f" event {finding.seq}:" if finding.seq is not None else ""
        click.echo(escape(f"{finding.level}:{where} {finding.text} [{finding.code}]"))
    total = sum(report.counts.values())
    if total > SHOWN:
        click.echo(f"... and {total - SHOWN} more findings (--json shows up to 1000 of each level)")


def cannot(text: str, as_json: bool) -> NoReturn:
    """End with 3: nothing can be said about the log."""
    if as_json:
        print_json({"verdict": "cannot read", "exit_code": UNREACHABLE, "error": text})
    else:
        note(text)
    sys.exit(UNREACHABLE)
