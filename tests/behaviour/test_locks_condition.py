"""Condition: waiting to be notified, with the lock held before and after, whatever happens between."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

import pytest
from turns import Trace, turn


@pytest.fixture
def aio(implementation: Any) -> Any:
    return implementation.module


def skip_if_flawed(implementation: Any) -> None:
    """Before 3.13 a notification is lost with who is cancelled (CPython gh-112202)."""
    if implementation.is_oracle and sys.version_info < (3, 13):
        pytest.skip("CPython gh-112202: mended in 3.13")


async def wait(condition: Any, trace: Trace, name: object) -> None:
    async with condition:
        assert await condition.wait() is True
        assert condition.locked()
        trace.note(name)


async def started(count: int, condition: Any, trace: Trace) -> list[asyncio.Task[None]]:
    tasks = [asyncio.ensure_future(wait(condition, trace, number)) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_notified_tasks_go_on_one_by_one_in_the_order_of_arrival(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        condition = aio.Condition()
        tasks = await started(5, condition, trace)
        assert len(condition._waiters) == 5
        async with condition:
            condition.notify(2)
            assert trace == []
        for _ in range(4):
            await asyncio.sleep(0)
        assert trace == [0, 1]
        async with condition:
            condition.notify()
        await tasks[2]
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)

    run(main)
    assert trace == [0, 1, 2, 3, 4]


def test_notifying_more_than_wait_or_nobody(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        condition = aio.Condition()
        tasks = await started(2, condition, trace)
        async with condition:
            condition.notify(0)
            condition.notify(-1)
        await asyncio.sleep(0)
        assert trace == []
        async with condition:
            condition.notify(n=10)
        await asyncio.gather(*tasks)
        async with condition:
            condition.notify()
            condition.notify_all()

    run(main)
    assert trace == [0, 1]


def test_a_second_notification_goes_to_the_next(aio: Any, run: Any) -> None:
    """The one who was notified first did not run yet, and counts no more."""
    trace = Trace()

    async def main() -> None:
        condition = aio.Condition()
        tasks = await started(3, condition, trace)
        async with condition:
            condition.notify()
            condition.notify()
        await asyncio.gather(*tasks[:2])
        assert not tasks[2].done()
        async with condition:
            condition.notify()
        await tasks[2]

    run(main)


@pytest.mark.parametrize("method", ["notify", "notify_all"])
def test_without_the_lock_nobody_may_wait_or_notify(aio: Any, run: Any, method: str) -> None:
    condition = aio.Condition()
    with pytest.raises(RuntimeError, match=r"^cannot notify on un-acquired lock$"):
        getattr(condition, method)()
    with pytest.raises(RuntimeError, match=r"^cannot wait on un-acquired lock$"):
        run(condition.wait())


def test_who_is_cancelled_while_waiting_has_the_lock_again(aio: Any, run: Any, implementation: Any) -> None:
    skip_if_flawed(implementation)

    async def main() -> None:
        condition = aio.Condition()
        held = Trace()

        async def wait_and_look() -> None:
            async with condition:
                try:
                    await condition.wait()
                finally:
                    held.note(condition.locked())

        task = asyncio.ensure_future(wait_and_look())
        await asyncio.sleep(0)
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError, match=r"^message$"):
            await task
        assert held == [True]
        assert not condition.locked()
        assert not condition._waiters

    run(main)


def test_who_is_cancelled_while_it_waits_for_the_lock_goes_on_waiting_and_is_cancelled_then(
    aio: Any, run: Any, implementation: Any
) -> None:
    skip_if_flawed(implementation)

    async def main() -> None:
        condition = aio.Condition()
        task = asyncio.ensure_future(wait(condition, Trace(), "never"))
        await asyncio.sleep(0)
        await condition.acquire()
        condition.notify()
        await asyncio.sleep(0)
        for text in ("first", "second"):
            task.cancel(text)
            await asyncio.sleep(0)
            assert not task.done()
        condition.release()
        with pytest.raises(asyncio.CancelledError, match=r"^second$"):
            await task
        assert not condition.locked()

    run(main)


def test_a_notification_of_somebody_cancelled_goes_to_the_next(
    aio: Any, run: Any, implementation: Any
) -> None:
    skip_if_flawed(implementation)
    trace = Trace()

    async def main() -> None:
        condition = aio.Condition()
        tasks = await started(2, condition, trace)
        async with condition:
            condition.notify()
        tasks[0].cancel()
        await asyncio.wait_for(tasks[1], 5)
        assert tasks[0].cancelled()

    run(main)
    assert trace == [1]


def test_a_notification_is_passed_on_by_who_is_cancelled_waiting_for_the_lock(
    aio: Any, run: Any, implementation: Any
) -> None:
    skip_if_flawed(implementation)
    trace = Trace()

    async def main() -> None:
        condition = aio.Condition()
        tasks = await started(2, condition, trace)
        await condition.acquire()
        condition.notify()
        await asyncio.sleep(0)
        tasks[0].cancel()
        condition.release()
        await asyncio.wait_for(tasks[1], 5)
        assert tasks[0].cancelled()

    run(main)
    assert trace == [1]


def test_wait_for_waits_until_it_is_true(aio: Any, run: Any) -> None:
    async def main() -> None:
        condition = aio.Condition()
        stock: list[int] = []

        async def collect() -> Any:
            async with condition:
                result = await condition.wait_for(lambda: condition.locked() and len(stock) >= 3 and stock)
                assert condition.locked()
                return result

        task = asyncio.ensure_future(collect())
        for number in range(3):
            await asyncio.sleep(0)
            assert not task.done()
            async with condition:
                stock.append(number)
                condition.notify()
        assert await task is stock

    run(main)


def test_wait_for_something_true_needs_no_lock(aio: Any, run: Any) -> None:
    assert run(aio.Condition().wait_for(lambda: 7)) == 7
    with pytest.raises(RuntimeError, match=r"^cannot wait on un-acquired lock$"):
        run(aio.Condition().wait_for(lambda: 0))


def test_what_the_predicate_raises_comes_out_with_the_lock_held(aio: Any, run: Any) -> None:
    def fail() -> bool:
        raise LookupError("predicate")

    async def main() -> None:
        condition = aio.Condition()
        async with condition:
            with pytest.raises(LookupError, match=r"^predicate$"):
                await condition.wait_for(fail)
            assert condition.locked()

    run(main)


def test_wait_for_calls_the_wait_of_a_subclass(aio: Any, run: Any) -> None:
    trace = Trace()

    class Traced(aio.Condition):  # type: ignore[misc]
        async def wait(self) -> bool:
            trace.note("wait")
            return True

    results = iter([False, False, True])
    assert run(Traced().wait_for(lambda: next(results))) is True
    assert trace == ["wait", "wait"]


def test_conditions_share_a_lock(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        lock = aio.Lock()
        one, other = aio.Condition(lock), aio.Condition(lock=lock)
        assert one._lock is other._lock is lock
        tasks = [
            asyncio.ensure_future(wait(one, trace, "one")),
            asyncio.ensure_future(wait(other, trace, "other")),
        ]
        await asyncio.sleep(0)
        async with one:
            assert lock.locked() and other.locked()
            other.notify()
        await tasks[1]
        async with lock:
            one.notify()
        await tasks[0]

    run(main)
    assert trace == ["other", "one"]


class OwnLock:
    """A lock that somebody wrote: all that a condition needs."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.is_held = False

    def locked(self) -> bool:
        return self.is_held

    async def acquire(self) -> str:
        while self.is_held:
            await asyncio.sleep(0)
        self.is_held = True
        self.trace.note("acquire")
        return "taken"

    def release(self) -> str:
        self.is_held = False
        self.trace.note("release")
        return "given back"


def test_the_lock_may_be_somebody_elses(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        condition = aio.Condition(OwnLock(trace))
        task = asyncio.ensure_future(wait(condition, trace, "notified"))
        await asyncio.sleep(0)
        assert await condition.acquire() == "taken"
        condition.notify()
        assert condition.locked()
        assert repr(condition).endswith(" [locked, waiters:1]>")
        assert condition.release() == "given back"
        await task

    run(main)
    assert trace == ["acquire", "release", "acquire", "release", "acquire", "notified", "release"]


def test_a_lock_of_asyncio_does(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        condition = aio.Condition(asyncio.Lock())
        tasks = await started(3, condition, trace)
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)

    run(main)
    assert trace == [0, 1, 2]


def test_what_is_no_lock_is_refused(aio: Any) -> None:
    with pytest.raises(AttributeError):
        aio.Condition(object())
    with pytest.raises(TypeError):
        aio.Condition(None, None)
    assert list(inspect.signature(aio.Condition).parameters) == ["lock"]


def test_on_another_loop_the_lock_is_kept(aio: Any, implementation: Any) -> None:
    """3.13 and newer make the future before they let go of the lock."""
    skip_if_flawed(implementation)
    condition = aio.Condition()

    async def wait_a_while() -> None:
        async with condition:
            await asyncio.wait_for(condition.wait(), 0.001)

    async def wait_elsewhere() -> None:
        async with condition:
            with pytest.raises(RuntimeError, match=r"is bound to a different event loop$"):
                await condition.wait()
            assert condition.locked()

    for body, ending in ((wait_a_while, asyncio.TimeoutError), (wait_elsewhere, None)):
        loop = implementation.new_event_loop()
        if ending is None:
            loop.run_until_complete(body())
        else:
            with pytest.raises(ending):
                loop.run_until_complete(body())
        loop.close()


def test_its_repr_tells_the_state_and_how_many_wait(aio: Any, loop: Any) -> None:
    condition = aio.Condition()
    assert repr(condition).endswith(f"Condition object at {id(condition):#x} [unlocked]>")
    task = loop.create_task(wait(condition, Trace(), "notified"))
    turn(loop)
    assert repr(condition).endswith(" [unlocked, waiters:1]>")
    loop.run_until_complete(condition.acquire())
    assert repr(condition).endswith(" [locked, waiters:1]>")
    condition.notify()
    condition.release()
    loop.run_until_complete(task)


def test_a_subclass_notifies_all_in_its_own_way(run: Any, aio: Any) -> None:
    counts = []

    class Counting(aio.Condition):  # type: ignore[misc]
        def notify(self, n: int = 1) -> None:
            counts.append(n)
            super().notify(n)

    async def main() -> None:
        condition = Counting()

        async def wait() -> None:
            async with condition:
                await condition.wait()

        waiting = [asyncio.ensure_future(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        async with condition:
            condition.notify_all()
        await asyncio.gather(*waiting)

    run(main)
    assert counts == [3]
