"""The record of a flow: what one step writes is what the next one reads, in either form, and nothing else is seen."""

import copy
import json

from addons.core import exchange
from addons.core.exchange import Access, Decision, Effect, Exchange, HoldState, Operation, Outcome, Principal, Trace


def full() -> Exchange:
    return Exchange(
        id="0199",
        started_at=1.5,
        service="crm",
        operation=Operation("http", "GET", "GET /", frozenset({Access.READ}), ("/",), {"filters": ("a",)}),
        principal=Principal("https://idp.example", "corp", "ann", groups=("corp:a",), attributes={"team": ("x",)}),
        trace=Trace("ab", "cd"),
        decision=Decision(Effect.HOLD, ("r",), ("pii",), ("two",)),
        hold=HoldState("h", "open", "d", ("corp:bob",)),
        masked={"EMAIL_ADDRESS": 1},
        receipt=[{"count": 1}],
        notes=["n"],
        outcome=Outcome(200),
    )


def test_what_is_read_is_what_the_plain_record_says():
    metadata: dict = {}
    exchange.write(metadata, full())
    read = exchange.read(metadata)
    assert read == exchange.decode(metadata[exchange.KEY])
    assert read.operation.attributes == {"filters": ["a"]}  # as it would be after a file
    record = exchange.read(metadata)
    record.hold, record.notes = None, ["n", "m"]
    exchange.write(metadata, record)
    assert exchange.read(metadata) == exchange.decode(metadata[exchange.KEY])
    assert metadata[exchange.KEY] == exchange.encode(record)
    assert exchange.read(metadata).hold is None


def test_the_record_is_plain_data():
    metadata: dict = {}
    exchange.write(metadata, full())
    exchange.write(metadata, exchange.read(metadata))
    assert json.loads(json.dumps(metadata)) == metadata


def test_what_was_not_written_is_not_seen():
    metadata: dict = {}
    exchange.write(metadata, full())
    lost = exchange.read(metadata)
    lost.notes.append("lost")
    lost.masked["SECRET"] = 9
    lost.receipt[0]["count"] = 9
    lost.principal = None
    assert exchange.read(metadata) == exchange.decode(metadata[exchange.KEY])
    assert exchange.read(metadata).notes == ["n"]
    assert exchange.read(metadata).receipt == [{"count": 1}]


def test_another_record_under_the_key_is_read_as_it_stands():
    metadata: dict = {}
    exchange.write(metadata, full())
    other = copy.deepcopy(metadata)
    other[exchange.KEY]["service"] = "forged"
    assert exchange.read(other).service == "forged"
    assert exchange.read(metadata).service == "crm"
    metadata[exchange.KEY] = exchange.encode(Exchange(id="2"))
    assert exchange.read(metadata) == Exchange(id="2")


def test_only_the_latest_records_are_remembered_and_older_ones_still_read():
    flows: list[dict] = [{} for _ in range(exchange.MOST_WRITTEN + 10)]
    for number, metadata in enumerate(flows):
        exchange.write(metadata, Exchange(id=str(number)))
    assert [exchange.read(metadata).id for metadata in flows] == [str(number) for number in range(len(flows))]
    assert len(exchange._WRITTEN) == exchange.MOST_WRITTEN


def test_a_record_that_is_forgotten_is_still_read():
    metadata: dict = {}
    exchange.write(metadata, full())
    before = exchange.read(metadata)
    exchange.forget(metadata)
    assert exchange.read(metadata) == before
