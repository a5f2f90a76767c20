"""`guardhouse policy`: check the files, run written cases, explain one request. Works on files alone, sends nothing."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text
from rich.tree import Tree

from addons.cli.console import NO, AnswerIsNo, CannotRead, console, escape, json_option, print_json, print_table, warn
from addons.cli.operation import find_service, pairs
from addons.core.clock import SystemClock
from addons.core.config.document import read_plain
from addons.core.config.load import find_policies, load
from addons.core.config.model import Snapshot
from addons.core.errors import ConfigError, GuardhouseError
from addons.core.policy.cases import Case, CaseError, Verdict, cases_from, person, record_of, run
from addons.core.policy.check import problems
from addons.core.policy.explain import RuleStory, Story, explain
from addons.host.reload import CHECKS

policies_option = click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")


@click.group(
    epilog="""\b
Examples:
  guardhouse policy check
  guardhouse policy test
  guardhouse policy explain DELETE /customers/7 --service crm --as dev:alice --kind agent --purpose demo/tour
"""
)
def command() -> None:
    """Check, test and explain the rules."""


@command.command("check", epilog="Exit codes: 0 the gateway would start with these files, 1 it would not, 3 no such folder.")
@policies_option
@json_option
def check_command(policies: str | None, as_json: bool) -> None:
    """Check all policy files as a start or a reload would: names, shapes, conditions, attributes, approvals."""
    folder = folder_of(policies)
    try:
        snapshot = load(folder, checks=CHECKS(), clock_now=SystemClock().now(), environ=os.environ)
    except ConfigError as error:
        _print_problems(error, as_json)
        raise SystemExit(NO) from None
    if as_json:
        print_json(
            {"ok": True, "digest": snapshot.digest, "rules": len(snapshot.rules.rules), "warnings": list(snapshot.warnings), "problems": []}
        )
        return
    for warning in snapshot.warnings:
        warn(warning)
    click.echo(f"{len(snapshot.rules.rules)} rules, {len(snapshot.gateway.services)} services: no problem found. {snapshot.digest}")


@command.command("test", epilog="Exit codes: 0 all cases pass (or there are none), 1 at least one differs, 3 a file cannot be read.")
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False))
@policies_option
@json_option
def test_command(files: tuple[str, ...], policies: str | None, as_json: bool) -> None:
    """Run written cases: FILES, or policies/tests/*.yaml."""
    snapshot = usable(policies)
    now = SystemClock().now()
    found = [(path, case) for path in _case_files(snapshot, files) for case in _cases(snapshot, path)]
    verdicts = [(path.name, run(snapshot, case, now)) for path, case in found]
    failed = sum(not verdict.passed for _, verdict in verdicts)
    if as_json:
        for name, verdict in verdicts:
            print_json({"file": name, "case": verdict.case.name, "passed": verdict.passed, "differences": list(verdict.differences)})
    else:
        _print_verdicts(verdicts)
        click.echo(f"{len(verdicts) - failed} of {len(verdicts)} cases pass.")
    raise SystemExit(NO if failed else 0)


@command.command("explain", epilog="Exit codes: 0 allowed (or let through by observe mode), 1 denied or held, 3 the files cannot be read.")
@click.argument("method")
@click.argument("url")
@click.option("--service", required=True, help="A service of gateway.yaml.")
@click.option("--as", "who", required=True, metavar="ALIAS:SUBJECT", help="Who asks.")
@click.option("--kind", default="human", show_default=True, type=click.Choice(["human", "service", "agent", "ci", "workload"]))
@click.option("--group", "groups", multiple=True, help="A group of theirs, with or without the alias; may be repeated.")
@click.option("--client", help="The client id of the token.")
@click.option("--actor", "actors", multiple=True, metavar="ALIAS:SUBJECT", help="Who acts for them, the current one first.")
@click.option("--owner", metavar="ALIAS:SUBJECT")
@click.option("--purpose", default="")
@click.option("--purpose-source", default="header", show_default=True, type=click.Choice(["claim", "header", "baggage", "none"]))
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE")
@click.option("--body", default="")
@policies_option
@json_option
def explain_command(
    method: str, url: str, service: str, who: str, headers: tuple[str, ...], body: str, purpose: str, purpose_source: str,
    policies: str | None, as_json: bool, groups: tuple[str, ...], actors: tuple[str, ...], **rest: Any,
) -> None:  # fmt: skip
    """Say what policy would decide about one request, and why each rule matched or not."""
    snapshot = usable(policies)
    find_service(snapshot, service)
    alias, _, subject = who.partition(":")
    principal = person(issuers_of(snapshot), alias, subject, {**rest, "groups": groups, "actors": actors})
    source = purpose_source if purpose else "none"
    fields = tuple(pairs([header.partition(":")[::2] for header in headers]))
    case = Case("explain", service, method, url, fields, body.encode(), principal, purpose, source, None, None, {})
    now = SystemClock().now()
    try:
        story = explain(snapshot, record_of(snapshot, case), now)
    except GuardhouseError as error:
        raise AnswerIsNo(f"refused before policy with {error.status} {error.code}: {error}") from None
    if as_json:
        print_json(plain(story))
    else:
        print_story(story, f"{method} {url}")
    raise SystemExit(0 if story.decision.effect == "allow" else NO)


def folder_of(policies: str | None) -> Path:
    """Return the policies folder, or say that there is none."""
    try:
        return find_policies(policies, os.environ, Path(__file__).parents[2])
    except ConfigError as error:
        raise CannotRead(str(error)) from error


def usable(policies: str | None) -> Snapshot:
    """Load files that must be sound: cases on broken rules would prove nothing."""
    try:
        return load(folder_of(policies), checks=[problems], clock_now=SystemClock().now(), environ=os.environ)
    except ConfigError as error:
        raise CannotRead(f"the policy files cannot be used:\n{error}") from error


def issuers_of(snapshot: Snapshot) -> Mapping[str, str]:
    """Return alias to issuer, for made-up principals."""
    return {issuer.name: issuer.issuer for issuer in snapshot.gateway.identity.issuers}


def _case_files(snapshot: Snapshot, files: tuple[str, ...]) -> list[Path]:
    return [Path(name) for name in files] or sorted((snapshot.folder / "tests").glob("*.yaml"))


def _cases(snapshot: Snapshot, path: Path) -> list[Case]:
    try:
        return cases_from(read_plain(path), issuers_of(snapshot))
    except (CaseError, ConfigError) as error:
        raise CannotRead(f"{path.name}: {error}") from error
    except OSError as error:
        raise CannotRead(f"{path.name}: {error.strerror}") from error


def _print_problems(error: ConfigError, as_json: bool) -> None:
    if as_json:
        found = [{"where": one.where, "problem": one.problem, "hint": one.hint} for one in error.problems]
        print_json({"ok": False, "problems": found})
        return
    print_table(("where", "problem", "hint"), [(one.where, one.problem, one.hint) for one in error.problems])


def _print_verdicts(verdicts: list[tuple[str, Verdict]]) -> None:
    rows = [(name, one.case.name, "pass" if one.passed else "FAIL", "; ".join(one.differences)) for name, one in verdicts]
    print_table(
        ("file", "case", "", "difference"), rows, empty="No cases. Write some in policies/tests/*.yaml; the end of rules.yaml shows how."
    )


def plain(story: Story) -> dict[str, Any]:
    """Return a story as JSON carries it."""
    decision = story.decision
    return {
        "effect": str(decision.effect), "rules": list(decision.rules), "masks": list(decision.masks), "approvals": list(decision.approvals),
        "reasons": list(decision.reasons), "observed": decision.observed, "policy_digest": decision.policy_digest,
        "considered": [
            {"rule": one.rule, "effect": one.effect, "operation": one.operation, "matched": one.matched,
             "steps": [{"key": step.key, "met": step.met, "wanted": step.wanted, "got": step.got} for step in one.steps]}
            for one in story.rules
        ],
    }  # fmt: skip


def print_story(story: Story, asked: str) -> None:
    """Print the decision and a tree of rules; what matched comes first."""
    decision = story.decision
    by = ", ".join(decision.rules) or "no rule: the default"
    tree = Tree(Text(escape(f"{asked}: {decision.effect} by {by}"), style="bold"))
    if decision.observed:
        tree.add(Text(f"observe mode: without it, {decision.observed}"))
    tree.add(Text(f"masks: {', '.join(decision.masks) or 'none'}"))
    for one in sorted(story.rules, key=lambda story: not story.matched):
        _add_rule(tree, one)
    console().print(tree)


def _add_rule(tree: Tree, one: RuleStory) -> None:
    branch = tree.add(
        Text(f"{'matches' if one.matched else 'does not match'}: {one.rule} ({one.effect})", style="bold" if one.matched else "dim")
    )
    for step in one.steps:
        mark, word = ("+", "is") if step.met else ("-", "but got")
        branch.add(
            Text(escape(f"{mark} {step.key}: {step.wanted}" + ("" if step.met and step.got == step.wanted else f" [{word} {step.got}]")))
        )
