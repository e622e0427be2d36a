"""as_completed: plain and asynchronous iteration, timeouts, cancelled waits."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from turns import Trace

asynchronous = pytest.mark.skipif(sys.version_info < (3, 13), reason="async for came with 3.13")


async def late(aio: Any, delay: float, result: Any) -> Any:
    await aio.sleep(delay)
    return result


def test_results_come_in_the_order_of_completion(run: Any, aio: Any) -> None:
    async def main() -> Any:
        works = [late(aio, delay, delay) for delay in (0.03, 0.01, 0.02)]
        return [await each for each in aio.as_completed(works)]

    assert run(main) == [0.01, 0.02, 0.03]


@asynchronous
def test_async_for_gives_the_futures_themselves(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        tasks = [loop.create_task(aio.sleep(delay, delay)) for delay in (0.02, 0.01)]
        seen = [task async for task in aio.as_completed([*tasks, aio.sleep(0, 0)])]
        assert [task.result() for task in seen] == [0, 0.01, 0.02]
        assert seen[1] is tasks[1] and seen[2] is tasks[0]
        assert isinstance(seen[0], asyncio.Task)

    run(main)


def test_exceptions_are_raised_by_their_own(run: Any, aio: Any) -> None:
    async def failing() -> None:
        raise KeyError("k")

    async def main() -> Any:
        outcomes = []
        for each in aio.as_completed([failing(), late(aio, 0.01, "good")]):
            try:
                outcomes.append(await each)
            except KeyError as error:
                outcomes.append(error.args)
        return outcomes

    assert run(main) == [("k",), "good"]


def test_none_at_all(run: Any, aio: Any) -> None:
    async def main() -> None:
        assert list(aio.as_completed([])) == []
        assert list(aio.as_completed(iter([]), timeout=1)) == []

    run(main)


def test_one_given_twice_comes_once(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> Any:
        future = loop.create_future()
        future.set_result("x")
        coroutine = late(aio, 0, "y")
        works = [future, coroutine, future, coroutine]
        return {await each for each in aio.as_completed(works)}

    assert run(main) == {"x", "y"}


def test_a_timeout_is_raised_for_each_that_is_left(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        futures = [loop.create_future() for _ in range(2)]
        outcomes = []
        for each in aio.as_completed([late(aio, 0, "in time"), *futures], timeout=0.005):
            try:
                outcomes.append(await each)
            except TimeoutError as error:
                outcomes.append(type(error))
        assert outcomes == ["in time", TimeoutError, TimeoutError]
        assert not any(future.cancelled() or future._callbacks for future in futures)

    run(main)


@asynchronous
def test_a_timeout_ends_async_for(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        seen = []
        with pytest.raises(TimeoutError):
            async for task in aio.as_completed([aio.sleep(0, 1), loop.create_future()], timeout=0.005):
                seen.append(await task)
        assert seen == [1]

    run(main)


def test_what_is_no_iterable_of_awaitables(run: Any, aio: Any) -> None:
    async def main() -> None:
        coroutine = aio.sleep(0)
        with pytest.raises(TypeError, match=r"^expects? an iterable of \w+, not coroutine$"):
            next(iter(aio.as_completed(coroutine)))
        coroutine.close()
        with pytest.raises(TypeError):
            next(iter(aio.as_completed([5])))
        with pytest.raises(TypeError):
            next(iter(aio.as_completed(5)))

    run(main)


def test_nothing_starts_before_the_iteration_up_to_3_12(loop: Any, run: Any, aio: Any) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note("ran")

    async def main() -> None:
        works = work()
        iterator = aio.as_completed([works])
        await aio.sleep(0)
        assert trace == (["ran"] if sys.version_info >= (3, 13) else [])
        await next(iter(iterator))

    run(main)
    assert trace == ["ran"]


def test_waiters_are_served_in_the_order_they_came(loop: Any, run: Any, aio: Any) -> None:
    trace = Trace()

    async def waiting(name: str, each: Any) -> None:
        trace.note(name, await each)

    async def main() -> None:
        futures = [loop.create_future() for _ in range(2)]
        waiters = [
            loop.create_task(waiting(name, each))
            for name, each in zip("ab", aio.as_completed(futures), strict=True)
        ]
        await aio.sleep(0)
        futures[1].set_result(1)
        await aio.sleep(0)
        futures[0].set_result(0)
        await aio.wait(waiters)

    run(main)
    assert trace == [("a", 1), ("b", 0)]


def test_a_cancelled_waiter_leaves_its_result_to_the_next(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future, other = loop.create_future(), loop.create_future()
        iterator = iter(aio.as_completed([future, other]))
        first, second = loop.create_task(next(iterator)), loop.create_task(next(iterator))
        await aio.sleep(0)
        future.set_result("for whom?")
        await aio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == "for whom?"

    run(main)


def test_after_a_cancelled_wait_one_may_ask_again(loop: Any, run: Any, implementation: Any, aio: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("asyncio loses one result with each cancelled wait up to 3.13")

    async def main() -> None:
        future = loop.create_future()
        iterator = iter(aio.as_completed([future]))
        task = loop.create_task(next(iterator))
        await aio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        future.set_result("not lost")
        assert await next(iterator) == "not lost"
        assert list(iterator) == []

    run(main)


def test_the_coroutines_need_not_be_awaited_in_order(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> Any:
        each = list(aio.as_completed([late(aio, delay, delay) for delay in (0.01, 0)]))
        return [await each[1], await each[0]]

    assert run(main) == [0, 0.01]


@asynchronous
def test_the_iterator_may_be_asked_past_its_end(run: Any, aio: Any) -> None:
    async def main() -> None:
        iterator = aio.as_completed([aio.sleep(0, 1)])
        assert aiter(iterator) is iterator and iter(iterator) is iterator
        assert (await anext(iterator)).result() == 1
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)
        with pytest.raises(StopIteration):
            next(iterator)

    run(main)
