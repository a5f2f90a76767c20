"""Search by facet, show, sessions: what is found, and what a hostile query gets."""

import asyncio
import contextlib

import pytest

from addons.core.audit.events import json_field, make
from addons.core.audit.query import QueryError
from addons.core.audit.reader import Reader, TamperedError
from addons.core.audit.search import search, sessions, show
from addons.core.audit.store import StoreError
from tests.harness import FakeClock
from tests.parts import audit

NOW = 1_700_000_000.0
FLOW = "018bcfe5-6800-7000-8000-00000000000{}"
AGENT = {"issuer": "http://127.0.0.1:8445", "issuer_alias": "dev", "subject": "bot", "kind": "agent", "attributes": {"run_id": "17"}}
ACTING = {
    "issuer": "http://127.0.0.1:8445",
    "issuer_alias": "corp",
    "subject": "ana",
    "kind": "human",
    "actors": [{"issuer": "x", "subject": "helper"}],
}


def events():
    purpose = json_field({"label": "support/4711", "source": "header"})
    yield make(
        "RequestReceived", "http",
        {"flow": FLOW.format(1), "service": "crm", "verb": "GET", "effect": "allow", "rules": ["agents-read"], "session": "s1", "trace": "ab" * 16},
        {"principal": json_field(AGENT), "path": b"/customers/42", "purpose": purpose, "client": json_field({"ip": "10.0.0.7"})},
    )  # fmt: skip
    yield make(
        "ResponseComplete", "http",
        {"flow": FLOW.format(1), "service": "crm", "verb": "GET", "status": 200, "effect": "allow", "masked": {"EMAIL_ADDRESS": 2}, "session": "s1"},
        {"principal": json_field(AGENT), "path": b"/customers/42", "response.body": b'{"name":"a rare word: quokka"}' * 10},
    )  # fmt: skip
    yield make(
        "Denied", "http",
        {"flow": FLOW.format(2), "service": "echo", "verb": "DELETE", "status": 403, "effect": "deny", "rules": ["no-deletes"], "approval": "ap_1"},
        {"principal": json_field(ACTING), "path": b"/things/1", "reviewers": json_field(["dev:bob"]), "reason": b"policy-denied"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")

    async def fill():
        log = await audit.open_log(folder, FakeClock(NOW))
        for event in events():
            await log.append(event, reserve=event.is_begin)
        await log.close()

    asyncio.run(fill())
    return folder


@pytest.fixture
def reader(folder):
    with Reader.open(folder / "audit.db") as reader:
        yield reader


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("principal:bot stage:RequestReceived", [3]),
        ("principal:dev:bot stage:RequestReceived", [3]),
        ("principal:corp:bot", []),
        ("principal:corp:ana", [5]),
        ("agent:bot kind:http", [4, 3]),
        ("agent:helper", [5]),
        ("client:10.0.0.7", [3]),
        ("purpose:support/4711 kind:http", [3]),
        ("purpose:support/* kind:http", [3]),
        ("service:crm", [4, 3]),
        ("service:nothing", []),
        ("verb:DELETE", [5]),
        ("path:/customers/*", [4, 3]),
        ("path:/customers/4", []),
        ("status:403", [5]),
        ("status:2xx", [4]),
        ("effect:deny", [5]),
        ("rule:agents-read", [3]),
        ("trace:" + "ab" * 16 + " kind:http", [3]),
        ("session:s1 kind:http", [4, 3]),
        ("flow:" + FLOW.format(2), [5]),
        ("approval:ap_1", [5]),
        ("masked:EMAIL_ADDRESS", [4]),
        ("masked:*", [4]),
        ("reviewer:dev:bob", [5]),
        ("attr.run_id:17 stage:RequestReceived", [3]),
        ("quokka", [4]),
        ('"rare word"', [4]),
        ("QUOKKA service:crm", [4]),
        ("service:crm since:1h status:200", [4]),
        ("service:crm since:2023-11-14T22:13:20Z status:200", [4]),
        ("service:crm until:2023-11-14", []),
        ("reason policy-denied", []),
        ("policy-denied", [5]),
    ],
)
def test_facets_find(reader, query, found):
    assert [hit.seq for hit in search(reader, query, now=NOW + 1)] == found


def test_a_hit_says_what_a_line_needs(reader):
    (hit,) = search(reader, "verb:DELETE", now=NOW)
    assert (hit.principal, hit.path, hit.status, hit.effect, hit.rules, hit.reason) == (
        "corp:ana",
        "/things/1",
        403,
        "deny",
        ("no-deletes",),
        "policy-denied",
    )


def test_pages_go_back_in_time(reader):
    first = search(reader, "", limit=2, now=NOW)
    rest = search(reader, "", limit=1000, before=first[-1].seq, now=NOW)
    assert [hit.seq for hit in first + rest] == list(range(first[0].seq, 0, -1))


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("nothing:here", id="unknown-facet"),
        pytest.param("status:abc", id="bad-status"),
        pytest.param("status:200 OR 1=1 --' status:x", id="sql"),
        pytest.param("effect:maybe", id="bad-effect"),
        pytest.param("since:yesterday", id="bad-time"),
        pytest.param('"never closed', id="open-quote"),
        pytest.param("a" * 1001, id="too-long"),
        pytest.param("a " * 40, id="too-many"),
        pytest.param("with\x00nul", id="nul"),
        pytest.param("\x1b[2J", id="escape-sequence"),
        pytest.param("service:", id="no-value"),
        pytest.param('service:""', id="empty-value"),
    ],
)
def test_a_bad_query_gets_a_sentence(reader, query):
    with pytest.raises(ValueError, match=r"[.]$"):
        search(reader, query, now=NOW)


@pytest.mark.parametrize("query", ["principal:' OR '1'='1", "path:%", "path:_", "service:crm;DROP", "purpose:*", 'x" NEAR "y"'])
def test_hostile_values_are_only_values(reader, query):
    with contextlib.suppress(QueryError):
        assert search(reader, query, now=NOW) == [] or query == "purpose:*"
    assert reader.size() > 0


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_has_limits(reader, limit):
    with pytest.raises(QueryError):
        search(reader, "", limit=limit)


def test_a_flow_is_shown_whole_by_its_id_and_by_one_of_its_numbers(reader):
    view = show(reader, FLOW.format(1))
    assert [event.stage for event in view.events] == ["RequestReceived", "ResponseComplete"]
    assert (view.stage, view.first("path"), view.first("status"), view.first("principal")["subject"]) == (
        "ResponseComplete",
        "/customers/42",
        200,
        "bot",
    )
    assert show(reader, "3") == show(reader, "4") == view


def test_an_event_without_a_flow_is_shown_alone(reader):
    assert [event.core["verb"] for event in show(reader, "1").events] == ["start"]


@pytest.mark.parametrize("id", ["0", "999999", "nonsense", "018bcfe5-6800-7000-8000-0000000000ff", "' OR 1=1"])
def test_what_is_not_there_is_a_sentence(reader, id):
    with pytest.raises(QueryError):
        show(reader, id)


def test_sessions_are_listed_with_what_happened(reader):
    (row,) = sessions(reader, now=NOW)
    assert (row.id, row.principal, row.purpose, row.flows, row.denials, row.reason) == ("s1", "dev:bot", "support/4711", 1, 0, "stop")
    assert sessions(reader, "principal:corp:ana", now=NOW) == []
    with pytest.raises(QueryError):
        sessions(reader, "nothing:here")


def test_a_row_that_was_changed_is_not_shown(folder, tmp_path):
    copy = audit.copy(folder, tmp_path / "log")
    with audit.Attack(copy).open() as db:
        db.execute("UPDATE event SET core = CAST(replace(CAST(core AS TEXT), '403', '200') AS BLOB) WHERE seq = 5")
    with Reader.open(copy / "audit.db") as reader, pytest.raises(TamperedError):
        show(reader, "5")


def test_a_query_that_takes_too_long_is_interrupted(folder):
    with Reader.open(folder / "audit.db", seconds=0.05) as reader, pytest.raises(StoreError, match="too long"), reader.reading() as db:
        db.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n").fetchall()


def test_a_reader_cannot_write(reader):
    with pytest.raises(StoreError), reader.reading() as db:
        db.execute("DELETE FROM meta")


def test_a_bare_file_in_a_folder_that_cannot_be_written_is_read(folder, tmp_path):
    (tmp_path / "audit.db").write_bytes((folder / "audit.db").read_bytes())
    tmp_path.chmod(0o500)
    try:
        with Reader.open(tmp_path / "audit.db") as reader:
            assert search(reader, "verb:DELETE", now=NOW)
    finally:
        tmp_path.chmod(0o700)
