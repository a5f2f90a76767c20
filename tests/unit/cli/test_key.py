"""`guardhouse key`: the key alone on standard output, everything else beside it."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from addons.cli.main import main
from addons.core.identity import key_rows
from addons.core.identity.api_keys import ApiKeys, parse
from tests.harness import FakeClock
from tests.parts.served import served


class Rows:
    """The table, and the log beside it, in memory."""

    def __init__(self):
        self.table = {}
        self.events = []

    async def append(self, event):
        self.events.append(event)
        return 1

    async def commit(self, event, moves):
        for move in moves:
            if isinstance(move, key_rows.Insert):
                self.table[move.row["id"]] = dict(move.row)
            else:
                self.table[move.where["id"]] |= move.set
        return await self.append(event)

    async def rows(self, table, where, order="", limit=0):
        return [row for row in self.table.values() if all(row[name] == value for name, value in where.items())]

    def health(self):
        return {}


@pytest.fixture
def run(tmp_path):
    store = Rows()

    async def find(key_id):
        await asyncio.sleep(0)
        return store.table.get(key_id)

    keys = ApiKeys(FakeClock(), b"p" * 32, find)
    with served(tmp_path, store=store, api_keys=keys) as (_, env):

        def invoke(*words, token="bob"):
            return CliRunner().invoke(main, ["key", *words], env={**env, "GUARDHOUSE_TOKEN": token})

        yield invoke


CREATE = ("create", "report", "--owner", "dev:alice", "--expires", "30d", "--group", "readers", "--network", "192.0.2.0/24")


def test_a_key_is_printed_once_and_alone(run):
    made = run(*CREATE)
    assert made.exit_code == 0, made.output
    key = parse(made.stdout.rstrip("\n"))
    assert key is not None
    assert made.stderr == f"key:{key.id} (report) for dev:alice, until 2023-12-14T22:13:20Z. This key is not shown again.\n"
    listed = run("list")
    assert made.stdout.strip() not in listed.output
    for part in (key.id, "report", "active", "service", "dev:alice", "key:readers", "192.0.2.0/24", "2023-12-14T22:13:20Z"):
        assert part in listed.stdout


def test_rotate_and_revoke(run):
    made = json.loads(run(*CREATE, "--json").stdout)
    turned = run("rotate", made["id"], "--overlap", "1h")
    assert turned.exit_code == 0, turned.output
    assert parse(turned.stdout.strip()).id == made["id"] and turned.stdout.strip() != made["key"]
    gone = run("revoke", made["id"], "--reason", "found in a log")
    assert (gone.exit_code, gone.stderr) == (0, f"Revoked {made['id']} (report).\n")
    assert json.loads(run("list", "--json").stdout)["state"] == "revoked"
    again = run("revoke", made["id"])
    assert (again.exit_code, "revoked" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(("create", "report", "--expires", "30d"), 2, id="no-owner"),
        pytest.param(("create", "report", "--owner", "dev:alice"), 2, id="no-end"),
        pytest.param(("create", "report", "--owner", "dev:alice", "--expires", "soon"), 2, id="no-duration"),
        pytest.param(("create", "report", "--owner", "dev:alice", "--expires", "1d", "--kind", "human"), 2, id="human"),
        pytest.param(("create", "report", "--owner", "dev:alice", "--expires", "365d"), 1, id="too-long"),
        pytest.param(("revoke", "gh_aaaaaaaaaaaa_secret"), 2, id="a-whole-key-is-no-argument"),
        pytest.param(("revoke", "aaaaaaaaaaaa"), 1, id="unknown"),
    ],
)
def test_what_is_refused(run, words, code):
    assert run(*words).exit_code == code


def test_it_needs_the_role(run):
    answer = run("list", token="alice")
    assert (answer.exit_code, "role admin" in answer.stderr) == (1, True)
