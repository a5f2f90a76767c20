"""verify on sound logs, and what it says when something is missing (acceptance rows 19 and 20)."""

import asyncio
import shutil

import pytest

from addons.core.audit import keys
from addons.core.audit.events import json_field, make
from addons.core.audit.note import LogKey
from addons.core.audit.store import StoreError
from addons.core.audit.traffic import proof
from addons.core.audit.verify import Claim, verify
from tests.harness import FakeClock
from tests.parts import audit


@pytest.fixture
def log(tmp_path):
    asyncio.run(audit.fill(tmp_path, flows=5))
    return tmp_path


def test_a_sound_log_gives_0_from_the_first_day(log):
    report = audit.verdict(log)
    assert (report.exit_code, report.verdict, report.findings) == (0, "sound", [])
    assert report.events == 28  # 2 x 5 flows, 2 x 5 more, 3 sessions opened and closed, start and stop
    assert report.anchors >= 2


@pytest.mark.parametrize(("pin", "anchor", "code"), [(False, True, "pin"), (True, False, "anchor")], ids=["no-pin", "no-anchor"])
def test_without_pin_or_witness_nothing_is_proven(log, pin, anchor, code):
    report = audit.verdict(log, pin=pin, anchor=anchor)
    assert report.exit_code == 2
    assert [f.code for f in report.findings] == [code]


def test_a_missing_pin_file_and_a_missing_witness_file_are_2(log):
    (log / "state" / keys.PIN_FILE).unlink()
    (log / "witness.notes").unlink()
    assert audit.verdict(log).exit_code == 2


def test_an_older_copy_of_the_file_is_1(tmp_path):
    asyncio.run(audit.fill(tmp_path, flows=3))
    shutil.copy(tmp_path / "audit.db", tmp_path / "yesterday.db")

    async def another_day():
        log = await audit.open_log(tmp_path, FakeClock(1_700_086_400.0))
        await audit.one_flow(log)
        await log.close()

    asyncio.run(another_day())
    assert audit.verdict(tmp_path).exit_code == 0
    shutil.copy(tmp_path / "yesterday.db", tmp_path / "audit.db")
    report = audit.verdict(tmp_path)
    assert report.exit_code == 1
    assert "cut-back" in [f.code for f in report.findings]


def test_a_flow_without_an_end_is_2(tmp_path):
    async def crashed():
        log = await audit.open_log(tmp_path, FakeClock())
        await log.append(audit.begin("018bcfe5-6800-7000-8000-000000000001"), reserve=True)
        shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
        live = audit.verdict(tmp_path)
        await log.close()
        return live

    live = asyncio.run(crashed())
    assert (live.exit_code, live.open_flows) == (0, 1)  # the gateway runs: a flow may be open
    report = audit.verdict(tmp_path / "copy")
    assert report.exit_code == 2
    assert "no-terminal" in [f.code for f in report.findings]
    assert audit.verdict(tmp_path).exit_code == 0


def test_an_unlinked_key_is_2_until_a_person_pins_it(log):
    (log / "state" / keys.KEY_FILE).unlink()

    async def again():
        opened = await audit.open_log(log, FakeClock(1_700_001_000.0))
        assert opened.unlinked
        assert opened.health()["unlinked_key"]
        await audit.one_flow(opened)
        await opened.close()

    asyncio.run(again())
    report = audit.verdict(log)
    assert report.exit_code == 2
    assert [f.code for f in report.findings] == ["unlinked-key"]
    signer = keys.load_signer(log / "state", audit.ORIGIN)
    assert keys.import_pin(log / "state", signer.key)
    assert not keys.import_pin(log / "state", signer.key)
    assert audit.verdict(log).exit_code == 0


def test_a_pin_of_another_log_is_not_imported(log):
    with pytest.raises(ValueError, match="another log"):
        keys.import_pin(log / "state", LogKey("guardhouse.example/other/r1", b"\x01" * 32))


def test_a_cut_witness_note_is_noted_and_the_next_one_begins_afresh(log):
    path = log / "witness.notes"
    text = path.read_text()
    path.write_text(text + text.rstrip("\n").rsplit("\n\n", 1)[-1][:60])

    async def again():
        opened = await audit.open_log(log, FakeClock(1_700_001_000.0))
        await opened.close()

    asyncio.run(again())
    report = audit.verdict(log)
    assert (report.exit_code, [f.level for f in report.findings]) == (0, ["note"])


def test_claimed_bytes_are_proven_or_refuted(tmp_path):
    key, told = b"k" * 32, b'{"answer": 42}'

    async def one():
        log = await audit.open_log(tmp_path, FakeClock())
        flow = "018bcfe5-6800-7000-8000-000000000001"
        await log.append(audit.begin(flow), reserve=True)
        seq = await log.append(
            make("ResponseComplete", "http", {"flow": flow, "status": 200}, {"response.received": json_field(proof(key, told))})
        )
        await log.close()
        return seq

    seq = asyncio.run(one())
    for claimed, code, proven in ((told, 0, [seq]), (told + b" ", 1, []), (b"", 1, [])):
        made = proof(key, claimed)
        report = verify(
            tmp_path / "audit.db",
            pin=tmp_path / "state" / keys.PIN_FILE,
            anchors=[tmp_path / "witness.notes"],
            claim=Claim(made["hmac"], made["bytes"]),
        )
        assert (report.exit_code, report.proven) == (code, proven)


@pytest.mark.parametrize("content", [None, b"", b"not a database at all, but long enough to look like one" * 100])
def test_what_cannot_be_read_raises(tmp_path, content):
    path = tmp_path / "audit.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError):
        verify(path, pin=None)
