"""The command line `guardhouse`: finds the verb, and nothing else.

Each verb is a file of its own beside this one and exposes `command`. Verbs are imported when they are named, so that
`guardhouse --help` does not load a detector. Exit codes: 0 done, 1 the answer is no, 2 usage, 3 cannot reach or read
(`verify` differs: see its help).
"""

import importlib

import click

VERBS: dict[str, str] = {
    "init": "write a commented skeleton of policies/ for a real site",
    "doctor": "check this installation and explain what is wrong",
    "dev": "development mode: mint tokens of the example's people",
    "search": "find events by facets",
    "show": "show one event or flow, with its trace and decision",
    "tree": "draw the task tree of a trace, session or flow",
    "sessions": "list sessions",
    "verify": "prove that the audit log is whole",
    "witness": "print or import the pin of the log",
    "export": "write events or flows to files",
    "replay": "serve recorded answers, or send recorded requests again",
    "approvals": "list, show, approve and deny what is held",
    "identity": "say which checks a token fails",
    "key": "issue, list, rotate and revoke API keys",
    "policy": "check, test and explain the rules",
    "mask": "mask a file, or list what would be masked",
    "operation": "say what the gateway understands a request to be",
    "reload": "load the policy files again, all or none",
}
MODULES = {"init": "init_site"}  # where the file's name differs from the verb


class Verbs(click.Group):
    """Finds a verb's file by its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"addons.cli.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="guardhouse")
def main() -> None:
    """Guardhouse: the gateway that holds, masks, records and proves.

    Every verb has --help with examples, and --json where it prints something.
    """


if __name__ == "__main__":
    main()
