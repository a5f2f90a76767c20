"""A step has its deadline whenever it waits, and is interrupted, answered and cancelled as any awaited coroutine is."""

import asyncio

import pytest

from addons.host.deadline import within


async def test_a_step_that_never_waits_is_done_at_once():
    done = []

    async def step():
        done.append(1)

    await within(0, step())
    assert done == [1]


async def test_a_step_that_waits_for_too_long_is_interrupted():
    ended = []

    async def step():
        await asyncio.sleep(0)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    with pytest.raises(TimeoutError):
        await within(0.01, step())
    assert ended == [1]


async def test_what_it_waits_for_comes_back_to_it():
    found = []
    future = asyncio.get_running_loop().create_future()

    async def step():
        found.append(await future)
        found.append(await asyncio.sleep(0, "second"))

    asyncio.get_running_loop().call_soon(future.set_result, "first")
    await within(5, step())
    assert found == ["first", "second"]


@pytest.mark.parametrize("waits", [pytest.param(True, id="after-a-wait"), pytest.param(False, id="at-once")])
async def test_what_it_raises_is_raised(waits):
    async def step():
        if waits:
            await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await within(5, step())


async def test_a_cancellation_reaches_it_and_its_own_answer_counts():
    seen = []

    async def step():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(within(5, step()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


async def test_an_error_it_waits_for_may_be_handled_by_it():
    future = asyncio.get_running_loop().create_future()
    found = []

    async def step():
        try:
            await future
        except ValueError:
            found.append(await asyncio.sleep(0, "went on"))

    asyncio.get_running_loop().call_soon(future.set_exception, ValueError())
    await within(5, step())
    assert found == ["went on"]
