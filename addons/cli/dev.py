"""`guardhouse dev`: tokens of the example's people, from the development issuer that runs inside the gateway.

There is nothing to log in with: whoever can reach the issuer on this machine can be any of them. That is why it exists
only with the `unsafe_development` block, and why this verb asks nobody else.
"""

import http.client
import json
from typing import Any

import click

from addons.cli.client import snapshot_of
from addons.cli.console import AnswerIsNo, CannotRead, json_option, print_json
from addons.core.config.model import Address

TIMEOUT = 10.0
MAX_ANSWER = 64 << 10


@click.group()
def command() -> None:
    """Development mode: tokens of the example's people."""


@command.command(
    epilog="Examples:  guardhouse dev token planner  |  guardhouse dev token bob --minutes 5  |  "
    'curl -H "Authorization: Bearer $(guardhouse dev token alice)" ...'
)
@click.argument("name")
@click.option("--minutes", type=click.FloatRange(0, 60, min_open=True), default=60.0, show_default=True, help="How long the token counts.")
@click.option("--audience", help="For this audience only. Default: every audience that the policy files give this issuer.")
@click.option("--purpose", help="Sign this purpose into the token, so that it counts as a claim.")
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@json_option
def token(name: str, minutes: float, audience: str | None, purpose: str | None, policies: str | None, as_json: bool) -> None:
    """Print a token for NAME, one of the people of the unsafe_development block.

    The gateway must be running: its issuer makes a new key at each start. Exit codes: 0 printed, 1 the issuer says no, 3 it
    cannot be reached, or there is no development block.
    """
    development = snapshot_of(policies).gateway.development
    if development is None:
        raise CannotRead("policies/gateway.yaml has no unsafe_development block. Get a token from your OpenID provider.")
    asked = {"name": name, "minutes": minutes, "audience": audience, "purpose": purpose}
    granted = ask(development.issuer, {key: value for key, value in asked.items() if value is not None})
    if as_json:
        print_json(granted)
        return
    click.echo(granted["access_token"])


def ask(issuer: Address, asked: dict[str, Any]) -> dict[str, Any]:
    """Ask the issuer for a token. Raises AnswerIsNo or CannotRead (click prints both)."""
    connection = http.client.HTTPConnection(issuer.host, issuer.port, timeout=TIMEOUT)
    headers = {"Host": str(issuer), "Content-Type": "application/json"}
    try:
        connection.request("POST", "/token", json.dumps(asked), headers)
        response = connection.getresponse()
        told = json.loads(response.read(MAX_ANSWER))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CannotRead(f"the development issuer does not answer on {issuer}. Start the gateway: mitmdump -s addons/stack.py") from error
    finally:
        connection.close()
    if response.status != 200 or not isinstance(told, dict) or "access_token" not in told:
        raise AnswerIsNo(f"no token: {told.get('error_description', 'refused') if isinstance(told, dict) else 'refused'}")
    return told
