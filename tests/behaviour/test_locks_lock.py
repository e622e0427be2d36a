"""Lock: one task at a time, in the order they came, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
import weakref
from typing import Any

import pytest
from turns import Trace, turn


@pytest.fixture
def aio(implementation: Any) -> Any:
    return implementation.module


def test_a_free_lock_is_taken_without_a_turn(aio: Any) -> None:
    lock = aio.Lock()
    with pytest.raises(StopIteration) as ended:
        lock.acquire().send(None)
    assert ended.value.value is True
    assert lock.locked() is True
    lock.release()
    assert lock.locked() is False


def test_async_with_holds_it_and_gives_nothing(aio: Any, run: Any) -> None:
    async def main() -> None:
        lock = aio.Lock()
        async with lock as held:
            assert held is None
            assert lock.locked()
        assert not lock.locked()
        with pytest.raises(LookupError):
            async with lock:
                raise LookupError
        assert not lock.locked()

    run(main)


def test_making_the_coroutine_does_not_take_the_lock(aio: Any) -> None:
    lock = aio.Lock()
    coroutines = [lock.acquire(), lock.__aenter__()]
    assert not lock.locked()
    for coroutine in coroutines:
        coroutine.close()
    lock.acquire().close()
    assert not lock.locked()


def test_making_the_coroutine_of_the_exit_does_not_free_the_lock(aio: Any) -> None:
    lock = aio.Lock()
    with pytest.raises(StopIteration):
        lock.acquire().send(None)
    leaving = lock.__aexit__(None, None, None)
    assert lock.locked()
    with pytest.raises(StopIteration):
        leaving.send(None)
    assert not lock.locked()
    with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
        leaving.send(None)


def test_entering_and_leaving_that_nobody_awaits_is_told(aio: Any) -> None:
    lock = aio.Lock()
    for method in (lock.__aenter__, lambda: lock.__aexit__(None, None, None)):
        with pytest.warns(RuntimeWarning, match=r"coroutine '.*__ae(nter|xit)__' was never awaited"):
            method()
            gc.collect()


def test_releasing_what_is_free_is_an_error(aio: Any, run: Any) -> None:
    lock = aio.Lock()
    with pytest.raises(RuntimeError, match=r"^Lock is not acquired\.$"):
        lock.release()
    with pytest.raises(RuntimeError, match=r"^Lock is not acquired\.$"):
        run(lock.__aexit__(None, None, None))


def test_anybody_may_release_it(aio: Any, run: Any) -> None:
    async def main() -> None:
        lock = aio.Lock()
        await asyncio.ensure_future(lock.acquire())
        lock.release()
        assert not lock.locked()

    run(main)


def test_it_goes_from_hand_to_hand_in_the_order_of_arrival(aio: Any, loop: Any, run: Any) -> None:
    trace = Trace()
    lock = aio.Lock()

    async def pass_through(number: int) -> None:
        async with lock:
            trace.note(number)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*[pass_through(number) for number in range(20)])

    run(main)
    assert trace == list(range(20))


def test_nobody_slips_in_between_the_release_and_who_was_woken(aio: Any, run: Any) -> None:
    trace = Trace()

    async def wait(lock: Any) -> None:
        async with lock:
            trace.note("waited")

    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        waiting = asyncio.ensure_future(wait(lock))
        await asyncio.sleep(0)
        lock.release()
        assert not lock.locked()
        async with lock:
            trace.note("came later")
        await waiting

    run(main)
    assert trace == ["waited", "came later"]


def test_who_is_cancelled_while_waiting_leaves_no_trace(aio: Any, run: Any) -> None:
    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        first, second = (asyncio.ensure_future(lock.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel("message")
        with pytest.raises(asyncio.CancelledError, match=r"^message$"):
            await first
        assert len(lock._waiters) == 1
        lock.release()
        assert await second is True
        assert lock.locked()

    run(main)


def test_who_is_woken_and_cancelled_at_once_passes_the_lock_on(aio: Any, run: Any) -> None:
    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        first, second = (asyncio.ensure_future(lock.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        lock.release()
        first.cancel()
        assert await asyncio.wait_for(second, 5) is True
        assert first.cancelled()
        assert lock.locked()

    run(main)


def test_a_cancelled_head_does_not_hold_up_the_lock(aio: Any, run: Any) -> None:
    """Cancelled, but not run since: the next to come need not wait for it."""

    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        lock.release()
        await lock.acquire()
        assert lock.locked()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert lock.locked()
        lock.release()

    run(main)


def test_one_cancelled_between_two_who_wait_is_passed_over(aio: Any, run: Any) -> None:
    trace = Trace()

    async def wait(lock: Any, name: str) -> None:
        async with lock:
            trace.note(name)

    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        tasks = [asyncio.ensure_future(wait(lock, name)) for name in "abc"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        lock.release()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main)
    assert trace == ["a", "c"]


def test_closing_a_waiting_acquire_takes_it_out_of_the_line(aio: Any, loop: Any) -> None:
    async def wait(lock: Any) -> None:
        await lock.acquire()

    lock = aio.Lock()
    loop.run_until_complete(lock.acquire())
    task = loop.create_task(wait(lock))
    turn(loop)
    assert len(lock._waiters) == 1
    waiting = lock._waiters[0]
    assert isinstance(waiting, asyncio.Future)
    task.cancel()
    turn(loop, 2)
    assert waiting.cancelled()
    assert not lock._waiters


def test_it_is_bound_to_the_loop_of_the_first_who_waits(aio: Any, implementation: Any) -> None:
    lock = aio.Lock()

    async def take() -> None:
        async with lock:
            pass

    async def wait() -> None:
        async with lock:
            await asyncio.wait_for(lock.acquire(), 0.001)

    for _ in range(2):
        with_loop(implementation, take())
    assert lock._loop is None
    with pytest.raises(asyncio.TimeoutError):
        with_loop(implementation, wait())
    assert lock._loop is not None
    # Nobody has to wait: that works on any loop.
    with_loop(implementation, take())
    with pytest.raises(RuntimeError, match=r"^<.*Lock object at .*> is bound to a different event loop$"):
        with_loop(implementation, wait())


def with_loop(implementation: Any, coroutine: Any) -> Any:
    loop = implementation.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def test_its_repr_tells_the_state_and_how_many_wait(aio: Any, run: Any) -> None:
    async def main() -> None:
        lock = aio.Lock()
        assert repr(lock).endswith(f"Lock object at {id(lock):#x} [unlocked]>")
        await lock.acquire()
        assert repr(lock).endswith(" [locked]>")
        waiting = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
        assert repr(lock).endswith(" [locked, waiters:1]>")
        lock.release()
        await waiting
        assert repr(lock).endswith(" [locked]>")

    run(main)


def test_it_takes_no_arguments(aio: Any) -> None:
    assert not inspect.signature(aio.Lock).parameters
    lock = aio.Lock()
    for call in (aio.Lock, lock.acquire, lock.release, lock.locked):
        with pytest.raises(TypeError):
            call(1)
    with pytest.raises(TypeError):
        aio.Lock(loop=None)
    with pytest.raises(TypeError):
        lock.__aexit__(None)


def test_a_lock_is_no_awaitable_and_no_plain_context_manager(aio: Any, run: Any) -> None:
    async def main() -> None:
        lock = aio.Lock()
        with pytest.raises(TypeError, match=r"Lock"):
            await lock
        assert not hasattr(lock, "__enter__")

    run(main)


def test_a_subclass_may_have_methods_and_attributes_of_its_own(aio: Any, run: Any) -> None:
    trace = Trace()

    class Traced(aio.Lock):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def acquire(self) -> Any:
            trace.note("acquire", self.name)
            return await super().acquire()

        def release(self) -> None:
            trace.note("release", self.name)
            super().release()

    async def main() -> None:
        lock = Traced("lock")
        async with lock:
            assert lock.locked()
        assert type(lock) is lock.__class__ is Traced

    run(main)
    assert trace == [("acquire", "lock"), ("release", "lock")]


@pytest.mark.rasyncio_only(reason="asyncio's classes are what they are")
@pytest.mark.parametrize(
    "name",
    ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Queue", "PriorityQueue", "LifoQueue"],
)
def test_it_counts_as_a_lock_of_asyncio_and_a_subclass_as_itself(aio: Any, name: str) -> None:
    ours, theirs = getattr(aio, name), getattr(asyncio, name)
    assert isinstance(ours(), ours)
    assert isinstance(ours(), theirs)
    derived = type("Derived", (ours,), {})
    assert derived().__class__ is derived
    assert isinstance(derived(), ours) and not isinstance(derived(), theirs)


def test_acquire_is_a_coroutine_in_every_respect(aio: Any, run: Any) -> None:
    lock = aio.Lock()
    coroutine: Any = lock.acquire()
    assert asyncio.iscoroutine(coroutine)
    assert getattr(coroutine, "__qualname__", "") == "Lock.acquire"
    assert getattr(coroutine, "__name__", "") == "acquire"
    assert weakref.ref(coroutine)() is coroutine
    with pytest.raises(TypeError, match=r"^can't send non-None value to a just-started coroutine$"):
        coroutine.send(1)
    assert run(coroutine) is True
    with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
        coroutine.send(None)


def test_each_forgotten_acquire_warns_however_often_its_memory_was_used(aio: Any, run: Any) -> None:
    """Coroutines of rasyncio are used again when they are over."""
    lock = aio.Lock()
    for _ in range(3):
        run(lock.acquire())
        lock.release()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lock.acquire()
            circle = [lock.acquire()]
            circle.append(circle)
            del circle
            gc.collect()
        texts = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
        assert texts == ["coroutine 'Lock.acquire' was never awaited"] * 2
    assert not lock.locked()


def test_a_weak_reference_to_a_coroutine_dies_with_it(aio: Any) -> None:
    lock = aio.Lock()
    coroutine = lock.acquire()
    reference = weakref.ref(coroutine)
    coroutine.close()
    del coroutine
    gc.collect()
    again = lock.acquire()
    assert reference() is None
    again.close()


def test_a_suspended_acquire_shows_what_it_awaits(aio: Any, loop: Any) -> None:
    lock = aio.Lock()
    loop.run_until_complete(lock.acquire())
    task = loop.create_task(lock.acquire())
    turn(loop)
    coroutine = task.get_coro()
    assert coroutine.cr_await is not None
    assert coroutine.cr_running is False
    task.cancel()
    turn(loop, 2)
    assert coroutine.cr_await is None


def test_a_circle_through_a_waiting_acquire_is_collected(aio: Any, implementation: Any) -> None:
    class Marked(aio.Lock):  # type: ignore[misc]
        pass

    async def wait(lock: Any) -> None:
        await lock.acquire()

    loop = implementation.new_event_loop()
    lock = Marked()
    loop.run_until_complete(lock.acquire())
    task = loop.create_task(wait(lock))
    task._log_destroy_pending = False
    turn(loop)
    lock.task = task
    reference = weakref.ref(lock)
    loop.close()
    del lock, task, loop
    gc.collect()
    assert reference() is None
