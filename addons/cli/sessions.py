"""`guardhouse sessions`: who worked on what, from when to when, and how much."""

import click

from addons.cli.console import json_option, print_json, print_table
from addons.cli.evidence import Evidence, one_query, reading_options
from addons.cli.search import when

COLUMNS = ("Session", "Who", "Purpose", "Opened (UTC)", "Closed (UTC)", "Why closed", "Requests", "Denied")


@click.command()
@click.argument("query", nargs=-1)
@reading_options
@json_option
def command(evidence: Evidence, query: tuple[str, ...], as_json: bool) -> None:
    """List sessions, newest first. QUERY takes the facets of `guardhouse search`.

    \b
    Examples:
      guardhouse sessions since:1d
      guardhouse sessions principal:dev:alice --json
    """
    rows = evidence.sessions(one_query(query))
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = [
        (r["id"], r["principal"], r["purpose"], when(r["opened_us"]), when(r["closed_us"]) or "open", r["reason"], r["flows"], r["denials"])
        for r in rows
    ]
    print_table(COLUMNS, table, empty="No session matches.")
