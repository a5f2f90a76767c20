"""`guardhouse doctor`: look at this installation and explain what is wrong, and what to do about it.

Each check is a function that returns findings; a finding says what was looked at, whether it is well, and in words what
to do. Nothing is changed, and no secret is read: of a key file only owner and mode are looked at.
"""

import importlib.metadata
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from addons.cli.canary import Options, canary_options, run
from addons.cli.client import CA_FILE, Unable, open_client
from addons.cli.console import NO, escape, json_option, print_json
from addons.core.clock import SystemClock
from addons.core.config.load import find_policies, load
from addons.core.config.model import Address, Snapshot
from addons.core.errors import ConfigError

MITMPROXY = "12.2.3"
PYTHONS = ((3, 12), (3, 13))
DISK_WARN = 256 << 20  # bytes; the log refuses unauthenticated events below a quarter of it
MARKS = {"ok": ("ok", "green"), "note": ("note", "cyan"), "warning": ("warning", "yellow"), "bad": ("BAD", "red")}
KEY_LOGS = ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: str  # ok | note | warning | bad
    says: str


@click.command()
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@canary_options
@json_option
def command(policies: str | None, canary: bool, as_json: bool, **options: Any) -> None:
    """Check versions, policy files, state folder, ports, disk and patches, and explain what is wrong.

    Exit code 0 when the gateway can run (or runs), 1 when something is bad.

    With --canary: plant made-up secrets and personal values through the running gateway, under GUARDHOUSE_TOKEN, and look
    for them in all it left behind. Exit code 0 when none was found, 1 when one was (never printed), 3 when unreachable.

    \b
    Examples:
      guardhouse doctor
      guardhouse doctor --policies /etc/guardhouse/policies --json
      guardhouse doctor --canary --log gateway.log
    """
    if canary:
        run(Options(policies, **options), as_json)
        return
    findings = list(examine(policies))
    for finding in findings:
        if as_json:
            print_json(asdict(finding))
            continue
        word, colour = MARKS[finding.state]
        first, *rest = escape(finding.says, keep="\n").split("\n")
        click.echo(click.style(word.rjust(7), fg=colour, bold=True) + f"  {finding.what}: {first}")
        for line in rest:
            click.echo(" " * 11 + line)
    if any(finding.state == "bad" for finding in findings):
        sys.exit(NO)


def examine(policies: str | None) -> Iterator[Finding]:
    """All findings, in the order in which to read them."""
    yield from versions()
    yield from environment()
    yield from patches()
    snapshot: Snapshot | None = None
    for made in policy_files(policies):
        if isinstance(made, Finding):
            yield made
        else:
            snapshot = made
    if snapshot is not None:
        yield from state_folder(snapshot.gateway.state)
        yield from store(snapshot.gateway.audit.database)
        yield from running(snapshot)
        if not any("retention" in warning for warning in snapshot.warnings):
            yield Finding("retention", "note", "retention.yaml is checked and not carried out yet: nothing is removed, watch the disk.")


def versions() -> Iterator[Finding]:
    """Python and mitmproxy: the patches are written for exactly one version."""
    ours = sys.version_info[:2]
    state = "ok" if ours in PYTHONS else "bad"
    yield Finding("python", state, platform.python_version() + ("" if state == "ok" else "; Guardhouse runs on 3.12 and 3.13"))
    try:
        found = importlib.metadata.version("mitmproxy")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("mitmproxy", "bad", f"not installed; pip install mitmproxy=={MITMPROXY}")
        return
    says = found if found == MITMPROXY else f"{found}; Guardhouse patches and runs {MITMPROXY} only: pip install mitmproxy=={MITMPROXY}"
    yield Finding("mitmproxy", "ok" if found == MITMPROXY else "bad", says)


def environment() -> Iterator[Finding]:
    """What would make the start refuse, or a verb of this command line fail."""
    for name in KEY_LOGS:
        if os.environ.get(name):
            yield Finding(
                "environment",
                "bad",
                f"{name} is set: it writes down the keys of every TLS connection, and the gateway refuses to start. Unset it.",
            )
    if not os.environ.get("GUARDHOUSE_TOKEN"):
        yield Finding("environment", "note", "GUARDHOUSE_TOKEN is not set; search, show, export and approvals need it.")


def patches() -> Iterator[Finding]:
    """The functions of mitmproxy that we replace are those we know."""
    try:
        from addons.host import patches as ours
    except ImportError as error:
        yield Finding("patches", "bad", f"cannot be looked at: {error}")
        return
    wrong = ours.check()
    if wrong:
        yield Finding(
            "patches",
            "bad",
            f"mitmproxy's own code differs from what these were written for: {', '.join(wrong)}. Install mitmproxy=={MITMPROXY} unchanged.",
        )
        return
    yield Finding("patches", "ok", "mitmproxy's functions are the ones the patches were written for")


def policy_files(policies: str | None) -> Iterator[Finding | Snapshot]:
    """All five files load, and the areas agree with them."""
    try:
        folder = find_policies(policies, os.environ, Path(__file__).parents[2])
        snapshot = load(folder, checks=area_checks(), clock_now=SystemClock().now(), environ=os.environ)
    except ConfigError as error:
        yield Finding(
            "policies", "bad", f"{len(error.problems)} problems; the gateway does not start, a reload keeps the old rules\n{error}"
        )
        return
    except (OSError, ImportError) as error:
        yield Finding("policies", "bad", f"cannot be read: {error}")
        return
    yield Finding("policies", "ok", f"{folder} is valid ({snapshot.digest})")
    for warning in snapshot.warnings:
        yield Finding("policies", "warning", warning)
    yield snapshot


def area_checks() -> Any:
    """The same judgement as at a start."""
    from addons.host.reload import CHECKS  # imports mitmproxy: only when it is needed

    return CHECKS()


def state_folder(state: Path) -> Iterator[Finding]:
    """Keys lie here: a folder and files for their owner only."""
    if not state.exists():
        yield Finding("state folder", "note", f"{state} is not there yet; the first start makes it")
        return
    wrong = [problem for place in (state, *sorted(state.rglob("*"))) if (problem := exposure(place))]
    if wrong:
        yield Finding("state folder", "bad", f"{state}: others can get at it\n" + "\n".join(wrong[:20]))
        return
    yield Finding("state folder", "ok", f"{state} is ours alone")


def exposure(place: Path) -> str:
    """Why a file or folder of the state is not safe; empty when it is. Public certificates may be read; signals have their own rules."""
    try:
        found = place.lstat()
    except OSError as error:
        return f"{place}: {error.strerror}"
    if found.st_uid != os.getuid():
        return f"{place}: belongs to user {found.st_uid}; chown it"
    if stat.S_ISLNK(found.st_mode) or "signals" in place.parts or place.name in ("ca.pem", Path(CA_FILE).name):
        return ""
    is_folder = stat.S_ISDIR(found.st_mode)
    loose = found.st_mode & (0o022 if place.suffix in (".pin", ".notes") else 0o077)
    return f"{place}: mode {stat.S_IMODE(found.st_mode):04o}; chmod {'0700' if is_folder else '0600'} it" if loose else ""


def store(database: Path) -> Iterator[Finding]:
    """The audit store's folder: writable, with room."""
    folder = database.parent
    if not folder.is_dir():
        yield Finding("audit store", "bad", f"the folder {folder} is not there; make it, or change audit.database")
        return
    if not os.access(folder, os.W_OK):
        yield Finding("audit store", "bad", f"{folder} cannot be written, and what cannot be recorded does not happen")
        return
    free = shutil.disk_usage(folder).free
    state = "ok" if free > DISK_WARN else "warning"
    size = database.stat().st_size if database.exists() else 0
    yield Finding("audit store", state, f"{database}, {size >> 20} MiB, {free >> 20} MiB free" + ("" if state == "ok" else ": low"))


def running(snapshot: Snapshot) -> Iterator[Finding]:
    """The gateway answers, or its ports are free for it."""
    control = snapshot.gateway.control
    if is_open(control.bind):
        yield readiness(snapshot)
        return
    yield Finding("gateway", "note", f"is not running (nothing answers at {control.bind})")
    for address in (*(listener.bind for listener in snapshot.gateway.listeners), control.bind):
        problem = taken(address)
        yield Finding("port", "bad" if problem else "ok", f"{address} {problem or 'is free'}")


def readiness(snapshot: Snapshot) -> Finding:
    """What the running gateway says of itself."""
    local = snapshot.gateway.state / CA_FILE
    try:
        said = open_client("", snapshot.gateway.control.public_url, str(local) if local.exists() else None).get("/readyz")
    except Unable as error:
        return Finding("gateway", "bad", "runs and is not ready: " + (", ".join(error.problem.get("problems") or ()) or error.message))
    except click.ClickException as error:
        return Finding("gateway", "bad", f"something answers at {snapshot.gateway.control.bind}, but: {error.format_message()}")
    notes = ", ".join(said.get("notes") or ())
    return Finding("gateway", "ok", "runs and is ready" + (f" ({notes})" if notes else ""))


def is_open(address: Address) -> bool:
    """True when somebody accepts connections there."""
    try:
        with socket.create_connection((address.host, address.port), timeout=2):
            return True
    except OSError:
        return False


def taken(address: Address) -> str:
    """Why this address cannot be bound; empty when it can."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return f"cannot be bound: {error.strerror}. Stop what listens there, or change the address in gateway.yaml."
    return ""
