"""`guardhouse tree`: which request led to which, drawn, with what does not fit marked in red."""

from typing import Any

import click
from rich.text import Text
from rich.tree import Tree

from addons.cli.console import console, escape, json_option, print_json
from addons.cli.evidence import Evidence, reading_options
from addons.cli.search import when

MAX_DEPTH = 24  # deeper rows are drawn at this depth: a caller chooses the depth, a terminal has a width
PIPE = 4000  # columns: what reads a pipe wants one row a line
TONES = {"allow": "green", "deny": "red", "hold": "yellow"}
SOLID, DASHED = "bright_black", "yellow"


@click.command()
@click.argument("id")
@reading_options
@json_option
def command(evidence: Evidence, id: str, as_json: bool) -> None:
    """Draw the task tree of a TRACE, SESSION or FLOW.

    Each row: who (and who acts), the operation, decision, hold, masks, result. A row after ┄ hangs below a parent
    that is only claimed: its span was not issued to anybody the caller acts for. Flags in brackets say what does not
    fit: orphan-parent, no-terminal, more-than-one-root, clock-backwards, sequence-gap, identity-change,
    unverified-child. Needs the role investigator; that you looked is recorded.

    \b
    Examples:
      guardhouse tree 4bf92f3577b34da6a3ce929d0e0e4736
      guardhouse tree my-session --json | jq '.branches[].rows[] | select(.flags)'
      guardhouse tree --db copy-of-audit.db 0193f0c2-7d1a-7b3c-8e5f-1a2b3c4d5e6f
    """
    forest = evidence.tree(id)
    if as_json:
        print_json(forest)
        return
    screen = console()
    if not screen.is_terminal:
        screen.width = PIPE
    screen.print(drawn(forest))


def drawn(forest: dict[str, Any]) -> Tree:
    """The forest as a tree of rich: session, purpose, trace, flows."""
    gap = f" ({forest['missing']} events are missing; run guardhouse verify)" if forest["missing"] else ""
    tree = Tree(_flagged(Text(escape(f"{forest['what']} {forest['id']}"), "bold"), forest["flags"]).append(gap, "red"), guide_style=SOLID)
    filed: dict[tuple[str, str], Tree] = {}
    for branch in forest["branches"]:
        session, purpose = branch["session"] or "", branch["purpose"] or ""
        if (session, "") not in filed:
            filed[session, ""] = tree.add(Text(escape(f"session {session}" if session else "no session")))
        if purpose and (session, purpose) not in filed:
            filed[session, purpose] = filed[session, ""].add(Text(escape(f"purpose {purpose}")))
        heading = Text(escape(f"trace {branch['trace']}" if branch["trace"] else "no trace"), "dim")
        hang(filed[session, purpose].add(_flagged(heading, branch["flags"])), branch["rows"])
    return tree


def hang(top: Tree, rows: list[dict[str, Any]]) -> None:
    """Put flat rows below each other by their depth."""
    path = [top]
    for row in rows:
        depth = min(row["depth"], MAX_DEPTH, len(path) - 1)
        del path[depth + 1 :]
        path.append(path[depth].add(line(row), guide_style=SOLID))


def line(row: dict[str, Any]) -> Text:
    """One flow as a line."""
    text = Text("┄ " if row["is_dashed"] else "", DASHED)
    text.append(when(row["ts_us"]) + " ", "dim").append(escape(who(row)), "bold").append("  ")
    text.append(escape(" ".join(part for part in (row.get("service"), row["operation"]) if part))).append("  ")
    text.append(escape(row.get("effect") or "undecided"), TONES.get(row.get("effect", ""), ""))
    if rules := row.get("rules"):
        text.append(escape(f" by {', '.join(rules)}"))
    if approval := row.get("approval"):
        told = ", ".join([*row.get("hold", ()), *(f"by {one}" for one in row.get("reviewers", ()))])
        text.append(escape(f"  {approval}" + (f" ({told})" if told else "")), "yellow")
    if masked := row.get("masked"):
        text.append(escape("  masked " + ", ".join(f"{count} {name}" for name, count in masked.items())), "cyan")
    result = [row["stage"], row.get("status"), row.get("reason"), f"{row['dur_us'] / 1000:.1f} ms" if row.get("dur_us") else None]
    text.append(escape("  " + " ".join(str(part) for part in result if part is not None)))
    text.append(escape(f"  {row['flow']}"), "dim")
    return _flagged(text, row.get("flags", ()))


def who(row: dict[str, Any]) -> str:
    """The actor first, then the person it acts for."""
    name = row.get("principal") or "nobody"
    named = f"{name} ({row['kind']})" if row.get("kind") else name
    return f"{', '.join(row['actors'])} for {named}" if row.get("actors") else named


def _flagged(text: Text, flags: Any) -> Text:
    for flag in flags:
        text.append(f" [{flag}]", "bold red")
    return text
