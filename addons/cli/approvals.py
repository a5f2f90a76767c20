"""guardhouse approvals: what is held, the card of one, and a decision about it.

The same REST as every other channel, with the reader's own token (`GUARDHOUSE_TOKEN`); never the database. Nobody
decides unseen: the card is shown first, and its digest is confirmed by prompt or given with --digest.
"""

from typing import Any

import click

from addons.cli.client import Client, connect, gateway_options
from addons.cli.console import AnswerIsNo, json_option, note, print_facts, print_json, print_table

STATES = ("pending", "approved", "denied", "expired", "cancelled", "consumed")


@click.group("approvals")
def command() -> None:
    """List, show, approve and deny what is held.

    \b
    Examples:
      export GUARDHOUSE_TOKEN=$(guardhouse dev token bob)
      guardhouse approvals list
      guardhouse approvals show ap_0193...
      guardhouse approvals approve ap_0193... --reason "CHG-4711 agreed in the change board"
      guardhouse approvals deny ap_0193... --reason "this is the wrong customer"
    """


@command.command("list")
@click.option("--state", type=click.Choice([*STATES, "all"]), default="pending", show_default=True, help="Only those in this state.")
@click.option("--service", help="Only those of this service.")
@click.option("--mine", is_flag=True, help="Only what you asked for yourself.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@json_option
@gateway_options
def list_(
    state: str, service: str | None, mine: bool, limit: int, as_json: bool, url: str | None, ca: str | None, policies: str | None
) -> None:
    """What you may decide, and what you asked for; newest first.

    \b
    Examples:
      guardhouse approvals list
      guardhouse approvals list --state all --service crm --json
    """
    query = {"state": None if state == "all" else state, "service": service, "mine": "true" if mine else None, "limit": limit}
    cards = connect(url, ca, policies).get("/v1/approvals", **query)["approvals"]
    if as_json:
        for card in cards:
            print_json(card)
        return
    rows = (
        [c["id"], c["state"], f"{c['have']}/{c['need']}", who(c), c["operation"]["text"], c["purpose"]["value"], ends(c)] for c in cards
    )
    print_table(["id", "state", "votes", "who", "wants", "purpose", "until or outcome"], rows, empty="Nothing is held.")


@command.command("show")
@click.argument("approval_id")
@click.option("--wait", type=click.FloatRange(0, 30), default=0.0, help="Wait up to so many seconds for a change.")
@json_option
@gateway_options
def show(approval_id: str, wait: float, as_json: bool, url: str | None, ca: str | None, policies: str | None) -> None:
    """The card of one approval: who wants what and why, who has voted, and what came of it.

    \b
    Example:
      guardhouse approvals show ap_0193...
    """
    client = connect(url, ca, policies)
    card = card_of(client, approval_id)
    if wait:
        card = client.get(f"/v1/approvals/{approval_id}", wait=wait, version=card["version"])
    print_json(card) if as_json else print_card(card)


def decision(effect: str) -> click.Command:
    """The verb of one effect: `approve` or `deny`."""

    @click.argument("approval_id")
    @click.option("--reason", required=True, help="Why, in 10 to 1,000 characters; kept in the audit log.")
    @click.option("--digest", help="The whole digest you looked at; without it you are shown the card and asked.")
    @json_option
    @gateway_options
    def decide(
        approval_id: str, reason: str, digest: str | None, as_json: bool, url: str | None, ca: str | None, policies: str | None
    ) -> None:
        client = connect(url, ca, policies)
        if digest is None:
            digest = confirm(card_of(client, approval_id), effect, as_json)
        said = {"effect": effect, "digest": digest, "reason": reason}
        card = client.post(f"/v1/approvals/{approval_id}/decision", said)
        if as_json:
            print_json(card)
            return
        click.echo(f"{approval_id} is {card['state']} now. {card['waiting_for']}".rstrip())

    decide.__doc__ = f"""{effect.capitalize()} one approval, after looking at it.

    \b
    Examples:
      guardhouse approvals {effect} ap_0193... --reason "CHG-4711 agreed in the change board"
      guardhouse approvals {effect} ap_0193... --reason "..." --digest hmac-sha-256:a71c06c7...
    """
    return click.command(effect)(decide)


command.add_command(decision("approve"))
command.add_command(decision("deny"))


def card_of(client: Client, approval_id: str) -> dict[str, Any]:
    """Fetch one card."""
    if "/" in approval_id or "?" in approval_id or not approval_id:
        raise click.UsageError("that is not the id of an approval")
    card: dict[str, Any] = client.get(f"/v1/approvals/{approval_id}")
    return card


def confirm(card: dict[str, Any], effect: str, as_json: bool) -> str:
    """Show the card and let the reader confirm its digest. Without a terminal there is nobody to ask."""
    if as_json:
        raise click.UsageError("--json asks nothing: give the digest you looked at with --digest")
    print_card(card)
    if effect == "approve" and card["cannot_approve"]:
        raise AnswerIsNo(card["cannot_approve"])
    asked = f"{effect.capitalize()} the request with the digest {card['short_digest']}?"
    if not click.confirm(asked, err=True):
        raise AnswerIsNo("Nothing was decided.")
    return str(card["digest"])


def print_card(card: dict[str, Any]) -> None:
    """Print everything of a card, for a person."""
    request, body = card["request"], card["body"]
    print_facts(
        {
            "approval": f"{card['id']}  ({card['state']}, version {card['version']})",
            "who": who(card),
            "wants": card["operation"]["text"],
            "of service": card["service"],
            "access": ", ".join(card["operation"]["access"]),
            "purpose": purpose(card),
            "request": f"{request['method']} {request['scheme']}://{request['authority']}{request['path']}{request['query']}",
            "headers": "\n".join(f"{name}: {value}" for name, value in request.get("headers", [])),
            "body": f"{body['size']} bytes, {body['note']}" if body["note"] else f"{body['size']} bytes",
            "masked": ", ".join(f"{name} x{count}" for name, count in sorted(card["masked"].items())),
            "held by": ", ".join(card["rules"]),
            "because": " ".join(card["reasons"]),
            "needs": ", ".join(f"{need['have']} of {need['need']} of {need['group']}" for need in card["requirements"]),
            "votes": "\n".join(vote_line(vote) for vote in card["votes"]),
            "missing": card["waiting_for"],
            "caller": "still waiting" if card["caller_connected"] else "no longer connected; will act on a retry",
            "until": card["execution_expires_at"] or card["expires_at"],
            "outcome": card["outcome"],
            "digest": f"{card['short_digest']}  ({card['digest']})",
        }
    )
    if body["text"]:
        note("")
        print_facts({"body": "\n" + body["text"]})
    if card["cannot_approve"]:
        note(card["cannot_approve"])


def who(card: dict[str, Any]) -> str:
    """On whose behalf, and through whom."""
    principal = card["principal"]
    through = "".join(f" through {actor['subject']}" for actor in card["actors"])
    return f"{principal['issuer']}:{principal['subject']} ({principal['kind']}){through}"


def purpose(card: dict[str, Any]) -> str:
    """The purpose, and whether anybody vouches for it."""
    told = card["purpose"]
    source = "verified" if told["source"] == "claim" else f"claimed by {told['source']}"
    detail = f': "{told["detail"]}"' if told["detail"] else ""
    return f"{told['value']} ({source}){detail}"


def vote_line(vote: dict[str, Any]) -> str:
    """One vote on one line."""
    reason = f': "{vote["reason"]}"' if vote["reason"] else ""
    return f"{vote['by']} {vote['effect']} by {vote['channel']} at {vote['at']}{reason}"


def ends(card: dict[str, Any]) -> str:
    """What came of it, or when it ends."""
    return str(card["outcome"] or card["execution_expires_at"] or card["expires_at"])
