"""The standard library's tools over the loop's futures and tasks, and futures of others on the loop."""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import inspect
import sys
from typing import Any

import pytest
from turns import Trace, turn


async def after(turns: int, result: Any, trace: Trace | None = None) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    if trace is not None:
        trace.note(result)
    if isinstance(result, BaseException):
        raise result
    return result


def test_what_the_loop_makes_is_what_asyncio_expects(loop: Any) -> None:
    future, task = loop.create_future(), loop.create_task(after(0, 1))
    assert isinstance(future, asyncio.Future) and isinstance(task, asyncio.Future)
    assert isinstance(task, asyncio.Task) and not isinstance(future, asyncio.Task)
    assert asyncio.isfuture(future) and asyncio.isfuture(task)
    assert inspect.isawaitable(future) and inspect.isawaitable(task)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    turn(loop)


def test_gather_keeps_the_order_of_its_arguments(loop: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> Any:
        return await asyncio.gather(*(after(5 - number, number, trace) for number in range(5)))

    assert run(main) == [0, 1, 2, 3, 4]
    assert trace == [4, 3, 2, 1, 0]


def test_gather_raises_the_first_exception_and_lets_the_rest_run(loop: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        slow = asyncio.ensure_future(after(20, "slow", trace))
        with pytest.raises(ValueError, match="first"):
            await asyncio.gather(slow, after(1, ValueError("first")), after(2, ValueError("second")))
        assert not slow.done()
        await slow

    run(main)
    assert trace == ["slow"]


def test_gather_can_return_exceptions(loop: Any, run: Any) -> None:
    error = ValueError("returned")

    async def main() -> Any:
        future = loop.create_future()
        future.cancel("message")
        return await asyncio.gather(after(1, 1), after(0, error), future, return_exceptions=True)

    first, second, third = run(main)
    assert (first, second) == (1, error)
    assert isinstance(third, asyncio.CancelledError)


def test_cancelling_a_gather_cancels_its_children(loop: Any, run: Any) -> None:
    async def main() -> None:
        children = [asyncio.ensure_future(asyncio.sleep(3600)) for _ in range(3)]
        gathered = asyncio.gather(*children)
        await asyncio.sleep(0)
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert all(child.cancelled() for child in children)

    run(main)


def test_wait_for_the_first(loop: Any, run: Any) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(after(number, number)) for number in (20, 0, 20)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done == {tasks[1]} and pending == {tasks[0], tasks[2]}
        done, pending = await asyncio.wait(tasks)
        assert done == set(tasks) and not pending

    run(main)


def test_wait_for_the_first_exception_and_with_a_timeout(loop: Any, run: Any) -> None:
    async def main() -> None:
        failing, slow = asyncio.ensure_future(after(1, ValueError())), loop.create_future()
        done, pending = await asyncio.wait([failing, slow], return_when=asyncio.FIRST_EXCEPTION)
        assert done == {failing} and pending == {slow}
        assert isinstance(failing.exception(), ValueError)
        done, pending = await asyncio.wait([slow], timeout=0.001)
        assert not done and pending == {slow}

    run(main)


def test_as_completed_gives_them_in_the_order_they_finish(loop: Any, run: Any) -> None:
    async def main() -> Any:
        return [await next_one for next_one in asyncio.as_completed([after(n, n) for n in (4, 0, 2)])]

    assert run(main) == [0, 2, 4]


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="as_completed is an asynchronous iterator from 3.13 on"
)
def test_as_completed_is_an_asynchronous_iterator_of_the_tasks_themselves(loop: Any, run: Any) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(after(number, number)) for number in (2, 0, 1)]
        found = []
        completed: Any = asyncio.as_completed(tasks)
        async for task in completed:
            found.append(task)
        assert found == [tasks[1], tasks[2], tasks[0]]

    run(main)


def test_shield(loop: Any, run: Any) -> None:
    async def main() -> None:
        inner = asyncio.ensure_future(after(3, "inner"))
        outer = asyncio.shield(inner)
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert await inner == "inner"

    run(main)


def test_wait_for_in_time_and_too_late(loop: Any, run: Any) -> None:
    async def main() -> None:
        assert await asyncio.wait_for(after(2, "in time"), 60) == "in time"
        never = loop.create_future()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(never, 0.001)
        assert never.cancelled()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.ensure_future(after(1, "late")), 0)

    run(main)


def test_timeout_cancels_its_block_only(loop: Any, run: Any) -> None:
    async def main() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001) as timeout:
                await loop.create_future()
        assert timeout.expired()
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        return "went on"

    assert run(main) == "went on"


def test_timeout_and_a_cancellation_from_outside(loop: Any, run: Any) -> None:
    async def work() -> None:
        async with asyncio.timeout(3600):
            await loop.create_future()

    async def main() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError, match="from outside"):
            await task

    run(main)


def test_task_group_waits_for_all(loop: Any, run: Any) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(after(number, number)) for number in range(4)]
        assert [task.result() for task in tasks] == [0, 1, 2, 3]

    run(main)


def test_task_group_cancels_the_rest_when_one_fails(loop: Any, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                forever = group.create_task(asyncio.sleep(3600))
                group.create_task(after(1, ValueError("one")))
                group.create_task(after(1, LookupError("two")))
        assert [type(error) for error in caught.value.exceptions] == [ValueError, LookupError]
        assert forever.cancelled()
        if sys.version_info >= (3, 13):
            assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main)


def test_task_group_cancelled_from_outside(loop: Any, run: Any) -> None:
    trace = Trace()

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            trace.note(group.create_task(asyncio.sleep(3600)))

    async def main() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert trace[0].cancelled()

    run(main)


def test_locks_events_conditions_and_queues(loop: Any, run: Any) -> None:
    trace = Trace()

    async def worker(queue: Any, lock: Any) -> None:
        while (item := await queue.get()) is not None:
            async with lock:
                await asyncio.sleep(0)
                trace.note(item)
            queue.task_done()

    async def main() -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue(2)
        lock, event, condition = asyncio.Lock(), asyncio.Event(), asyncio.Condition()
        workers = [asyncio.ensure_future(worker(queue, lock)) for _ in range(2)]
        for item in range(6):
            await queue.put(item)
        await queue.join()
        for _ in workers:
            await queue.put(None)
        await asyncio.gather(*workers)
        loop.call_soon(event.set)
        await event.wait()
        async with condition:
            notifier = asyncio.ensure_future(notify(condition))
            await condition.wait()
        await notifier

    async def notify(condition: Any) -> None:
        async with condition:
            condition.notify_all()

    run(main)
    assert sorted(trace) == list(range(6))


def test_barrier_and_semaphore(loop: Any, run: Any) -> None:
    inside = Trace()

    async def pass_through(semaphore: Any, barrier: Any) -> None:
        async with semaphore:
            inside.append(1)
            assert len(inside) <= 2
            await asyncio.sleep(0)
            inside.pop()
        await barrier.wait()

    async def main() -> None:
        semaphore, barrier = asyncio.Semaphore(2), asyncio.Barrier(5)
        await asyncio.gather(*(pass_through(semaphore, barrier) for _ in range(5)))

    run(main)


def test_a_stream_reader_fed_by_hand(loop: Any, run: Any) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(loop=loop)
        loop.call_soon(reader.feed_data, b"line\nrest")
        assert await reader.readline() == b"line\n"
        loop.call_soon(reader.feed_eof)
        assert await reader.read() == b"rest"

    run(main)


def test_a_future_of_the_standard_library_on_the_loop(loop: Any, run: Any) -> None:
    async def main() -> None:
        future: asyncio.Future[str] = asyncio.Future()
        assert future.get_loop() is loop
        loop.call_soon(future.set_result, "theirs")
        assert await future == "theirs"
        failing: asyncio.Future[None] = asyncio.Future()
        loop.call_soon(failing.set_exception, ValueError("theirs"))
        with pytest.raises(ValueError, match="theirs"):
            await failing
        cancelled: asyncio.Future[None] = asyncio.Future()
        loop.call_soon(cancelled.cancel, "theirs")
        with pytest.raises(asyncio.CancelledError, match="theirs"):
            await cancelled

    run(main)


def test_a_task_of_the_standard_library_on_the_loop(loop: Any, run: Any) -> None:
    async def inner() -> Any:
        me = asyncio.current_task()
        assert me in asyncio.all_tasks()
        waited = loop.create_future()
        loop.call_soon(waited.set_result, "awaited by theirs")
        return await waited

    async def main() -> Any:
        task = asyncio.Task(inner(), loop=loop)
        assert task in asyncio.all_tasks()
        return await task

    assert run(main) == "awaited by theirs"


def test_a_task_of_the_standard_library_can_be_cancelled_on_the_loop(loop: Any, run: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        theirs = asyncio.Task(asyncio.wait_for(future, 3600), loop=loop)
        ours = loop.create_task(asyncio.wait([theirs]))
        await asyncio.sleep(0)
        theirs.cancel()
        await ours
        assert theirs.cancelled() and future.cancelled()

    run(main)


def test_a_concurrent_future_cannot_be_awaited_but_wrapped(loop: Any, run: Any) -> None:
    async def main() -> None:
        theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
        with pytest.raises(TypeError):
            await theirs  # type: ignore[misc]
        wrapped = asyncio.wrap_future(theirs, loop=loop)
        wrapped.cancel()
        await asyncio.sleep(0)
        assert theirs.cancelled()

    run(main)


def test_a_duck_typed_future_can_be_awaited(loop: Any, run: Any) -> None:
    class Duck:
        """The protocol asyncio asks of a future: the flag, the loop, callbacks, a result."""

        _asyncio_future_blocking = False

        def __init__(self) -> None:
            self.callbacks: list[Any] = []

        def get_loop(self) -> Any:
            return loop

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            self.callbacks.append((callback, context))

        def result(self) -> str:
            return "quack"

        def __await__(self) -> Any:
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def main() -> str:
        duck = Duck()
        loop.call_soon(
            lambda: [loop.call_soon(call, duck, context=context) for call, context in duck.callbacks]
        )
        return await duck  # type: ignore[no-any-return]

    assert run(main) == "quack"


def test_coroutines_of_other_kinds_make_tasks(loop: Any, run: Any) -> None:
    class Handmade(collections.abc.Coroutine):  # type: ignore[type-arg]
        """What Cython makes of an async def: a Coroutine by its methods only."""

        def __init__(self) -> None:
            self.sent: list[Any] = []

        def send(self, value: Any) -> None:
            self.sent.append(value)
            if len(self.sent) == 3:
                raise StopIteration("handmade")

        def throw(self, *error: Any) -> None:
            raise error[0]

        def close(self) -> None:
            """Nothing to close."""

        def __await__(self) -> Any:
            return self

    handmade = Handmade()
    assert asyncio.iscoroutine(handmade)
    assert run(handmade) == "handmade"
    assert handmade.sent == [None, None, None]


def test_sleep_and_the_order_of_its_wake_ups(loop: Any, run: Any) -> None:
    async def main() -> Any:
        assert await asyncio.sleep(0, "result") == "result"
        assert await asyncio.sleep(0.001, "later") == "later"
        assert await asyncio.sleep(-1, "negative") == "negative"
        done: list[float] = []
        await asyncio.gather(*(note_after(done, delay) for delay in (0.02, 0, 0.01)))
        return done

    async def note_after(done: list[float], delay: float) -> None:
        await asyncio.sleep(delay)
        done.append(delay)

    assert run(main) == [0, 0.01, 0.02]


def test_run_coroutine_threadsafe_from_the_executor(loop: Any, run: Any) -> None:
    def ask() -> Any:
        return asyncio.run_coroutine_threadsafe(after(1, "asked"), loop).result(20)

    async def main() -> Any:
        return await asyncio.to_thread(ask)

    assert run(main) == "asked"
