"""`guardhouse search`: events by facets, newest first."""

from datetime import UTC, datetime
from typing import Any

import click

from addons.cli.console import json_option, note, print_json, print_table
from addons.cli.evidence import Evidence, one_query, reading_options

COLUMNS = ("Seq", "Time (UTC)", "Stage", "Who", "Purpose", "What", "Result", "Masked", "Rules")


@click.command()
@click.argument("query", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many events.")
@click.option("--before", type=click.IntRange(min=1), help="Only events with a number below this: the next page.")
@reading_options
@json_option
def command(evidence: Evidence, query: tuple[str, ...], limit: int, before: int | None, as_json: bool) -> None:
    """Find events by facets and words, newest first.

    Facets: principal: agent: client: upstream: purpose: service: verb: path: status: effect: rule: trace: session: flow:
    approval: masked: reviewer: kind: stage: attr.NAME: since: until: (an age such as 2h, or a date). A value that ends
    in * is a prefix. Needs the role investigator; that you looked is recorded.

    \b
    Examples:
      guardhouse search effect:deny since:1h
      guardhouse search agent:planner 'path:/customers/*' status:4xx
      guardhouse search masked:EMAIL_ADDRESS --json | jq .flow
      guardhouse search --db copy-of-audit.db principal:dev:alice
    """
    found = evidence.search(one_query(query), limit, before)
    if as_json:
        for hit in found["events"]:
            print_json(hit)
        return
    print_table(COLUMNS, [row(hit) for hit in found["events"]], empty="No event matches.")
    if found["next"] is not None:
        note(f"There may be more: --before {found['next']}")


def row(hit: dict[str, Any]) -> tuple[object, ...]:
    """One event as a line."""
    stage = hit["stage"] if hit["stage"] != "Mark" else hit["kind"]
    what = " ".join(str(hit[name]) for name in ("service", "verb", "path") if hit.get(name) is not None)
    result = " ".join(str(hit[name]) for name in ("effect", "status") if hit.get(name) is not None)
    masked = ", ".join(f"{count} {name}" for name, count in (hit.get("masked") or {}).items())
    return (
        hit["seq"], when(hit["ts_us"]), stage, hit.get("principal"), hit.get("purpose"), what or hit.get("reason"), result, masked,
        ", ".join(hit.get("rules") or ()),
    )  # fmt: skip


def when(microseconds: int | None) -> str:
    """A moment in UTC, to the second."""
    return "" if not microseconds else datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
