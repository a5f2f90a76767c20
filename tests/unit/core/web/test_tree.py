"""GET /v1/tree: role, the event before the answer, a tree."""

import pytest

from addons.core.audit import events
from tests.parts.control import bearer
from tests.unit.core.web.test_reading import FLOW, bench, reads  # noqa: F401  (`bench` is a fixture)


@pytest.mark.parametrize("id", [FLOW, "ab" * 16], ids=["flow", "trace"])
async def test_an_investigator_gets_the_tree_and_is_written_down_first(bench, id):  # noqa: F811
    async with bench.client() as client:
        answer = await client.get("/v1/tree", params={"id": id, "reason": "CASE-1"}, headers=bearer("carol"))
    row = answer.json()["branches"][0]["rows"][0]
    assert (row["depth"], row["flow"], row["principal"], row["operation"], row["stage"]) == (
        0, FLOW, "dev:alice", "DELETE /customers/7", "ResponseComplete",
    )  # fmt: skip
    found = await events_of(bench)
    assert found == [("tree", id, "CASE-1")]


async def events_of(bench):  # noqa: F811
    import asyncio

    from addons.core.audit.reader import Reader

    def read():
        with Reader.open(bench.database) as reader:
            return [
                (row.core["verb"], row.fields["query"].decode(), row.fields["reason"].decode())
                for row in reader.events(f"kind = {events.KINDS['read']}", ())
            ]

    return await asyncio.to_thread(read)


@pytest.mark.parametrize(
    ("token", "id", "status"),
    [("carol", "nothing", 404), ("bob", FLOW, 403), ("carol", "x" * 257, 422), ("carol", "", 422)],
    ids=["not-there", "no-investigator", "too-long", "empty"],
)
async def test_what_is_refused(bench, token, id, status):  # noqa: F811
    async with bench.client() as client:
        answer = await client.get("/v1/tree", params={"id": id}, headers=bearer(token))
    assert answer.status_code == status


async def test_a_tree_that_is_too_large_says_so(bench, monkeypatch):  # noqa: F811
    monkeypatch.setattr("addons.core.audit.lineage.MAX_EVENTS", 1)
    async with bench.client() as client:
        answer = await client.get("/v1/tree", params={"id": FLOW}, headers=bearer("carol"))
    assert (answer.status_code, "more than 1 events" in answer.json()["detail"]) == (422, True)
