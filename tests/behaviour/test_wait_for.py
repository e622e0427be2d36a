"""wait_for: results, timeouts, cancellation from outside, and their races."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest
from turns import Trace


def test_the_result(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        future.set_result("f")
        assert await aio.wait_for(future, 1) == "f"
        assert await aio.wait_for(aio.sleep(0, "c"), 1) == "c"
        assert await aio.wait_for(aio.sleep(0, "n"), None) == "n"
        assert await aio.wait_for(loop.create_task(aio.sleep(0, "t")), timeout=1) == "t"

    run(main)


def test_the_exception(run: Any, aio: Any) -> None:
    async def failing() -> None:
        raise KeyError("k")

    async def main() -> None:
        for timeout in (1, None):
            with pytest.raises(KeyError, match="k"):
                await aio.wait_for(failing(), timeout)

    run(main)


def test_a_timeout_cancels_and_raises(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        task = loop.create_task(aio.sleep(10))
        with pytest.raises(TimeoutError) as caught:
            await aio.wait_for(task, 0.001)
        assert task.cancelled()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main)


def test_it_waits_until_the_cancelled_one_is_done(loop: Any, run: Any, aio: Any) -> None:
    trace = Trace()

    async def work() -> None:
        try:
            await aio.sleep(10)
        finally:
            await aio.sleep(0.005)
            trace.note("cleaned up")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await aio.wait_for(work(), 0.001)
        trace.note("timed out")

    run(main)
    assert trace == ["cleaned up", "timed out"]


def test_a_result_in_spite_of_the_cancellation_is_the_result(run: Any, aio: Any) -> None:
    async def stubborn() -> str:
        try:
            await aio.sleep(10)
        except asyncio.CancelledError:
            return "late"
        return "slept"

    async def main() -> None:
        assert await aio.wait_for(stubborn(), 0.001) == "late"

    run(main)


def test_an_exception_in_spite_of_the_cancellation_is_raised(run: Any, aio: Any) -> None:
    async def stubborn() -> None:
        try:
            await aio.sleep(10)
        except asyncio.CancelledError:
            raise KeyError from None

    async def main() -> None:
        with pytest.raises(KeyError):
            await aio.wait_for(stubborn(), 0.001)

    run(main)


@pytest.mark.parametrize("timeout", [0, -1, 0.0])
def test_a_time_that_is_over_already(loop: Any, run: Any, aio: Any, timeout: float) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note("ran")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await aio.wait_for(work(), timeout)
        assert trace == []
        future = loop.create_future()
        future.set_result(5)
        assert await aio.wait_for(future, timeout) == 5
        pending = loop.create_future()
        with pytest.raises(TimeoutError) as caught:
            await aio.wait_for(pending, timeout)
        assert pending.cancelled()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)

    run(main)


def test_over_already_but_the_task_does_not_give_in(loop: Any, run: Any, aio: Any) -> None:
    async def stubborn() -> str:
        try:
            await aio.sleep(10)
        except asyncio.CancelledError:
            return "late"
        return "slept"

    async def main() -> None:
        task = loop.create_task(stubborn())
        await aio.sleep(0)
        assert await aio.wait_for(task, 0) == "late"

    run(main)


def test_over_already_and_cancelled_meanwhile(loop: Any, run: Any, aio: Any) -> None:
    async def slow_to_end() -> None:
        try:
            await aio.sleep(10)
        finally:
            await aio.sleep(0.01)

    async def main() -> None:
        inner = loop.create_task(slow_to_end())
        await aio.sleep(0)
        outer = loop.create_task(aio.wait_for(inner, 0))
        await aio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not inner.done()
        await aio.wait([inner])

    run(main)


def test_cancelling_it_cancels_what_it_waits_for(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        for timeout in (10, None):
            inner = loop.create_future()
            task = loop.create_task(aio.wait_for(inner, timeout))
            await aio.sleep(0)
            task.cancel("stop")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert inner.cancelled()

    run(main)


def test_cancelled_when_the_result_is_there(loop: Any, run: Any, implementation: Any, aio: Any) -> None:
    async def main() -> Any:
        inner = loop.create_future()
        task = loop.create_task(aio.wait_for(inner, 10))
        await aio.sleep(0)
        inner.set_result("in time")
        task.cancel()
        if sys.version_info < (3, 12):
            return await task
        with pytest.raises(asyncio.CancelledError):
            await task
        return "in time"

    assert run(main) == "in time"


def test_timed_out_when_the_result_is_there(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> Any:
        inner = loop.create_future()
        loop.call_later(0.001, inner.set_result, "just")
        try:
            return await aio.wait_for(inner, 0.001)
        except TimeoutError:
            return "timeout"

    assert run(main) in ("just", "timeout")


def test_who_runs_the_coroutine(loop: Any, run: Any, aio: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="before")

    async def work() -> Any:
        variable.set("changed")
        await aio.sleep(0)
        return asyncio.current_task()

    async def main() -> None:
        task = await aio.wait_for(work(), 1)
        is_own = task is asyncio.current_task()
        # Up to 3.11 a task of its own, with a context of its own.
        assert is_own is (sys.version_info >= (3, 12))
        assert (variable.get() == "changed") is is_own

    run(main)


def test_nested_timeouts(run: Any, aio: Any) -> None:
    trace = Trace()

    async def inner() -> None:
        try:
            await aio.wait_for(aio.sleep(10), 0.001)
        except TimeoutError:
            trace.note("inner")
            await aio.sleep(10)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await aio.wait_for(inner(), 0.1)
        trace.note("outer")

    run(main)
    assert trace == ["inner", "outer"]


def test_what_cannot_be_awaited_is_a_type_error(run: Any, aio: Any) -> None:
    async def main() -> None:
        for timeout in (1, 0, None):
            with pytest.raises(TypeError):
                await aio.wait_for(5, timeout)

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs no task up to 3.11")
def test_outside_of_a_task_it_is_a_runtime_error(loop: Any, run: Any, aio: Any) -> None:
    caught: list[BaseException] = []

    def step(timeout: float | None) -> None:
        coroutine = aio.wait_for(loop.create_future(), timeout)
        try:
            coroutine.send(None)
        except RuntimeError as error:
            caught.append(error)

    for timeout in (1, None):
        loop.call_soon(step, timeout)
    run(aio.sleep(0))
    assert [str(error) for error in caught] == ["Timeout should be used inside a task"] * 2


def test_it_leaves_no_timer_and_no_callback(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        futures = [loop.create_future() for _ in range(300)]
        tasks = [loop.create_task(aio.wait_for(aio.shield(future), 3600)) for future in futures]
        await aio.sleep(0)
        for task in tasks:
            task.cancel()
        await aio.wait(tasks)
        assert not any(future._callbacks for future in futures)

    run(main)


def test_awaited_by_hand(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        coroutine = aio.wait_for(aio.sleep(0, "x"), 1)
        assert coroutine.send(None) is None or sys.version_info < (3, 12)
        coroutine.close()

    run(main)
