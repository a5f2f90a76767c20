"""`guardhouse witness pin`: the key that says whose signatures count, to be kept elsewhere."""

import os
from pathlib import Path

import click

from addons.cli.console import AnswerIsNo, CannotRead, json_option, note, print_json
from addons.core.audit import keys
from addons.core.audit.note import LogKey, NoteError
from addons.core.clock import SystemClock
from addons.core.config.load import find_policies, load
from addons.core.errors import ConfigError


@click.group()
def command() -> None:
    """Keep the log honest from outside: the pin of its key."""


@command.command(
    "pin",
    epilog="""\b
Exit codes: 0 done, 1 the key is of another log, 2 usage, 3 cannot read.
\b
Examples:
  guardhouse witness pin > log.pin            # take it to another machine
  guardhouse witness pin --import log.pin     # a person vouches for this key
""",
)
@click.option("--import", "source", type=click.Path(path_type=Path, dir_okay=False), help="Pin the keys of this file.")
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="The state folder, when there are no policies here.")
@json_option
def pin_command(source: Path | None, policies: str | None, state: Path | None, as_json: bool) -> None:
    """Print the pinned keys of the log (one line each, a C2SP verifier key), or import some."""
    folder = state or state_of(policies)
    try:
        if source is not None:
            add(folder, keys.read_pins(source))
        pins = keys.read_pins(folder / keys.PIN_FILE)
    except FileNotFoundError as error:
        raise CannotRead("There is no pin yet. The first start of the gateway writes it into the state folder.") from error
    except (OSError, NoteError, UnicodeDecodeError) as error:
        raise CannotRead(f"The pin cannot be read: {error}") from error
    for pin in pins:
        print_json({"origin": pin.origin, "key_id": pin.key_id.hex(), "pin": pin.text()}) if as_json else click.echo(pin.text())


def add(folder: Path, pins: tuple[LogKey, ...]) -> None:
    """Pin each key. Exit 1 for a key of another log."""
    for pin in pins:
        try:
            is_new = keys.import_pin(folder, pin)
        except NoteError as error:
            raise AnswerIsNo(str(error)) from error
        note(f"{'pinned' if is_new else 'was pinned already'}: {pin.key_id.hex()}")


def state_of(policies: str | None) -> Path:
    """The state folder that the policy files name."""
    try:
        folder = find_policies(policies, os.environ, Path(__file__).parents[2])
        return load(folder, clock_now=SystemClock().now(), environ=os.environ).gateway.state
    except ConfigError as error:
        raise CannotRead(f"The policy files cannot be used: {error}") from error
