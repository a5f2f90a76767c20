"""Decisions by file: whoever owns the file speaks, and nothing else about it is believed.

A reviewer puts `<approval_id>.<anything>.json` into the folder by renaming. It is opened once, without following a link
and without waiting, and everything is asked of the open descriptor: a regular file with one link, owned by a known
approver, closed to other writers, small. What was taken moves to `done/`, what was refused to `refused/`; both folders
are ours alone. Files are moved by renaming onto a free name there: a hard link to somebody else's file, as an earlier
design had it, is forbidden by the kernel of most machines (`fs.protected_hardlinks`).
"""

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addons.core.approval.decide import Vote, spoken_for
from addons.core.config.model import Approvals
from addons.core.errors import CODES, ConfigError, ConfigProblem, DecisionError, GuardhouseError
from addons.core.wire import strict_json
from addons.core.wire.strict_json import StrictJsonError

MOST = 4096  # bytes of a file; a decision has three short members
AT_ONCE = 100  # files of one look; the rest waits for the next
NAME = re.compile(r"(ap_[0-9a-f-]{36})\.[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}\.json", re.ASCII)
MEMBERS = frozenset({"decision", "digest", "reason"})
DONE, REFUSED = "done", "refused"


class BadFile(Exception):
    """A file that does not count, and why."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What one file says, and whose it is."""

    name: str
    uid: int
    inode: int
    data: Mapping[str, str]


def prepare(directory: Path) -> None:
    """Make or check the folder at start. Raises ConfigError for one in which somebody else could decide."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode):
        raise _wrong("it is not a folder")
    if found.st_uid not in (os.geteuid(), 0):
        raise _wrong("it belongs to somebody else")
    if mode & 0o002 or (mode & 0o020 and not mode & stat.S_ISVTX):
        raise _wrong(f"its mode is {mode:04o}", "expected 1770 with a group of approvers, or 0700")
    for name in (DONE, REFUSED):
        folder = directory / name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        inner = folder.lstat()
        if not stat.S_ISDIR(inner.st_mode) or inner.st_uid != os.geteuid() or stat.S_IMODE(inner.st_mode) & 0o077:
            raise _wrong(f"`{name}` in it is not a folder of ours alone (mode 0700)")


def _wrong(problem: str, hint: str = "") -> ConfigError:
    return ConfigError([ConfigProblem("approvals.yaml", f"`signals.dir` cannot be used: {problem}", hint)])


def names(directory: Path) -> list[str]:
    """Names of the files to look at, oldest name first. What ends otherwise than `.json` is somebody's draft."""
    with os.scandir(directory) as entries:
        found = [entry.name for entry in entries if entry.name.endswith(".json")]
    return sorted(found)[:AT_ONCE]


def read(directory: Path, name: str, approvers: Mapping[int, str]) -> Signal:
    """Read one file once. Raises BadFile, and FileNotFoundError when it has gone."""
    if not NAME.fullmatch(name):
        raise BadFile("its name is not <approval_id>.<anything>.json")
    try:
        descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadFile(f"it cannot be opened: {error.strerror}") from error
    try:
        before = os.fstat(descriptor)
        _check(before, approvers)
        content = os.read(descriptor, MOST + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    told = [(found.st_size, found.st_mtime_ns, found.st_nlink) for found in (before, after)]
    if told[0] != told[1] or len(content) != before.st_size:
        raise BadFile("it changed while it was read")
    return Signal(name, before.st_uid, before.st_ino, _members(content))


def _check(found: os.stat_result, approvers: Mapping[int, str]) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadFile("it is not a regular file")
    if found.st_nlink != 1:
        raise BadFile("it has several links")
    if found.st_uid not in approvers:
        raise BadFile("its owner is no approver")
    if found.st_mode & 0o022:
        raise BadFile("others can write it")
    if found.st_size > MOST:
        raise BadFile(f"it has more than {MOST} bytes")


def _members(content: bytes) -> dict[str, str]:
    try:
        data = strict_json.load_object(content)
    except StrictJsonError as error:
        raise BadFile(f"it is not one JSON object: {error}") from error
    if set(data) != MEMBERS or not all(isinstance(value, str) for value in data.values()):
        raise BadFile("it does not have exactly the texts decision, digest and reason")
    return data


def put_away(directory: Path, name: str, folder: str, uid: int | None) -> None:
    """Move a file out of the way, never over another. One that cannot be moved is removed; one that has gone has gone."""
    ident = name.partition(".")[0] if NAME.fullmatch(name) else "other"
    for number in range(1, 1_000_000):
        target = directory / folder / f"{ident}.{'unknown' if uid is None else uid}.{number}.json"
        if target.is_symlink() or target.exists():
            continue
        with contextlib.suppress(FileNotFoundError):
            (directory / name).rename(target)
        return


class SignalBox:
    """Looks into the folder; one look at a time."""

    def __init__(
        self,
        directory: Path,
        decide: Callable[[Vote], Awaitable[Any]],
        refused: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        self.directory = directory
        self.decide = decide
        self.refused = refused

    async def poll(self, approvals: Approvals) -> None:
        """Take what lies there."""
        for name in await asyncio.to_thread(names, self.directory):
            await self._take(name, approvals)

    async def _take(self, name: str, approvals: Approvals) -> None:
        try:
            signal = await asyncio.to_thread(read, self.directory, name, approvals.signals.approvers)
            await self.decide(_vote(signal, approvals))
        except FileNotFoundError:
            return
        except BadFile as error:
            await self._refuse(name, None, str(error))
        except DecisionError as error:
            await self._refuse(name, signal.uid, error.code)
        except GuardhouseError as error:
            if CODES[error.code].fault == "ours":
                return  # the store's trouble, not the file's: it stays for the next look
            await self._refuse(name, signal.uid, error.code)
        else:
            await asyncio.to_thread(put_away, self.directory, name, DONE, signal.uid)

    async def _refuse(self, name: str, uid: int | None, why: str) -> None:
        await asyncio.to_thread(put_away, self.directory, name, REFUSED, uid)
        ident = name.partition(".")[0] if NAME.fullmatch(name) else ""
        await self.refused(ident, "signal-refused", why if uid is None else f"owner {uid}: {why}")


def _vote(signal: Signal, approvals: Approvals) -> Vote:
    person = approvals.signals.approvers[signal.uid]
    ident = signal.name.partition(".")[0]
    voter = spoken_for(person, approvals.people)
    data = signal.data
    return Vote(ident, data["digest"], data["decision"], data["reason"], voter, "file", f"file:{signal.uid}", "file")
