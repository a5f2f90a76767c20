"""`guardhouse doctor --canary`: plant made-up values through the running gateway, then look for them in everything it left behind.

The values are fresh and random in each run, and are printed nowhere: a finding says where it was, which info type it is and
how it was spelled. Requests go to every listener under the caller's own token, under an unknown one, and malformed; what
the rules allow reaches the upstreams with the values in it, so outside development it asks for `--yes` first.
"""

import contextlib
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from addons.cli import canary_look as look
from addons.cli import canary_requests as requests
from addons.cli.canary_look import Run
from addons.cli.canary_wire import Door, Heard, doors
from addons.cli.client import Client, Refused, Unable, connect, snapshot_of
from addons.cli.console import NO, CannotRead, note, print_json, print_table, progress
from addons.core.audit import leaks
from addons.core.audit.store import StoreError
from addons.core.masking.canary import Search, Value


@dataclass(frozen=True, slots=True)
class Options:
    """What `doctor` was given for this."""

    policies: str | None
    logs: tuple[Path, ...]
    services: tuple[str, ...]
    purpose: str
    yes: bool


def canary_options[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    """Add the options of the canary to `doctor`."""
    for option in (
        click.option("--yes", is_flag=True, help="Canary: outside development, send to the real upstreams."),
        click.option("--purpose", default="", help="Canary: the purpose to send. Default: the first of the catalogue."),
        click.option("--service", "services", multiple=True, help="Canary: only this service (repeatable)."),
        click.option(
            "--log", "logs", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Canary: look in this file too: the gateway's log, standard output or error (repeatable).",
        ),
        click.option("--canary", is_flag=True, help="Plant made-up values through the running gateway and look for them everywhere."),
    ):  # fmt: skip
        command = option(command)
    return command


def run(options: Options, as_json: bool) -> None:
    """Plant, look, say what was found. Exits 1 when something was."""
    client = connect(policies=options.policies)
    snapshot = snapshot_of(options.policies)
    if snapshot.gateway.development is None and not options.yes:
        raise click.UsageError("this sends requests with made-up values to the real upstreams wherever the rules allow it; --yes agrees.")
    if unknown := set(options.services) - set(snapshot.gateway.services):
        raise click.UsageError(f"no such service: {', '.join(sorted(unknown))}")
    with contextlib.suppress(Refused, Unable):
        client.get("/readyz")  # reachable at all; that it is not ready is no hindrance to looking
    made = Run(snapshot)
    try:
        examine(made, client, options)
    except StoreError as error:
        raise CannotRead(f"{error}. Run this where the gateway runs: it reads the store itself.") from error
    report(made, as_json)


def examine(made: Run, client: Client, options: Options) -> None:
    """Everything, in order."""
    database = made.snapshot.gateway.audit.database
    before = leaks.reached(database)
    sizes = {path: path.stat().st_size for path in options.logs}
    for name, value in (("token", client.token), ("token's signature", client.token.rpartition(".")[2])):
        made.search.add(Value(f"your {name}", "ACCESS_TOKEN", value))
    since = time.time()
    send(made, client.token, options)
    look.at_approvals(made, client)
    look.settle(database)
    look.at_answers(made, database, before["event"])
    look.at_store(made, database, before)
    look.at_exports(made, client, database, int(time.time() - since) + 2)
    for path in look.files(database):
        look.at_file(made, "recordings", path, path.name)
    for path, size in sizes.items():
        look.at_file(made, "logs", path, str(path), size if path.stat().st_size >= size else 0)


def send(made: Run, token: str, options: Options) -> None:
    """Plant values through every listener."""
    everywhere = [door for door in doors(made.snapshot, options.purpose) if not options.services or door.service in options.services]
    if not everywhere:
        raise CannotRead("no listener leads to a service that can be asked (client certificates are not supported here).")
    with progress("planting", sum(count(door) for door in everywhere)) as bar:
        for door in everywhere:
            for heard in planted(made.search, door, token):
                made.heard.append(heard)
                bar.advance(bar.task_ids[0])


def count(door: Door) -> int:
    """How many requests `planted` makes of it."""
    places = len(requests.PLACES) * (2 if door.tls is None else 3)
    return places + len(requests.CODINGS) + 2 * len(requests.MALFORMED)


def planted(search: Search, door: Door, token: str) -> Iterator[Heard]:
    """What one listener answers for one service."""

    def values(place: str) -> dict[str, str]:
        return {value.kind: value.text for value in search.plant(place, secrets.token_bytes(32))}

    for who, credential in (("", token), (", unknown token", f"not-a-token-{secrets.token_hex(8)}")):
        for place in requests.PLACES:
            name = f"{door.name}: {place}{who}"
            yield door.ask(name, requests.planted(place, door.path, values(name)), credential)
    for place in requests.PLACES if door.tls is not None else ():
        name = f"{door.name}: {place} over HTTP/2"
        yield door.ask_http2(name, requests.planted(place, door.path, values(name)), token)
    for coding in requests.CODINGS:
        name = f"{door.name}: answer in {coding}"
        yield door.ask(name, requests.coded(coding, door.path, values(name)), token)
    name = f"{door.name}: malformed"
    for shape, raw in requests.malformed(door.host, values(name)):
        yield door.say(f"{name} ({shape})", raw)


def report(made: Run, as_json: bool) -> None:
    """Say what was looked at and what was found; exit 1 when anything was."""
    found = sorted(made.leaks, key=lambda one: (one.where, one.row, one.info_type, one.spelling, one.planted))
    looked = dict(made.looked)
    passed = sum(200 <= heard.status < 300 and not heard.is_ours for heard in made.heard)
    answers = {str(status or "none"): count for status, count in sorted(Counter(heard.status for heard in made.heard).items())}
    if as_json:
        for leak in found:
            print_json({"found": asdict(leak)})
        print_json(
            {
                "planted": len(made.search.values),
                "requests": len(made.heard),
                "passed_on": passed,
                "answers": answers,
                "looked_at": looked,
                "found": len(found),
            }
        )
    else:
        if found:
            print_table(("where", "row", "info type", "spelling", "planted in"), [tuple(asdict(leak).values()) for leak in found])
        seen = ", ".join(f"{count} {kind}" for kind, count in looked.items())
        words = f"found {len(found)} times" if found else "none was found"
        told = ", ".join(f"{count} x {status}" for status, count in answers.items())
        click.echo(f"{len(made.search.values)} values in {len(made.heard)} requests (answers: {told}); looked at {seen}: {words}.")
        if not passed:
            note(
                "The rules pass none of these requests on, so masking of answers was not tried; allow them for a test identity, or --service."
            )
    if found:
        sys.exit(NO)
