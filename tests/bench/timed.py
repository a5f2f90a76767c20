"""For the benchmark only: how much CPU of the loop's thread each hook of each addon takes, written down when the process ends.

Replaces what the hook index collects by the same callables with a clock around them. A hook that waits is timed while it
runs, not while it waits. The clock itself costs about a microsecond for each turn.
"""

import atexit
import inspect
import json
import os
import types
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from time import thread_time
from typing import Any

from addons.host import hook_index

TIMES: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])  # "addon.hook" -> calls, seconds


@types.coroutine
def _timed(work: Any, spent: list[float]) -> Generator[Any, Any, None]:
    move, argument = work.send, None
    while True:
        began = thread_time()
        try:
            waited = move(argument)
        except StopIteration:
            spent[1] += thread_time() - began
            return
        except BaseException:
            spent[1] += thread_time() - began
            raise
        spent[1] += thread_time() - began
        try:
            argument, move = (yield waited), work.send
        except BaseException as error:
            argument, move = error, work.throw


def clocked(name: str, func: Callable[..., Any], is_async: bool) -> tuple[Callable[..., Any], bool]:
    spent = TIMES[name]

    async def waiting(*args: Any) -> None:
        spent[0] += 1
        await _timed(func(*args), spent)

    def direct(*args: Any) -> Any:
        spent[0] += 1
        began = thread_time()
        try:
            result = func(*args)
        finally:
            spent[1] += thread_time() - began
        assert not inspect.isawaitable(result), name
        return result

    return (waiting, True) if is_async else (direct, False)


def collected(self: Any, name: str, original: Any = hook_index.HookIndex._collect) -> list[Any]:
    return [clocked(f"{name_of(func)}.{name}", func, is_async) for func, is_async in original(self, name)]


def name_of(func: Any) -> str:
    for cell in getattr(func, "__closure__", None) or ():
        owner = getattr(cell.cell_contents, "name", None)
        if isinstance(owner, str):
            return owner
    return type(getattr(func, "__self__", func)).__name__


hook_index.HookIndex._collect = collected  # type: ignore[method-assign]
atexit.register(lambda: Path(os.environ["BENCH_TIMES"]).write_text(json.dumps(TIMES)))
