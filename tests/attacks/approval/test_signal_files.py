"""Decisions by file: only the owner speaks, and a file that is not exactly right is put away with an event."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

from addons.core.approval import signals
from addons.core.approval.signals import SignalBox
from addons.core.config import model
from addons.core.errors import ConfigError
from tests.parts.approval import Room, one_of, snapshot

ME = os.getuid()


class Box:
    """A folder, a room and somebody who looks into the one for the other."""

    def __init__(self, folder, approvers=None, **terms):
        self.folder = folder
        config = snapshot(approvals=one_of(**terms))
        known = {ME: "dev:bob"} if approvers is None else approvers
        people = {"dev:bob": ("dev:sre",), "dev:carol": ("dev:sre",)}
        settings = replace(config.approvals, people=people, signals=model.Signals(folder, 0.25, known))
        self.room = Room(config=replace(config, approvals=settings))
        signals.prepare(folder)
        self.box = SignalBox(folder, self.room.desk.decide, self.room.desk.book.alert)

    async def held(self):
        self.task = asyncio.create_task(self.room.desk.hold(self.room.asked(), self.room.alive()))
        await self.room.clock.settle()
        return self.room.only

    async def look(self):
        await self.box.poll(self.room.config.approvals)
        await self.room.clock.settle()

    def put(self, row, name="bob", content=None, mode=0o640, **changes):
        told = {"decision": "approve", "digest": row["digest"], "reason": "agreed in the change board", **changes}
        path = self.folder / f"{row['id']}.{name}.json"
        draft = self.folder / "draft.tmp"
        draft.write_bytes(json.dumps(told).encode() if content is None else content)
        draft.chmod(mode)
        draft.rename(path)
        return path

    def lying(self, folder=""):
        return sorted(path.name for path in (self.folder / folder).iterdir() if path.is_file() or path.is_symlink() or path.is_fifo())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "signals"


async def test_a_file_of_an_approver_decides(folder):
    box = Box(folder)
    row = await box.held()
    box.put(row)
    await box.look()
    assert (await box.task).reviewers == ("dev:bob",)
    assert (box.lying(), box.lying("done")) == ([], [f"{row['id']}.{ME}.1.json"])
    (vote,) = box.room.ledger.tables["approval_vote"]
    assert (vote["channel"], vote["via"], vote["assurance"]) == ("file", f"file:{ME}", "file")


async def test_a_draft_is_left_alone(folder):
    box = Box(folder)
    await box.held()
    (folder / "draft.tmp").write_text("half")
    (folder / "notes.txt").write_text("mine")
    await box.look()
    assert box.lying() == ["draft.tmp", "notes.txt"]
    box.task.cancel()


async def test_a_second_file_of_one_person_is_refused_and_no_file_is_overwritten(folder):
    box = Box(folder, count=2)
    row = await box.held()
    for name in ("one", "two", "three"):
        box.put(row, name)
        await box.look()
    assert box.lying("done") == [f"{row['id']}.{ME}.1.json"]
    assert box.lying("refused") == [f"{row['id']}.{ME}.1.json", f"{row['id']}.{ME}.2.json"]
    box.task.cancel()


def link(box, row):
    target = box.folder.parent / "target.json"
    target.write_text(json.dumps({"decision": "approve", "digest": row["digest"], "reason": "agreed in the change board"}))
    (box.folder / f"{row['id']}.x.json").symlink_to(target)


def hard(box, row):
    path = box.put(row)
    os.link(path, box.folder.parent / "second-name")


def pipe(box, row):
    os.mkfifo(box.folder / f"{row['id']}.x.json")


def folder_of_that_name(box, row):
    (box.folder / f"{row['id']}.x.json").mkdir()


BAD = [
    pytest.param(link, id="symlink"),
    pytest.param(hard, id="hard-link"),
    pytest.param(pipe, id="fifo"),
    pytest.param(folder_of_that_name, id="folder"),
    pytest.param(lambda box, row: box.put(row, mode=0o660), id="group-writable"),
    pytest.param(lambda box, row: box.put(row, mode=0o646), id="others-can-write"),
    pytest.param(lambda box, row: box.put(row, content=b'{"decision": "appr'), id="half-written"),
    pytest.param(lambda box, row: box.put(row, content=b""), id="empty"),
    pytest.param(lambda box, row: box.put(row, content=b" " * 5000), id="too-large"),
    pytest.param(
        lambda box, row: box.put(row, content=b'{"decision":"deny","decision":"approve","digest":"","reason":""}'), id="duplicate-key"
    ),
    pytest.param(lambda box, row: box.put(row, more="member"), id="another-member"),
    pytest.param(lambda box, row: box.put(row, reason=7), id="not-a-text"),
    pytest.param(lambda box, row: box.put(row, digest="hmac-sha-256:" + "0" * 64), id="another-digest"),
    pytest.param(lambda box, row: box.put(row, reason="short"), id="no-reason"),
    pytest.param(lambda box, row: box.put({**row, "id": "ap_00000000-0000-7000-8000-000000000000"}), id="unknown-approval"),
    pytest.param(lambda box, row: (box.folder / "garbage.json").write_text("{}"), id="another-name"),
]


@pytest.mark.parametrize("make", BAD)
async def test_a_bad_file_is_put_away_with_an_event_and_a_good_one_still_counts(folder, make):
    box = Box(folder)
    row = await box.held()
    make(box, row)
    await box.look()
    assert (box.room.only["state"], box.room.ledger.tables["approval_vote"]) == ("pending", [])
    assert box.lying() == []
    codes = [note.data["code"] for note in box.room.ledger.log if note.event == "alert"]
    assert "signal-refused" in codes
    box.put(row, "good")
    await box.look()
    assert (await box.task).state == "approved"


async def test_a_file_whose_owner_is_no_approver_is_refused(folder):
    box = Box(folder, approvers={ME + 1: "dev:bob"})
    row = await box.held()
    box.put(row)
    await box.look()
    assert (box.room.only["state"], box.lying("refused")) == ("pending", [f"{row['id']}.unknown.1.json"])
    box.task.cancel()


async def test_two_reviewers_at_once_both_count(folder, monkeypatch):
    """The second owner is played by the descriptor: a test has one uid."""
    box = Box(folder, approvers={ME: "dev:bob", 4242: "dev:carol"}, count=2, assurance="file")
    row = await box.held()
    box.put(row, "bob")
    carol = box.put(row, "carol").stat().st_ino
    real = os.fstat

    def fstat(descriptor):
        found = real(descriptor)
        return found if found.st_ino != carol else os.stat_result([*found[:4], 4242, *found[5:]], {"st_mtime_ns": found.st_mtime_ns})

    monkeypatch.setattr(os, "fstat", fstat)
    await box.look()
    monkeypatch.undo()
    assert {vote["person"] for vote in box.room.ledger.tables["approval_vote"]} == {"dev:bob", "dev:carol"}
    assert len(box.lying("done")) == 2
    assert box.room.only["state"] == "pending"  # two files and no login are not two
    box.task.cancel()


async def test_a_file_that_changes_while_it_is_read_is_refused(folder, monkeypatch):
    box = Box(folder)
    row = await box.held()
    path = box.put(row)
    real, calls = os.fstat, []

    def fstat(descriptor):
        found = real(descriptor)
        if found.st_ino == path.stat().st_ino:
            calls.append(1)
            if len(calls) == 1:
                path.write_bytes(path.read_bytes() + b" ")
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(signals.BadFile, match="changed"):
        signals.read(folder, path.name, {ME: "dev:bob"})
    box.task.cancel()


async def test_a_file_stays_when_the_store_is_in_trouble(folder):
    box = Box(folder)
    row = await box.held()
    path = box.put(row)
    box.room.ledger.broken = True
    await box.look()
    assert path.exists()
    box.room.ledger.broken = False
    await box.look()
    assert (await box.task).state == "approved"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda path: (path.mkdir(), path.chmod(0o777)), "mode is 0777", id="writable-by-all"),
        pytest.param(lambda path: (path.mkdir(), path.chmod(0o770)), "mode is 0770", id="group-without-sticky"),
        pytest.param(lambda path: path.write_text(""), "not a folder", id="a-file"),
        pytest.param(lambda path: ((path.parent / "real").mkdir(), path.symlink_to(path.parent / "real")), "not a folder", id="a-link"),
        pytest.param(lambda path: (path.mkdir(0o700), (path / "done").symlink_to("/tmp")), "`done`", id="squatted-done"),
    ],
)
def test_a_folder_in_which_others_could_decide_stops_the_start(folder, make, problem):
    make(folder)
    with pytest.raises(ConfigError, match=problem):
        signals.prepare(folder)


def test_a_sticky_folder_of_a_group_is_fine(folder):
    folder.mkdir()
    folder.chmod(0o1770)
    signals.prepare(folder)
    signals.prepare(folder)
