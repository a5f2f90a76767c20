"""`guardhouse key`: API keys for callers that cannot do OpenID Connect. A key is printed once, on standard output."""

from typing import Any

import click

from addons.cli.client import connect, gateway_options
from addons.cli.console import json_option, note, print_json, print_table
from addons.core.config.units import Wrong, duration

COLUMNS = ("Id", "Name", "State", "Kind", "Owner", "Groups", "Networks", "Expires", "Last used")


def age(value: str | int) -> int:
    """Seconds of a duration such as 30d."""
    try:
        return value if isinstance(value, int) else int(duration(value))
    except Wrong as error:
        raise click.BadParameter(str(error)) from error


@click.group()
def command() -> None:
    """Issue, list, rotate and revoke API keys.

    For callers that cannot do OpenID Connect. Needs the role admin; each change is an event. A key has an owner and an
    end, is never a person, and does not open the control plane. It is sent as X-Api-Key.
    """


@command.command()
@click.argument("name")
@click.option("--owner", required=True, help="Who answers for it: alias:subject.")
@click.option("--kind", type=click.Choice(["service", "agent", "ci", "workload"]), default="service", show_default=True, help="What it is.")
@click.option("--expires", type=age, required=True, help="How long it lives: 12h, 30d (at most identity.api_keys.max_lifetime).")
@click.option("--group", "groups", multiple=True, help="A group; rules see it as key:GROUP. Repeatable.")
@click.option("--network", "networks", multiple=True, help="Only from this network, such as 192.0.2.0/24. Repeatable.")
@click.option("--reason", default="", help="Why; recorded.")
@gateway_options
@json_option
def create(name: str, owner: str, kind: str, expires: int, groups: tuple[str, ...], networks: tuple[str, ...], reason: str,
           url: str | None, ca: str | None, policies: str | None, as_json: bool) -> None:  # fmt: skip
    """Issue a key called NAME and print it, once.

    \b
    Examples:
      guardhouse key create nightly-report --owner dev:alice --expires 30d
      guardhouse key create planner --owner dev:alice --kind agent --group readers --network 10.0.0.0/8 --expires 7d
    """
    asked = {
        "name": name,
        "owner": owner,
        "kind": kind,
        "expires_in": expires,
        "groups": groups,
        "allowed_cidrs": networks,
        "reason": reason,
    }
    show_once(connect(url, ca, policies).post("/v1/keys", asked), as_json)


@command.command("list")
@gateway_options
@json_option
def list_keys(url: str | None, ca: str | None, policies: str | None, as_json: bool) -> None:
    """List all keys, without their secrets.

    \b
    Examples:
      guardhouse key list
      guardhouse key list --json | jq 'select(.state == "active")'
    """
    keys = connect(url, ca, policies).get("/v1/keys")["keys"]
    if as_json:
        for key in keys:
            print_json(key)
        return
    print_table(COLUMNS, [row(key) for key in keys], empty="There is no key.")


@command.command()
@click.argument("key_id")
@click.option("--overlap", type=age, default=0, help="How long the old secret stays good: 1h (at most 7d). Default: it ends at once.")
@click.option("--expires", type=age, help="A new end, from now. Default: the end stays.")
@click.option("--reason", default="", help="Why; recorded.")
@gateway_options
@json_option
def rotate(
    key_id: str, overlap: int, expires: int | None, reason: str, url: str | None, ca: str | None, policies: str | None, as_json: bool
) -> None:
    """Give a key a new secret and print it, once. Name, groups and subject stay.

    \b
    Examples:
      guardhouse key rotate 4k2m9x0q7c1b
      guardhouse key rotate 4k2m9x0q7c1b --overlap 1h --expires 30d
    """
    asked = {"overlap": overlap, "reason": reason} | ({} if expires is None else {"expires_in": expires})
    show_once(connect(url, ca, policies).post(f"/v1/keys/{checked(key_id)}/rotate", asked), as_json)


@command.command()
@click.argument("key_id")
@click.option("--reason", default="", help="Why; recorded.")
@gateway_options
@json_option
def revoke(key_id: str, reason: str, url: str | None, ca: str | None, policies: str | None, as_json: bool) -> None:
    """End a key at once, also for requests that are under way.

    \b
    Examples:
      guardhouse key revoke 4k2m9x0q7c1b --reason 'found in a log'
    """
    key = connect(url, ca, policies).post(f"/v1/keys/{checked(key_id)}/revoke", {"reason": reason})
    if as_json:
        print_json(key)
        return
    note(f"Revoked {key['id']} ({key['name']}).")


def show_once(key: dict[str, Any], as_json: bool) -> None:
    """The key on standard output, everything else beside it."""
    if as_json:
        print_json(key)
        return
    click.echo(key["key"])
    note(f"{key['subject']} ({key['name']}) for {key['owner']}, until {key['expires_at']}. This key is not shown again.")


def row(key: dict[str, Any]) -> tuple[object, ...]:
    """One key as a line."""
    groups, networks = ", ".join(key.get("groups") or ()), ", ".join(key.get("allowed_cidrs") or ())
    told = (key.get(name) for name in ("id", "name", "state", "kind", "owner"))
    return (*told, groups, networks, key.get("expires_at"), key.get("last_used_at"))


def checked(key_id: str) -> str:
    """An id as `guardhouse key list` prints it; never a whole key, which would end in a URL."""
    if len(key_id) != 12 or not key_id.isascii() or not key_id.isalnum():
        raise click.UsageError("A key's id has 12 letters and digits, as `guardhouse key list` prints it. Never the key itself.")
    return key_id
