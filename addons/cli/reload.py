"""`guardhouse reload`: load the policy files again, all or none."""

import click

from addons.cli.client import Refused, connect, gateway_options
from addons.cli.console import AnswerIsNo, escape, json_option, print_json, warn


@click.command()
@gateway_options
@json_option
def command(url: str | None, ca: str | None, policies: str | None, as_json: bool) -> None:
    """Let the running gateway load its policy files again; on any error the old ones stay in force.

    Needs the role admin. Requests in flight keep the rules they began with. SIGHUP does the same and answers in the log.

    \b
    Examples:
      guardhouse reload
      guardhouse reload --json
    """
    try:
        done = connect(url, ca, policies).post("/v1/reload")
    except Refused as refused:
        raise told(refused, as_json) from refused
    if as_json:
        print_json({"reloaded": True, **done})
        return
    for warning in done["warnings"]:
        warn(warning)
    click.echo(f"Reloaded: {escape(done['digest'])}")


def told(refused: Refused, as_json: bool) -> AnswerIsNo:
    """The refusal, with every problem of the files on a line of its own."""
    problems = refused.problem.get("problems") or []
    if as_json:
        print_json({"reloaded": False, "code": refused.code, "problems": problems})
    lines = [f"{one['where']}: {one['problem']}" + (f" ({one['hint']})" if one.get("hint") else "") for one in problems]
    return AnswerIsNo("\n".join([refused.message, *lines]))
