"""sleep: turns, delays, results, and everything that ends it early."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from turns import Trace, turn


def test_returns_its_result(run: Any, aio: Any) -> None:
    async def main() -> list[object]:
        return [await aio.sleep(0), await aio.sleep(0, "a"), await aio.sleep(0.001, result=("b",))]

    assert run(main) == [None, "a", ("b",)]


@pytest.mark.parametrize("delay", [0, -1, 0.0, -0.5, False, Decimal(0), Decimal("-1.5")])
def test_a_delay_of_nothing_takes_one_turn(loop: Any, aio: Any, delay: Any) -> None:
    trace = Trace()

    async def work(name: str) -> None:
        trace.note(name, 1)
        await aio.sleep(delay)
        trace.note(name, 2)

    tasks = [loop.create_task(work(name)) for name in "ab"]
    turn(loop)
    assert trace == [("a", 1), ("b", 1)]
    assert all(task._fut_waiter is None for task in tasks)
    turn(loop)
    assert trace[2:] == [("a", 2), ("b", 2)]
    assert all(task.done() for task in tasks)


def test_sleepers_wake_in_the_order_of_their_deadlines(run: Any, aio: Any) -> None:
    trace = Trace()

    async def work(delay: float) -> None:
        await aio.sleep(delay)
        trace.note(delay)

    async def main() -> None:
        await aio.gather(*[work(delay) for delay in (0.03, 0.01, 0.02)])

    run(main)
    assert trace == [0.01, 0.02, 0.03]


def test_it_takes_at_least_the_delay(run: Any, loop: Any, aio: Any) -> None:
    async def main() -> float:
        begin = loop.time()
        await aio.sleep(0.02)
        return float(loop.time() - begin)

    assert run(main) >= 0.02


@pytest.mark.parametrize("nan", [math.nan, float("nan")])
def test_nan_is_refused(run: Any, implementation: Any, aio: Any, nan: float) -> None:
    if implementation.is_oracle and sys.version_info < (3, 13):
        pytest.skip("asyncio refuses it from 3.13 on (gh-105331)")
    with pytest.raises(ValueError, match=r"^Invalid delay: NaN \(not a number\)$"):
        run(aio.sleep(nan))


@pytest.mark.parametrize("delay", ["1", None, [1]])
def test_what_is_no_number_is_a_type_error(run: Any, aio: Any, delay: Any) -> None:
    with pytest.raises(TypeError):
        run(aio.sleep(delay))


def test_nothing_happens_before_it_is_awaited(aio: Any) -> None:
    coroutine = aio.sleep("no number")
    coroutine.close()
    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        aio.sleep(1).__class__  # noqa: B018


def test_outside_of_a_loop_it_is_a_runtime_error(aio: Any) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.sleep(1).send(None)


@pytest.mark.parametrize("delay", [0, 10])
def test_cancelled_while_it_sleeps(loop: Any, run: Any, aio: Any, delay: float) -> None:
    task = loop.create_task(aio.sleep(delay))
    turn(loop)
    assert task.cancel("enough")
    with pytest.raises(asyncio.CancelledError) as caught:
        run(task)
    assert caught.value.args == ("enough",)


def test_cancelled_in_the_turn_it_is_due(loop: Any, aio: Any) -> None:
    task = loop.create_task(aio.sleep(0.001, "slept"))
    turn(loop)
    waiter = task._fut_waiter
    while not waiter.done():
        turn(loop)
    assert not task.done()
    assert task.cancel()
    turn(loop)
    assert task.cancelled()


def test_a_cancelled_sleeper_leaves_no_timer(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        tasks = [loop.create_task(aio.sleep(3600)) for _ in range(300)]
        await aio.sleep(0)
        for task in tasks:
            task.cancel()
        await aio.wait(tasks)

    begin = loop.time()
    run(main)
    run(aio.sleep(0.001))
    assert loop.time() - begin < 60


def test_closing_it_ends_it(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        for delay in (0, 10):
            coroutine = aio.sleep(delay)
            coroutine.send(None)
            coroutine.close()
            with pytest.raises(RuntimeError):
                coroutine.send(None)

    run(main)


def test_what_is_thrown_in_comes_out(run: Any, aio: Any) -> None:
    async def main() -> None:
        for delay in (0, 10):
            coroutine = aio.sleep(delay)
            coroutine.send(None)
            with pytest.raises(KeyError):
                coroutine.throw(KeyError("thrown"))

    run(main)


def test_what_it_waits_for_is_shown(loop: Any, run: Any, aio: Any) -> None:
    task = loop.create_task(aio.sleep(10))
    turn(loop)
    assert task._fut_waiter is not None
    assert "sleep()" in repr(task) or "sleep() running" in repr(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        run(task)


def test_one_can_tell_that_it_is_a_coroutine_function(aio: Any) -> None:
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(aio.sleep)
    coroutine = aio.sleep(0)
    assert inspect.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    assert asyncio.iscoroutine(coroutine)
    coroutine.close()


def test_a_mock_in_its_place_can_be_awaited(aio: Any, run: Any) -> None:
    with mock.patch.object(aio, "sleep") as replacement:
        assert isinstance(replacement, mock.AsyncMock)
        run(aio.sleep(5))
    replacement.assert_awaited_once_with(5)


def test_its_signature(aio: Any) -> None:
    assert str(inspect.signature(aio.sleep)) == "(delay, result=None)"
    for arguments, keywords in [((), {}), ((1, 2, 3), {}), ((1,), {"delay": 1}), ((1,), {"other": 1})]:
        with pytest.raises(TypeError, match=r"^sleep\(\) "):
            aio.sleep(*arguments, **keywords)
