"""`guardhouse identity check`: which of the 22 checks a token fails. The token is read, judged, and never printed or kept."""

import asyncio
import os
import sys
from dataclasses import asdict
from typing import Any

import click

from addons.cli.client import snapshot_of
from addons.cli.console import NO, UNREACHABLE, AnswerIsNo, escape, json_option, print_facts, print_json
from addons.core.clock import SystemClock
from addons.core.config.model import Snapshot
from addons.core.exchange import Principal
from addons.core.identity import api_keys
from addons.core.identity.examine import Examination, examine
from addons.core.identity.jwks import KeySets
from addons.core.identity.presented import API_KEY_PREFIX

MAX_INPUT = 64 << 10  # more than any token
COLOURS = {"ok": "green", "fails": "red", "note": "cyan", "unknown": "yellow", "skipped": "bright_black"}


@click.group()
def command() -> None:
    """Look at identities: which checks a token passes."""


@command.command()
@click.argument("source", default="")
@click.option("--control", is_flag=True, help="As the control plane would (control.audiences), not the data path.")
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@json_option
def check(source: str, control: bool, policies: str | None, as_json: bool) -> None:
    """Say which of the 22 checks a token fails.

    Reads the token from standard input (SOURCE is -) or from GUARDHOUSE_TOKEN, never from an argument: process lists
    show those. Needs the policy files and the issuer's keys; the gateway need not run. Neither the token nor a value of
    it is printed, save who it would be when all checks hold.

    Exit codes: 0 all hold, 1 one fails, 3 the issuer's keys or the policy files cannot be had.

    \b
    Examples:
      guardhouse identity check
      pbpaste | guardhouse identity check -
      guardhouse dev token bob | guardhouse identity check - --control
    """
    text = read(source)
    if text.startswith(API_KEY_PREFIX) and text.count(".") != 2:
        told_of_key(text, as_json)
        return
    made = asyncio.run(examined(text, snapshot_of(policies), control))
    if as_json:
        print_json(plain(made))
    else:
        show(made)
    if not made.is_good:
        states = {finding.state for finding in made.findings}
        sys.exit(UNREACHABLE if "unknown" in states and "fails" not in states else NO)


def read(source: str) -> str:
    """The token from where it may come from."""
    if source not in ("", "-"):
        raise click.UsageError(
            "A token never goes on the command line, where process lists show it. Use - and standard input, or GUARDHOUSE_TOKEN."
        )
    text = sys.stdin.read(MAX_INPUT) if source == "-" else os.environ.get("GUARDHOUSE_TOKEN", "")
    words = text.split()
    if words and words[0].lower() == "bearer":
        words = words[1:]
    if len(words) > 1:
        raise click.UsageError("That is more than one token.")
    if not words:
        raise click.UsageError("There is no token on standard input." if source else "GUARDHOUSE_TOKEN is not set.")
    return words[0]


async def examined(text: str, snapshot: Snapshot, control: bool) -> Examination:
    """All rows, with keys fetched now."""
    clock = SystemClock()
    keysets = KeySets(clock)
    gateway = snapshot.gateway
    try:
        return await examine(text, gateway.identity, gateway.control.audiences if control else None, keysets.of, clock.now())
    finally:
        await keysets.close()


def told_of_key(text: str, as_json: bool) -> None:
    """An API key says nothing by itself but whether it was copied whole."""
    if api_keys.parse(text) is None:
        raise AnswerIsNo("This is meant to be an API key, and is not a whole one: its checksum does not fit.")
    said = "a whole API key; whether it counts only the gateway knows (guardhouse key list)"
    if as_json:
        print_json({"good": None, "kind": "api-key", "says": said})
    else:
        click.echo(f"This is {said}.")


def show(made: Examination) -> None:
    """The rows, and who it would be."""
    for finding in made.findings:
        state = click.style(finding.state.rjust(7), fg=COLOURS[finding.state], bold=finding.state == "fails")
        click.echo(f"{finding.row:>2} {state}  {finding.name}" + (f": {escape(finding.says)}" if finding.says else ""))
    if made.principal is not None:
        click.echo("")
        print_facts(facts(made.principal))


def facts(principal: Principal) -> dict[str, object]:
    """Who it would be."""
    actors = ", ".join(f"{actor.issuer} {actor.subject}" for actor in principal.actors)
    told = {"principal": principal.person, "kind": principal.kind, "acts through": actors, "groups": ", ".join(principal.groups)}
    return {**told, "client": principal.client_id, "owner": principal.owner}


def plain(made: Examination) -> dict[str, Any]:
    """The same for programs."""
    rows = [{"name": finding.name, **asdict(finding)} for finding in made.findings]
    who = None if made.principal is None else facts(made.principal)
    return {"good": made.is_good, "checks": rows, "principal": who}
