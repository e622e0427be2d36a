"""Semaphore and BoundedSemaphore: so many at a time, in the order they came, whoever is cancelled."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from typing import Any

import pytest
from turns import Trace


@pytest.fixture
def aio(implementation: Any) -> Any:
    return implementation.module


def skip_if_flawed(implementation: Any) -> None:
    """Before 3.13 who comes between a release and who was woken may wait for ever (CPython gh-111693)."""
    if implementation.is_oracle and sys.version_info < (3, 13):
        pytest.skip("CPython gh-111693: lost wake-ups, mended in 3.13")


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_places_are_taken_without_a_turn_while_there_are_some(aio: Any, name: str) -> None:
    semaphore = getattr(aio, name)(2)
    for left in (1, 0):
        assert not semaphore.locked()
        with pytest.raises(StopIteration) as ended:
            semaphore.acquire().send(None)
        assert ended.value.value is True
        assert semaphore._value == left
    assert semaphore.locked()
    semaphore.release()
    assert semaphore._value == 1


def test_so_many_are_in_at_a_time_and_in_the_order_of_arrival(aio: Any, run: Any) -> None:
    trace = Trace()
    inside = 0

    async def pass_through(semaphore: Any, number: int) -> None:
        nonlocal inside
        async with semaphore as held:
            assert held is None
            inside += 1
            trace.note(number, inside)
            await asyncio.sleep(0)
            inside -= 1

    async def main() -> None:
        semaphore = aio.Semaphore(3)
        await asyncio.gather(*[pass_through(semaphore, number) for number in range(12)])
        assert semaphore._value == 3

    run(main)
    assert [number for number, _ in trace] == list(range(12))
    assert max(count for _, count in trace) == 3


def test_nobody_slips_in_before_who_was_woken(aio: Any, run: Any) -> None:
    trace = Trace()

    async def take(semaphore: Any, name: str) -> None:
        await semaphore.acquire()
        trace.note(name)

    async def main() -> None:
        semaphore = aio.Semaphore(0)
        waiting = asyncio.ensure_future(take(semaphore, "waited"))
        await asyncio.sleep(0)
        semaphore.release()
        late = asyncio.ensure_future(take(semaphore, "came later"))
        assert semaphore.locked()
        await waiting
        semaphore.release()
        await late

    run(main)
    assert trace == ["waited", "came later"]


def test_two_places_given_back_in_one_turn_let_two_in(aio: Any, run: Any, implementation: Any) -> None:
    skip_if_flawed(implementation)

    async def main() -> None:
        semaphore = aio.Semaphore(0)
        first = asyncio.ensure_future(semaphore.acquire())
        await asyncio.sleep(0)
        semaphore.release()
        semaphore.release()
        second = asyncio.ensure_future(semaphore.acquire())
        assert list(await asyncio.wait_for(asyncio.gather(first, second), 5)) == [True, True]
        assert semaphore._value == 0

    run(main)


def test_who_is_woken_and_cancelled_at_once_gives_the_place_back(
    aio: Any, run: Any, implementation: Any
) -> None:
    skip_if_flawed(implementation)

    async def main() -> None:
        semaphore = aio.Semaphore(0)
        first, second = (asyncio.ensure_future(semaphore.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        semaphore.release()
        first.cancel()
        assert await asyncio.wait_for(second, 5) is True
        assert first.cancelled()
        assert semaphore._value == 0

    run(main)


def test_with_nobody_behind_the_place_of_the_cancelled_is_free(aio: Any, run: Any) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(0)
        task = asyncio.ensure_future(semaphore.acquire())
        await asyncio.sleep(0)
        semaphore.release()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert semaphore._value == 1
        assert not semaphore.locked()

    run(main)


def test_who_is_cancelled_while_waiting_leaves_no_trace(aio: Any, run: Any) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(0)
        tasks = [asyncio.ensure_future(semaphore.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[1].cancel()
        semaphore.release()
        assert await tasks[2] is True
        assert [task.cancelled() for task in tasks] == [True, True, False]
        assert not semaphore._waiters
        assert semaphore._value == 0

    run(main)


def test_a_semaphore_all_of_whose_waiters_were_cancelled_is_open(aio: Any, run: Any) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(0)
        task = asyncio.ensure_future(semaphore.acquire())
        await asyncio.sleep(0)
        task.cancel()
        semaphore.release()
        assert not semaphore.locked()
        await semaphore.acquire()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert semaphore._value == 0

    run(main)


def test_a_bounded_one_cannot_be_released_too_often(aio: Any, run: Any) -> None:
    semaphore = aio.BoundedSemaphore(1)
    with pytest.raises(ValueError, match=r"^BoundedSemaphore released too many times$"):
        semaphore.release()

    async def main() -> None:
        async with semaphore:
            assert semaphore.locked()
        assert semaphore._value == semaphore._bound_value == 1
        with pytest.raises(ValueError, match=r"^BoundedSemaphore released too many times$"):
            await semaphore.__aexit__(None, None, None)

    run(main)


def test_an_unbounded_one_grows(aio: Any) -> None:
    semaphore = aio.Semaphore()
    semaphore.release()
    semaphore.release()
    assert semaphore._value == 3
    semaphore._value -= 2
    assert semaphore._value == 1


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_what_it_may_be_made_with(aio: Any, name: str) -> None:
    make = getattr(aio, name)
    assert make()._value == 1
    assert make(value=5)._value == 5
    assert make(0).locked()
    with pytest.raises(ValueError, match=r"^Semaphore initial value must be >= 0$"):
        make(-1)
    for wrong in ("1", None):
        with pytest.raises(TypeError):
            make(wrong)
    with pytest.raises(TypeError):
        make(1, 2)
    assert inspect.signature(make).parameters["value"].default == 1


def test_it_may_have_room_for_everybody(aio: Any, run: Any) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(math.inf)
        for _ in range(10):
            await semaphore.acquire()
        assert semaphore._value == math.inf
        semaphore.release()

    run(main)


def test_its_repr_tells_the_state_and_how_many_wait(aio: Any, run: Any) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(1)
        assert repr(semaphore).endswith(f"Semaphore object at {id(semaphore):#x} [unlocked, value:1]>")
        await semaphore.acquire()
        assert repr(semaphore).endswith(" [locked]>")
        task = asyncio.ensure_future(semaphore.acquire())
        await asyncio.sleep(0)
        assert repr(semaphore).endswith(" [locked, waiters:1]>")
        semaphore.release()
        await task

    run(main)


def test_a_subclass_is_released_in_its_own_way(aio: Any, run: Any) -> None:
    trace = Trace()

    class Traced(aio.BoundedSemaphore):  # type: ignore[misc]
        async def acquire(self) -> Any:
            trace.note("acquire")
            return await super().acquire()

        def release(self) -> None:
            trace.note("release")
            super().release()

    async def main() -> None:
        async with Traced(1) as held:
            assert held is None

    run(main)
    assert trace == ["acquire", "release"]


def test_a_subclass_decides_when_it_is_locked(run: Any, aio: Any) -> None:
    class Gated(aio.Semaphore):  # type: ignore[misc]
        is_open = True

        def locked(self) -> bool:
            return not self.is_open or bool(super().locked())

    async def main() -> None:
        semaphore = Gated(2)
        await semaphore.acquire()
        semaphore.is_open = False
        waits = asyncio.ensure_future(semaphore.acquire())
        await asyncio.sleep(0)
        assert not waits.done() and semaphore._value == 1
        semaphore.release()
        assert await waits

    run(main)
