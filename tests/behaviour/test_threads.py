"""to_thread, run_coroutine_threadsafe, wrap_future: results, exceptions and cancellations across threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import Any

import pytest


def test_to_thread_calls_elsewhere(run: Any, aio: Any) -> None:
    def work(*arguments: Any, **options: Any) -> Any:
        return threading.get_ident(), arguments, options

    async def main() -> None:
        thread, arguments, options = await aio.to_thread(work, 1, 2, key="value")
        assert thread != threading.get_ident()
        assert (arguments, options) == ((1, 2), {"key": "value"})

    run(main)


def test_to_thread_in_a_copy_of_the_context(run: Any, aio: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    def work() -> str:
        before = variable.get()
        variable.set("inside")
        return before

    async def main() -> None:
        variable.set("outside")
        assert await aio.to_thread(work) == "outside"
        assert variable.get() == "outside"

    run(main)


def test_to_thread_raises_what_the_function_raises(run: Any, aio: Any) -> None:
    def work() -> None:
        raise KeyError("k")

    async def main() -> None:
        with pytest.raises(KeyError, match="k"):
            await aio.to_thread(work)
        with pytest.raises(TypeError):
            await aio.to_thread()

    run(main)


def test_to_thread_starts_when_it_is_awaited(run: Any, aio: Any) -> None:
    called: list[int] = []

    async def main() -> None:
        coroutine = aio.to_thread(called.append, 1)
        await aio.sleep(0.001)
        assert called == []
        await coroutine
        assert called == [1]

    run(main)


def test_cancelled_while_the_thread_works(loop: Any, run: Any, aio: Any) -> None:
    begun, ends = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        ends.wait(30)

    async def main() -> None:
        task = aio.create_task(aio.to_thread(work))
        while not begun.is_set():
            await aio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ends.set()

    run(main)


def test_run_coroutine_threadsafe_gives_its_result(loop: Any, run: Any, aio: Any) -> None:
    async def add(one: int, other: int) -> int:
        await aio.sleep(0)
        return one + other

    async def failing() -> None:
        raise KeyError("k")

    def elsewhere() -> Any:
        future = aio.run_coroutine_threadsafe(add(1, 2), loop)
        assert isinstance(future, concurrent.futures.Future)
        with pytest.raises(KeyError):
            aio.run_coroutine_threadsafe(failing(), loop).result(30)
        return future.result(30)

    async def main() -> None:
        assert await aio.to_thread(elsewhere) == 3

    run(main)


def test_cancelling_its_future_cancels_the_task(loop: Any, run: Any, aio: Any) -> None:
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await aio.sleep(60)
        finally:
            cancelled.set()

    def elsewhere() -> None:
        future = aio.run_coroutine_threadsafe(work(), loop)
        aio.run_coroutine_threadsafe(aio.sleep(0.001), loop).result(30)
        assert future.cancel()
        assert cancelled.wait(30)
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(30)

    async def main() -> None:
        await aio.to_thread(elsewhere)

    run(main)


def test_a_cancelled_task_cancels_its_future(loop: Any, run: Any, aio: Any) -> None:
    async def work() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await aio.sleep(60)

    def elsewhere() -> None:
        future = aio.run_coroutine_threadsafe(work(), loop)
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(30)

    async def main() -> None:
        await aio.to_thread(elsewhere)

    run(main)


def test_run_coroutine_threadsafe_refuses_what_is_no_coroutine(loop: Any, aio: Any) -> None:
    with pytest.raises(TypeError, match=r"^A coroutine object is required$"):
        aio.run_coroutine_threadsafe(5, loop)


def test_a_task_that_cannot_be_made(loop: Any, run: Any, aio: Any, loop_errors: Any) -> None:
    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        coroutine.close()
        raise KeyError("no task")

    async def main() -> None:
        loop.set_task_factory(factory)
        future = aio.run_coroutine_threadsafe(aio.sleep(0), loop)
        await aio.sleep(0)
        loop.set_task_factory(None)
        with pytest.raises(KeyError, match="no task"):
            future.result(0)

    run(main)
    assert len(loop_errors) == 1


@pytest.mark.parametrize("here", [True, False])
def test_wrap_future_copies_the_outcome(loop: Any, run: Any, aio: Any, here: bool) -> None:
    async def main() -> None:
        good: Any = concurrent.futures.Future()
        bad: Any = concurrent.futures.Future()
        wrapped = [aio.wrap_future(good), aio.wrap_future(bad, loop=loop)]
        assert all(isinstance(each, asyncio.Future) for each in wrapped)

        def end() -> None:
            good.set_result("r")
            bad.set_exception(KeyError("k"))

        if here:
            end()
        else:
            threading.Thread(target=end).start()
        assert await wrapped[0] == "r"
        with pytest.raises(KeyError):
            await wrapped[1]

    run(main)


def test_wrap_future_of_one_that_is_done(run: Any, aio: Any) -> None:
    async def main() -> None:
        source: Any = concurrent.futures.Future()
        source.set_result(1)
        assert await aio.wrap_future(source) == 1
        own = asyncio.get_running_loop().create_future()
        assert aio.wrap_future(own) is own
        with pytest.raises(AssertionError, match=r"concurrent.futures.Future is expected, got 5"):
            aio.wrap_future(5)

    run(main)


def test_cancelling_the_wrapper_cancels_the_source(run: Any, aio: Any) -> None:
    async def main() -> None:
        source: Any = concurrent.futures.Future()
        wrapper = aio.wrap_future(source)
        wrapper.cancel()
        await aio.sleep(0)
        assert source.cancelled()
        source = concurrent.futures.Future()
        wrapper = aio.wrap_future(source)
        source.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapper

    run(main)


def test_exceptions_of_concurrent_futures_become_those_of_asyncio(run: Any, aio: Any) -> None:
    async def main() -> None:
        for theirs, ours in [
            (concurrent.futures.CancelledError, asyncio.CancelledError),
            (concurrent.futures.InvalidStateError, asyncio.InvalidStateError),
            (concurrent.futures.TimeoutError, TimeoutError),
        ]:
            source: Any = concurrent.futures.Future()
            source.set_exception(theirs("text"))
            with pytest.raises(ours, match="text"):
                await aio.wrap_future(source)

    run(main)


def test_a_source_that_ends_after_the_loop_was_closed(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> Any:
        source: Any = concurrent.futures.Future()
        return source, aio.wrap_future(source)

    source, wrapper = run(main)
    loop.close()
    source.set_result(1)
    assert not wrapper.done()
