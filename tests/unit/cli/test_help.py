"""Every verb explains itself with an example, and refuses what it does not know with exit code 2."""

from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner

from addons.cli.main import MODULES, VERBS, main

THERE = [verb for verb in VERBS if find_spec(f"addons.cli.{MODULES.get(verb, verb)}") is not None]


def commands():
    """Every command that does something: verbs, or the commands of a verb that is a group."""
    for verb in THERE:
        found = main.get_command(click.Context(main), verb)
        if isinstance(found, click.Group):
            yield from ((verb, name) for name in found.commands)
        else:
            yield (verb,)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(words):
    """In its own help, or in that of its verb."""
    answers = [CliRunner().invoke(main, [*words[:count], "--help"]) for count in range(1, len(words) + 1)]
    text = " ".join(" ".join(answer.output.split()) for answer in answers)
    assert [answer.exit_code for answer in answers] == [0] * len(words)
    assert "Example" in text
    assert "guardhouse " + " ".join(words) in text.partition("Example")[2]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_refuses_an_unknown_option(words):
    answer = CliRunner().invoke(main, [*words, "--no-such-option"])
    assert answer.exit_code == (64 if words == ("verify",) else 2)
    assert "No such option" in answer.output


def test_the_list_of_verbs_needs_no_import():
    answer = CliRunner().invoke(main, ["--help"])
    assert answer.exit_code == 0
    assert all(verb in answer.output for verb in VERBS)


def test_an_unknown_verb_is_a_wrong_argument():
    assert CliRunner().invoke(main, ["fly"]).exit_code == 2
