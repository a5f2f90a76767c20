"""What every verb prints with: tables for people, JSON lines for programs, and exit codes.

Recorded content is hostile: a path or a body may hold escape sequences that rewrite the terminal, move its title or
fill its clipboard. Nothing reaches the terminal but through `escape`. JSON output is ASCII only, so it is safe as well.
Answers go to standard output; notes, warnings and progress go to standard error, so that `--json | jq` works.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from addons.core.web.escape import visible

DONE, NO, USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes: done, the answer is no, wrong arguments, cannot reach or read."""


class AnswerIsNo(click.ClickException):
    """The gateway, or the thing asked about, says no: exit 1."""

    exit_code = NO

    def format_message(self) -> str:
        return escape(self.message, keep="\n")


class CannotRead(AnswerIsNo):
    """The gateway cannot be reached, or the file cannot be read: exit 3."""

    exit_code = UNREACHABLE


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, for programs.")


def escape(text: object, keep: str = "") -> str:
    """Return text that is safe in a terminal: control, bidi and zero-width characters become visible escapes."""
    return visible(str(text), keep)


def print_json(value: Any) -> None:
    """Print one JSON value on one line, ASCII only."""
    click.echo(json.dumps(value, ensure_ascii=True, separators=(",", ":")))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, empty: str = "Nothing found."
) -> None:
    """Print a table whose cells are escaped. Wide cells wrap; into a pipe it is as wide as it needs to be."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text(escape("" if cell is None else cell)) for cell in row))
        count += 1
    if not count:
        click.echo(empty)
        return
    console().print(table)


def print_facts(facts: Mapping[str, object], *, indent: int = 0) -> None:
    """Print names and values under each other; a value of several lines is indented below its name. Empty values are left out."""
    shown = {name: value for name, value in facts.items() if value not in (None, "", [], {}, ())}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        lines = escape(value, keep="\n").split("\n")
        click.echo(" " * indent + click.style(name.ljust(width), bold=True) + "  " + lines[0])
        for line in lines[1:]:
            click.echo(" " * (indent + width + 2) + line)


def note(text: str) -> None:
    """Say something beside the answer, on standard error."""
    click.echo(escape(text, keep="\n"), err=True)


def warn(text: str) -> None:
    """Say something beside the answer that the reader should not miss."""
    click.echo(click.style("warning: ", fg="yellow", bold=True) + escape(text, keep="\n"), err=True)


def console(*, err: bool = False) -> Console:
    """A rich console; without markup, since no text of ours or theirs is markup. A pipe gets 200 columns."""
    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else 200
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


@contextmanager
def progress(words: str, total: int | None = None) -> Iterator[Progress]:
    """Show a progress bar on standard error while something runs; nothing at all when it is not a terminal."""
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console(err=True), transient=True, disable=not sys.stderr.isatty(),
    )  # fmt: skip
    with bar:
        bar.add_task(escape(words), total=total)
        yield bar


def tracked[Item](items: Iterable[Item], words: str, total: int | None = None) -> Iterator[Item]:
    """Pass items through while a progress bar counts them."""
    with progress(words, total) as bar:
        task = bar.task_ids[0]
        for item in items:
            yield item
            bar.advance(task)
