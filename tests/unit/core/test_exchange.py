"""The record of a flow: what one step writes is what the next one reads, in either form, and nothing else is seen."""

import copy
import json
import pickle

import pytest
from mitmproxy.io import tnetstring

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


def test_a_saved_record_is_an_ordinary_dict():
    metadata: dict = {}
    exchange.write(metadata, full())
    saved = copy.deepcopy(metadata)
    assert type(saved[exchange.KEY]) is dict
    assert saved[exchange.KEY] == exchange.encode(exchange.read(metadata))
    assert type(pickle.loads(pickle.dumps(metadata))[exchange.KEY]) is dict


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda record: dict(record), id="dict"),
        pytest.param(lambda record: {**record}, id="unpacked"),
        pytest.param(lambda record: dict(record.items()), id="items"),
        pytest.param(lambda record: {name: record[name] for name in record}, id="iterated"),
        pytest.param(lambda record: json.loads(json.dumps(record)), id="json"),
        pytest.param(lambda record: {} | record, id="union"),
        pytest.param(lambda record: record.copy(), id="copy"),
        pytest.param(lambda record: {name: record.get(name) for name in list(record.keys())}, id="get"),
        pytest.param(lambda record: tnetstring.loads(tnetstring.dumps(record)), id="mitmproxy"),
    ],
)
def test_whoever_looks_sees_the_whole_record(look):
    metadata: dict = {}
    exchange.write(metadata, full())
    expected = exchange.encode(full())
    assert look(metadata[exchange.KEY]) == expected
    assert exchange.read(metadata) == exchange.decode(expected)


def test_what_is_changed_in_the_plain_record_is_read():
    metadata: dict = {}
    exchange.write(metadata, full())
    metadata[exchange.KEY]["notes"].append("seen")
    metadata[exchange.KEY]["service"] = "billing"
    assert exchange.read(metadata).notes == ["n", "seen"]
    assert exchange.read(metadata).service == "billing"
