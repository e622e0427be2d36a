"""Barrier: they wait for each other, round after round; what reset, abort and cancellation do to them."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from turns import Trace


@pytest.fixture
def aio(implementation: Any) -> Any:
    return implementation.module


async def come(barrier: Any, trace: Trace) -> int:
    try:
        index: int = await barrier.wait()
    except asyncio.BrokenBarrierError as error:
        trace.note(str(error))
        raise
    trace.note(index)
    return index


async def started(count: int, barrier: Any, trace: Trace) -> list[asyncio.Task[int]]:
    tasks = [asyncio.ensure_future(come(barrier, trace)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_all_go_on_together_with_a_number_each(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        barrier = aio.Barrier(3)
        assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)
        tasks = await started(2, barrier, trace)
        assert barrier.n_waiting == 2
        assert trace == []
        assert await barrier.wait() == 2
        assert sorted(await asyncio.gather(*tasks)) == [0, 1]
        assert barrier.n_waiting == 0

    run(main)


def test_one_party_never_waits(aio: Any) -> None:
    barrier = aio.Barrier(1)
    for _ in range(2):
        with pytest.raises(StopIteration) as ended:
            barrier.wait().send(None)
        assert ended.value.value == 0


def test_it_is_used_round_after_round(aio: Any, run: Any) -> None:
    rounds: list[list[int]] = [[], [], []]

    async def go_round(barrier: Any) -> None:
        for numbers in rounds:
            numbers.append(await barrier.wait())

    async def main() -> None:
        barrier = aio.Barrier(4)
        await asyncio.gather(*[go_round(barrier) for _ in range(4)])

    run(main)
    assert [sorted(numbers) for numbers in rounds] == [[0, 1, 2, 3]] * 3


def test_who_comes_while_the_round_before_leaves_waits_for_the_next(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        barrier = aio.Barrier(2)
        first = await started(1, barrier, trace)
        # The round is full with the first of these; the others make two more rounds.
        rest = [asyncio.ensure_future(come(barrier, trace)) for _ in range(5)]
        await asyncio.gather(*first, *rest)
        assert barrier.n_waiting == 0

    run(main)
    assert sorted(trace) == [0, 0, 0, 1, 1, 1]


def test_async_with_gives_the_number(aio: Any, run: Any) -> None:
    async def enter(barrier: Any) -> int:
        async with barrier as index:
            assert isinstance(index, int)
            return index

    async def main() -> list[int]:
        barrier = aio.Barrier(2)
        return list(await asyncio.gather(enter(barrier), enter(barrier)))

    assert sorted(run(main)) == [0, 1]


def test_async_with_calls_the_wait_of_a_subclass(aio: Any, run: Any) -> None:
    class Silent(aio.Barrier):  # type: ignore[misc]
        async def wait(self) -> str:
            return "at once"

    async def main() -> str:
        async with Silent(5) as result:
            return str(result)

    assert run(main) == "at once"


def test_abort_breaks_it_for_those_inside_and_those_who_come(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        barrier = aio.Barrier(3)
        tasks = await started(2, barrier, trace)
        assert await barrier.abort() is None
        assert barrier.broken
        assert barrier.n_waiting == 0
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(asyncio.BrokenBarrierError, match=r"^Barrier aborted$"):
            await barrier.wait()
        assert repr(barrier).endswith(" [broken]>")

    run(main)
    assert trace == ["Abort or reset of barrier"] * 2


def test_reset_sends_those_inside_away_and_goes_on(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        barrier = aio.Barrier(3)
        tasks = await started(2, barrier, trace)
        await barrier.reset()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert trace == ["Abort or reset of barrier"] * 2
        assert not barrier.broken
        assert sorted(await asyncio.gather(*[barrier.wait() for _ in range(3)])) == [0, 1, 2]

    run(main)


def test_who_comes_while_it_is_reset_waits_for_the_next_round(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        barrier = aio.Barrier(2)
        inside = await started(1, barrier, trace)
        await barrier.reset()
        late = [asyncio.ensure_future(come(barrier, trace)) for _ in range(2)]
        await asyncio.gather(*inside, *late, return_exceptions=True)
        assert sorted(task.result() for task in late) == [0, 1]

    run(main)
    assert trace[0] == "Abort or reset of barrier"


def test_reset_mends_a_broken_one(aio: Any, run: Any) -> None:
    async def main() -> None:
        barrier = aio.Barrier(2)
        await barrier.abort()
        await barrier.reset()
        assert not barrier.broken
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    run(main)


def test_who_is_cancelled_inside_makes_room(aio: Any, run: Any) -> None:
    async def main() -> None:
        barrier = aio.Barrier(2)
        [task] = await started(1, barrier, Trace())
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert barrier.n_waiting == 0
        assert not barrier._cond.locked()
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    run(main)


def test_who_is_cancelled_before_it_is_inside_changes_nothing(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        barrier = aio.Barrier(2)
        await barrier._cond.acquire()
        [task] = await started(1, barrier, trace)
        task.cancel()
        await asyncio.wait([task])
        barrier._cond.release()
        assert barrier.n_waiting == 0
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    run(main)


def test_what_it_may_be_made_with(aio: Any) -> None:
    for parties in (0, -1):
        with pytest.raises(ValueError, match=r"^parties must be >(?:= 1| 0)$"):
            aio.Barrier(parties)
    for arguments in ((), (1, 2), ("1",), (None,)):
        with pytest.raises(TypeError):
            aio.Barrier(*arguments)
    assert aio.Barrier(parties=2).parties == 2
    assert list(inspect.signature(aio.Barrier).parameters) == ["parties"]
    for name in ("parties", "n_waiting", "broken"):
        with pytest.raises(AttributeError):
            setattr(aio.Barrier(1), name, 1)


def test_its_repr_tells_the_state_and_how_many_wait(aio: Any, run: Any) -> None:
    async def main() -> None:
        barrier = aio.Barrier(2)
        assert repr(barrier).endswith(f"Barrier object at {id(barrier):#x} [filling, waiters:0/2]>")
        tasks = await started(1, barrier, Trace())
        assert repr(barrier).endswith(" [filling, waiters:1/2]>")
        await barrier.wait()
        assert repr(barrier).endswith(" [draining, waiters:0/2]>")
        assert barrier._state.value == "draining"
        await asyncio.wait(tasks)
        assert barrier._state.value == "filling"

    run(main)
