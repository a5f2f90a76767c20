"""`guardhouse init`: write the skeleton of a real site's policies, and never over somebody's files."""

import os
from pathlib import Path

import click

from addons.cli.console import NO, CannotRead, escape, json_option, print_json
from addons.cli.skeleton import SITE

NEXT = (
    "Edit the lines marked CHANGE: addresses, your OpenID provider, your services, your groups.",
    "Put the services' own credentials where the references say (env:APP_TOKEN and so on).",
    "Check it: GUARDHOUSE_POLICIES={policies} guardhouse policy check",
    "Start it: GUARDHOUSE_POLICIES={policies} mitmdump -s {stack}",
    "Then ask for the state of things: GUARDHOUSE_POLICIES={policies} guardhouse doctor",
)


@click.command(epilog="Examples:  guardhouse init /etc/guardhouse  |  guardhouse init ./site --json")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Write over policy files that are there already.")
@json_option
def command(folder: Path, force: bool, as_json: bool) -> None:
    """Write a commented skeleton of policies/ for a real site into DIR.

    The files load as they are, allow nobody in before you edit them, and hold nothing for development. Existing files are
    never written over without --force. Exit codes: 0 written, 1 there are files already, 3 the folder cannot be written.
    """
    policies = folder.absolute() / "policies"
    there = [name for name in SITE if os.path.lexists(policies / name)]
    if there and not force:
        _answer(
            as_json,
            {"written": [], "exists": there, "policies": str(policies)},
            [f"{policies} has {', '.join(there)} already; --force writes over."],
        )
        raise SystemExit(NO)
    try:
        written = write(policies)
    except OSError as error:
        raise CannotRead(f"{policies} cannot be written: {error.strerror}") from error
    stack = Path(__file__).resolve().parent.parent / "stack.py"
    steps = [step.format(policies=policies, stack=stack) for step in NEXT]
    lines = [f"Wrote {', '.join(written)} to {policies}.", "", "Next:", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))]
    _answer(as_json, {"written": written, "exists": there, "policies": str(policies), "next": steps}, lines)


def write(policies: Path) -> list[str]:
    """Write the five files: each whole or not at all, and never through a symbolic link."""
    policies.mkdir(parents=True, exist_ok=True)
    for name, text in SITE.items():
        draft = policies / f".{name}.new"
        draft.unlink(missing_ok=True)
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
        draft.replace(policies / name)
    return list(SITE)


def _answer(as_json: bool, value: dict[str, object], lines: list[str]) -> None:
    if as_json:
        print_json(value)
        return
    for line in lines:
        click.echo(escape(line))
