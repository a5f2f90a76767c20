"""`guardhouse mask`: mask a file as the gateway would, or list what it finds. Works on files alone, sends nothing."""

import os
import secrets
import sys
from pathlib import Path

import click

from addons.cli.client import snapshot_of
from addons.cli.console import AnswerIsNo, CannotRead, json_option, print_json, warn
from addons.core.clock import SystemClock
from addons.core.config.model import EntityRule, Masking, MaskLimits, Profile, Snapshot
from addons.core.errors import GuardhouseError, MaskingError, Unmaskable
from addons.core.masking.engine import Keys, MaskEngine
from addons.core.masking.pseudonym import Place
from addons.core.masking.receipt import Masked, Tally
from addons.core.masking.rules import INFO_TYPES, MaskView, view_of, view_of_profiles
from addons.core.services.credentials.references import Secrets, open_keys

REGIONS = ("US", "GB", "DE", "FR", "IN", "BR", "JP", "AU")
MAX_FILE = 64 << 20
TIME = 600.0  # a person waits longer than a request does


class FreshKeys:
    """Keys for this run only."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def derive(self, label: str) -> bytes:
        return self._key


@click.command(
    epilog="""\b
Examples:
  guardhouse mask customers.json
  guardhouse mask customers.json --findings
  curl -s https://api.example/customers | guardhouse mask - --media-type application/json
  guardhouse mask app.log --profile secrets --json
Exit codes: 0 done, 1 the content cannot be masked, 2 usage, 3 a file cannot be read.
"""
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--findings", is_flag=True, help="List what is found (JSON lines), not the masked content. Without --profile: every info type."
)
@click.option("--profile", "profiles", multiple=True, help="A profile of masking.yaml; may be repeated. Default: pii and secrets.")
@click.option("--media-type", help="The content's media type; default: by the file's name, else by a look at it.")
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@json_option
def command(file: str, findings: bool, profiles: tuple[str, ...], media_type: str | None, policies: str | None, as_json: bool) -> None:
    """Mask FILE (- reads standard input) as the gateway masks an answer, or list what would be masked.

    A finding is {"pointer", "start", "end", "info_type", "score", "source"}: a JSON pointer to the string ("" when the content
    is no JSON) and code points within that decoded string.
    """
    data = read(file)
    free = findings and not profiles
    snapshot = None if free else snapshot_of(policies)
    tally = Tally(findings=[])
    done = mask(data, media_type or guess(file), view_for(snapshot, profiles), snapshot, tally)
    if findings:
        for finding in sorted(tally.findings or [], key=lambda one: (one.pointer, one.span.start)):
            span = finding.span
            print_json(
                {
                    "pointer": finding.pointer,
                    "start": span.start,
                    "end": span.end,
                    "info_type": span.info_type,
                    "score": round(span.score, 4),
                    "source": span.source,
                }
            )
    elif as_json:
        print_json(
            {"body": done.body.decode("utf-8", "replace"), "counts": dict(done.counts), "receipt": done.receipt, "changed": done.changed}
        )
    else:
        sys.stdout.buffer.write(done.body)
        sys.stdout.buffer.flush()
        for row in done.receipt:
            warn(f"{row['path'] or 'text'}: {row['count']} {row['info_type']} ({row['profile']}, {row['transform']})")


def read(file: str) -> bytes:
    """The content, bounded."""
    try:
        data = sys.stdin.buffer.read(MAX_FILE + 1) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CannotRead(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise CannotRead(f"{file} is larger than {MAX_FILE >> 20} MiB")
    return data


def guess(file: str) -> str | None:
    """The media type by the file's name; None lets the engine look."""
    known = {
        ".json": "application/json",
        ".ndjson": "application/x-ndjson",
        ".jsonl": "application/x-ndjson",
        ".html": "text/html",
        ".xml": "text/xml",
    }
    suffix = Path(file).suffix.lower()
    if suffix in (".yaml", ".yml", ".csv", ".md", ".txt", ".log", ".env", ".ini", ".conf"):
        return "text/plain"
    return known.get(suffix)


def view_for(snapshot: Snapshot | None, profiles: tuple[str, ...]) -> MaskView:
    """The view of the named profiles; of no Snapshot: every info type there is."""
    limits = MaskLimits(whole=MAX_FILE, time=TIME)
    if snapshot is None:
        every = Profile("all", {name: EntityRule(name) for name in sorted(INFO_TYPES)})
        masking = Masking("token", "US", REGIONS, "tenant", limits, "mask", {"all": every}, {})
        return view_of_profiles(masking, "", ("all",))
    try:
        return view_of(snapshot, "", profiles or ("pii", "secrets"), limits=limits)
    except KeyError as error:
        known = ", ".join(sorted(snapshot.masking.profiles))
        raise click.UsageError(f"masking.yaml has no profile {error}. It has: {known}.") from None


def mask(data: bytes, media_type: str | None, view: MaskView, snapshot: Snapshot | None, tally: Tally) -> Masked:
    """Load the engine and mask in this thread."""
    engine = MaskEngine(keys_of(snapshot), SystemClock())
    masking = snapshot.masking if snapshot else None
    engine.detector.load(*((masking.nlp_engine, masking.home_region, masking.text_regions) if masking else ("token", "US", REGIONS)))
    try:
        return engine.mask_body(data, media_type, view, Place(), tally)
    except Unmaskable as error:
        raise AnswerIsNo(f"The content cannot be masked: {error.reason}. The gateway would withhold it.") from None
    except MaskingError as error:
        raise AnswerIsNo(str(error)) from None


def keys_of(snapshot: Snapshot | None) -> Keys:
    """The gateway's own key ring when it is there, so that the marks are the gateway's; else keys of this run."""
    if snapshot is not None:
        store = Secrets(snapshot.gateway.state, os.environ)
        try:
            if all(ref.scheme != "auto" or store.path_of(ref).exists() for ref in snapshot.gateway.keys.values()):
                return open_keys(snapshot, store)
        except GuardhouseError as error:
            warn(f"the gateway's masking key cannot be used: {error}")
        warn("no masking key in the state folder: these marks are made with a key of this run and will not be recognised later")
    return FreshKeys()
