"""`guardhouse show`: one flow whole: who, why, decided how, held by whom, what was masked, and both messages.

Everything shown was masked before it was stored. It is hostile all the same, so every line is escaped on its way to the
terminal.
"""

import json
from collections.abc import Mapping
from typing import Any

import click

from addons.cli.console import escape, json_option, print_facts, print_json, print_table
from addons.cli.evidence import Evidence, reading_options
from addons.cli.search import when
from addons.core.recording import transcript

SHOWN_ABOVE = frozenset(
    [
        "principal",
        "purpose",
        "client",
        "upstream",
        "path",
        "query",
        "operation",
        "reviewers",
        "reason",
        "request.headers",
        "request.body",
        "response.headers",
        "response.body",
        "skeleton",
    ]
)

BESIDE = frozenset({"approval", "session", "ws"})  # kinds that tell of a flow in words of their own


@click.command()
@click.argument("id")
@click.option(
    "--body-lines", type=click.IntRange(0), default=60, show_default=True, help="Lines of each body, and messages of a transcript; 0: all."
)
@reading_options
@json_option
def command(evidence: Evidence, id: str, body_lines: int, as_json: bool) -> None:
    """Show the flow with this ID, or the one that an event number belongs to.

    Prints principal, purpose, trace, decision, hold, masks and both messages as they are stored: masked.

    \b
    Examples:
      guardhouse show 0193f0c2-7d1a-7b3c-8e5f-1a2b3c4d5e6f
      guardhouse show 42 --json
      guardhouse show --db copy-of-audit.db 42
    """
    if not id.replace("-", "").replace("_", "").isalnum() or not id.isascii():
        raise click.UsageError("An ID is a flow's UUID or an event's number, as `guardhouse search` prints them.")
    view = evidence.flow(id)
    if as_json:
        print_json(view)
        return
    facts = Facts(view["events"])
    click.echo(click.style(f"{view['id']}  {view['stage']}", bold=True))
    print_facts(facts.summary(), indent=2)
    for side in ("request", "response"):
        show_message(side, facts, body_lines)
    show_transcript(transcript.lines(view["events"]), body_lines)
    click.echo()
    told = [event for event in view["events"] if event["kind"] != transcript.KIND]
    print_table(("Seq", "Time (UTC)", "Stage", "Kind", "More", "Leaf"), [line(event) for event in told])


class Facts:
    """What the events of one flow say together; the later event wins for the core, the first for a field."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.core: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        self.erased: set[str] = set()
        flows_own = [event for event in events if event["kind"] not in BESIDE] or events
        for event in events:
            self.core |= (
                event["core"] if event in flows_own else {name: event["core"][name] for name in ("approval",) if name in event["core"]}
            )
            self.erased |= set(event["erased"])
            for name, value in event["fields"].items():
                self.fields.setdefault(name, value)

    def summary(self) -> dict[str, object]:
        """The facts a reader asks for first."""
        core, purpose = self.core, self._object("purpose")
        return {
            "who": who(self._object("principal")),
            "client": _joined(self._object("client"), "ip", "port", "user_agent"),
            "purpose": _joined(purpose, "label") + (f" ({purpose.get('source')})" if purpose else ""),
            "trace": _joined(core, "trace", "span") + (f", parent {core['parent']}" if core.get("parent") else ""),
            "session": core.get("session"),
            "request": _joined(core, "verb")
            + f" {self.fields.get('path', '')}"
            + (f"?{self.fields['query']}" if self.fields.get("query") else ""),
            "service": " ".join(str(part) for part in (core.get("service"), _joined(self._object("upstream"), "address")) if part),
            "decision": self._decision(),
            "hold": self._hold(),
            "masked": _counts(core.get("masked")) + ("" if core.get("masking_complete", True) else " (incomplete: the rest was withheld)"),
            "result": self._result(),
            "reason": self.fields.get("reason"),
            "erased": ", ".join(sorted(self.erased)),
        }

    def _decision(self) -> str:
        rules = ", ".join(self.core.get("rules") or ())
        obligations = self.core.get("obligations")
        parts = [str(self.core.get("effect", "")), f"by {rules}" if rules else "", f"owes {_flat(obligations)}" if obligations else ""]
        return " ".join(part for part in parts if part)

    def _hold(self) -> str:
        approval, reviewers = self.core.get("approval"), self.fields.get("reviewers")
        return f"{approval}" + (f", reviewed by {_flat(reviewers)}" if reviewers else "") if approval else ""

    def _result(self) -> str:
        parts = [str(self.core[name]) + unit for name, unit in (("status", ""), ("code", ""), ("bytes", " bytes")) if name in self.core]
        if "dur_us" in self.core:
            parts.append(f"{self.core['dur_us'] / 1000:.1f} ms")
        return ", ".join(parts)

    def _object(self, name: str) -> Mapping[str, Any]:
        value = self.fields.get(name)
        return value if isinstance(value, dict) else {}


def who(principal: Mapping[str, Any]) -> str:
    """The principal in words: the actor first, then the person it acts for."""
    if not principal:
        return ""
    alias = principal.get("issuer_alias") or principal.get("issuer")
    name = f"{alias}:{principal.get('subject')} ({principal.get('kind')})"
    aliases = {principal.get("issuer"): alias}
    people = [actor for actor in principal.get("actors") or () if isinstance(actor, dict)]
    actors = [f"{aliases.get(actor.get('issuer'), actor.get('issuer'))}:{actor.get('subject')}" for actor in people]
    return f"{', '.join(actors)}, for {name}" if actors else name


def show_message(side: str, facts: Facts, body_lines: int) -> None:
    """Headers and body of one message."""
    headers, body = facts.fields.get(f"{side}.headers"), facts.fields.get(f"{side}.body")
    if headers is None and body is None:
        return
    click.echo("\n" + click.style(side.capitalize(), bold=True))
    for name, value in _pairs(headers):
        click.echo(f"  {escape(name)}: {escape(value)}")
    if body is None or body == "":
        return
    text = json.dumps(body, indent=2, ensure_ascii=False) if isinstance(body, dict | list) else str(body)
    lines = text.split("\n")
    shown = lines if not body_lines else lines[:body_lines]
    click.echo("\n" + "\n".join("  " + escape(one) for one in shown))
    if len(shown) < len(lines):
        click.echo(f"  ({len(lines) - len(shown)} more lines; --body-lines 0 shows all)")


def show_transcript(lines: list[transcript.Line], most: int) -> None:
    """The messages of a WebSocket, in order, as they were passed on or refused."""
    if not lines:
        return
    click.echo("\n" + click.style("Transcript", bold=True))
    shown = lines if not most else lines[:most]
    for one in shown:
        number = "" if one.number is None else f"{one.number} "
        refused = "" if one.is_passed else f" refused {one.reason}"
        head = f"  {number}{when(one.ts_us)} {one.side or one.kind}{refused}"
        click.echo(f"{escape(head)}: {escape(one.content) or f'({one.size} bytes)'}")
    if len(shown) < len(lines):
        click.echo(f"  ({len(lines) - len(shown)} more messages; --body-lines 0 shows all)")


def line(event: dict[str, Any]) -> tuple[object, ...]:
    """One event of the flow."""
    more = [name for name in sorted(event["fields"]) if name not in SHOWN_ABOVE]
    kind = event["kind"] if event["stage"] != "Mark" else f"{event['kind']} {event['core'].get('verb', '')}".strip()
    return (event["seq"], when(event["ts_us"]), event["stage"], kind, ", ".join(more), event["leaf"][:16])


def _pairs(headers: Any) -> list[tuple[str, str]]:
    if isinstance(headers, dict):
        return [(name, _flat(value)) for name, value in headers.items()]
    if isinstance(headers, list):
        return [(str(pair[0]), str(pair[1])) for pair in headers if isinstance(pair, list) and len(pair) == 2]
    return [("headers", str(headers))] if headers else []


def _joined(value: Mapping[str, Any], *names: str) -> str:
    return " ".join(str(value[name]) for name in names if value.get(name) not in (None, ""))


def _counts(masked: Any) -> str:
    return ", ".join(f"{count} {name}" for name, count in masked.items()) if isinstance(masked, dict) else ""


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value)
    return " ".join(_flat(item) for item in value.values()) if isinstance(value, dict) else str(value)
