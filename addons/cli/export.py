"""`guardhouse export`: what a query finds, as JSON lines, as mitmproxy's own flow file, or as an HTTP Archive.

A file appears only when it is whole: it is written beside its name, for its owner only, and renamed at the end.
"""

import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from addons.cli.console import AnswerIsNo, CannotRead, json_option, note, print_json, tracked
from addons.cli.evidence import Evidence, one_query, reading_options


@click.command()
@click.argument("query", nargs=-1)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "flows", "har"]),
    default="jsonl",
    show_default=True,
    help="Events; flows for mitmproxy; an HTTP Archive for browsers and tools.",
)
@click.option("-o", "--output", required=True, help="The file to write; - for standard output (jsonl only).")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@reading_options
@json_option
def command(evidence: Evidence, query: tuple[str, ...], kind: str, output: str, force: bool, as_json: bool) -> None:
    """Write everything that QUERY finds to a file. QUERY takes the facets of `guardhouse search`.

    jsonl: one event a line, newest first, with its leaf. flows: a native file for mitmproxy and `guardhouse replay`.
    har: an HTTP Archive (HAR 1.2), as mitmproxy exports it; what was decided stands in `_guardhouse` of each entry.
    All content is masked. The export itself is recorded before the first byte is sent.

    \b
    Examples:
      guardhouse export effect:deny since:7d -o denied.jsonl
      guardhouse export --format flows 'service:crm since:1h' -o case.flows
      guardhouse export --format har session:my-session -o case.har
      guardhouse export principal:dev:alice -o - | jq .core.rules
    """
    rows = tracked(evidence.exported(one_query(query), "jsonl" if kind == "jsonl" else "flows"), "exporting")
    if output == "-":
        if kind != "jsonl":
            raise click.UsageError("A flow file or an archive goes to a file, not to standard output.")
        write_lines(sys.stdout.buffer, rows)
        return
    target = Path(output)
    if target.exists() and not force:
        raise click.UsageError(f"{output} is there already; --force replaces it.")
    with whole_file(target) as place:
        count, skipped = (write_file(place, rows), []) if kind == "jsonl" else write_flow_file(place, rows, kind)
        if not count:
            raise AnswerIsNo("Nothing matches, so no file was written.")
    if as_json:
        print_json({"file": output, "format": kind, "count": count, "skipped": skipped})
        return
    for one in skipped:
        note(f"left out: {one['what']} ({one['why']})")
    click.echo(f"Wrote {count} {'events' if kind == 'jsonl' else 'flows'} to {output}.")


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A place to write that becomes `target` when all went well, and is gone otherwise."""
    place = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield place
        place.replace(target)
    except OSError as error:
        raise CannotRead(f"{target} cannot be written: {error.strerror}") from error
    finally:
        place.unlink(missing_ok=True)


def write_file(place: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Write JSON lines to a file."""
    with place.open("wb") as file:
        return write_lines(file, rows)


def write_lines(file: BinaryIO, rows: Iterator[dict[str, Any]]) -> int:
    """Write JSON lines, ASCII only, so that no terminal or spreadsheet is surprised."""
    count = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n")
        count += 1
    file.flush()
    return count


def write_flow_file(place: Path, rows: Iterator[dict[str, Any]], kind: str) -> tuple[int, list[dict[str, str]]]:
    """Write mitmproxy's own format, or an archive; returns how many flows and what was left out."""
    from addons.host.flowfile import RecordedFlow, write_flows  # mitmproxy takes a second to import, and only this needs it
    from addons.host.har import write_har

    def recorded() -> Iterator[RecordedFlow]:
        for row in rows:
            answer = row["response_body"]
            yield RecordedFlow(
                flow_id=row["flow"],
                skeleton=base64.b64decode(row["skeleton"]),
                request_body=base64.b64decode(row["request_body"]),
                response_body=None if answer is None else base64.b64decode(answer),
                facts=row["facts"],
            )

    count, skipped = (write_har if kind == "har" else write_flows)(place, recorded())
    return count, [{"what": one.what, "why": one.why} for one in skipped]
