"""wait: its three conditions, timeouts, what it refuses, cancellation."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest


async def failing(error: BaseException) -> Any:
    raise error


def test_all_of_them(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        tasks = [loop.create_task(aio.sleep(delay, delay)) for delay in (0.02, 0, 0.01)]
        done, pending = await aio.wait(tasks)
        assert type(done) is set and type(pending) is set
        assert done == set(tasks) and pending == set()
        assert [task.result() for task in tasks] == [0.02, 0, 0.01]

    run(main)


def test_the_first_that_is_done(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        fast, slow = loop.create_task(aio.sleep(0)), loop.create_task(aio.sleep(10))
        done, pending = await aio.wait([fast, slow], return_when=aio.FIRST_COMPLETED)
        assert done == {fast} and pending == {slow}
        slow.cancel()

    run(main)


def test_the_first_that_fails(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        good, bad = loop.create_task(aio.sleep(0)), loop.create_task(failing(KeyError()))
        slow = loop.create_task(aio.sleep(10))
        done, pending = await aio.wait({good, bad, slow}, return_when="FIRST_EXCEPTION")
        assert bad in done and slow in pending
        assert isinstance(bad.exception(), KeyError)
        slow.cancel()

    run(main)


def test_a_cancelled_one_is_no_exception(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        one, other = loop.create_future(), loop.create_future()
        loop.call_soon(one.cancel)
        done, pending = await aio.wait([one, other], return_when=aio.FIRST_EXCEPTION, timeout=0.01)
        assert done == {one} and pending == {other}

    run(main)


def test_without_an_exception_the_first_exception_is_the_last_result(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        tasks = [loop.create_task(aio.sleep(0)) for _ in range(2)]
        done, pending = await aio.wait(tasks, return_when=aio.FIRST_EXCEPTION)
        assert len(done) == 2 and not pending

    run(main)


def test_those_that_are_done_already(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        future.set_result(1)
        for return_when in (aio.FIRST_COMPLETED, aio.FIRST_EXCEPTION, aio.ALL_COMPLETED):
            assert await aio.wait([future], return_when=return_when) == ({future}, set())

    run(main)


@pytest.mark.parametrize("timeout", [0.001, 0, -1])
def test_a_timeout_is_no_error(loop: Any, run: Any, aio: Any, timeout: float) -> None:
    async def main() -> None:
        future = loop.create_future()
        assert await aio.wait([future], timeout=timeout) == (set(), {future})
        assert not future.cancelled()
        assert not future._callbacks

    run(main)


def test_what_it_is_not_given(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"^Set of Tasks/Futures is empty\.$"):
            await aio.wait([])
        with pytest.raises(AssertionError, match="Set of Futures is empty"):
            await aio.wait(iter([]))
        with pytest.raises(ValueError, match=r"^Invalid return_when value: SOMETIMES$"):
            await aio.wait([loop.create_future()], return_when="SOMETIMES")
        with pytest.raises(TypeError, match=r"^expect a list of futures, not Future$"):
            await aio.wait(asyncio.Future(loop=loop))
        coroutine = aio.sleep(0)
        with pytest.raises(TypeError, match=r"^expect a list of futures, not coroutine$"):
            await aio.wait(coroutine)
        with pytest.raises(TypeError, match=r"^Passing coroutines is forbidden, use tasks explicitly.$"):
            await aio.wait([coroutine])
        coroutine.close()
        with pytest.raises(AttributeError):
            await aio.wait([5])

    run(main)


def test_one_given_twice_is_one(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        assert await aio.wait((future, future)) == ({future}, set())

    run(main)


def test_any_iterable_will_do(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        tasks = [loop.create_task(aio.sleep(0)) for _ in range(2)]
        done, _ = await aio.wait(iter(tasks))
        assert done == set(tasks)

    run(main)


def test_cancelling_the_wait_does_not_cancel_what_is_waited_for(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        task = loop.create_task(aio.wait([future], timeout=60))
        await aio.sleep(0)
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("stop",)
        assert not future.done() and not future._callbacks

    run(main)


def test_cancelled_in_the_turn_in_which_it_would_end(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        task = loop.create_task(aio.wait([future]))
        await aio.sleep(0)
        future.set_result(1)
        await aio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_other_callbacks_stay(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        called: list[Any] = []
        future.add_done_callback(called.append)
        await aio.wait([future], timeout=0)
        future.set_result(1)
        await aio.sleep(0)
        assert called == [future]

    run(main)


def test_two_may_wait_for_the_same(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> Any:
        future = loop.create_future()
        waits = [loop.create_task(aio.wait([future])) for _ in range(2)]
        await aio.sleep(0)
        future.set_result(1)
        return await aio.gather(*waits)

    first, second = run(main)
    assert first == second


def test_exceptions_are_left_to_whoever_asks(loop: Any, run: Any, aio: Any, loop_errors: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        future.set_exception(KeyError("lost"))
        await aio.wait([future])

    run(main)
    gc.collect()
    assert [context["message"] for context in loop_errors] == ["Future exception was never retrieved"]


def test_futures_of_another_kind(loop: Any, run: Any, aio: Any) -> None:
    class Own(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> None:
        own = Own(loop=loop)
        loop.call_soon(own.set_exception, KeyError())
        done, _ = await aio.wait([own], return_when=aio.FIRST_EXCEPTION)
        assert done == {own}
        assert own.exception() is not None

    run(main)
