"""Task.cancel, uncancel and cancelling: every moment a task can be cancelled at."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from turns import Trace, turn


async def forever(loop: Any) -> None:
    await loop.create_future()


def test_cancel_before_the_first_step_runs_no_code(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note("ran")

    task = loop.create_task(work())
    assert task.cancel() is True
    assert not task.cancelled() and not task.done()
    turn(loop)
    assert task.cancelled() and task.done()
    assert trace == []


def test_cancel_while_it_waits_raises_in_the_coroutine(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        try:
            await forever(loop)
        except asyncio.CancelledError as error:
            trace.note("cancelled", error.args)
            raise

    task = loop.create_task(work())
    turn(loop)
    waiter = task._fut_waiter
    assert task.cancel() is True
    assert waiter.cancelled()
    assert not task.done()
    turn(loop)
    assert task.cancelled()
    assert trace == [("cancelled", ())]


def test_cancel_after_it_is_done_does_nothing(loop: Any) -> None:
    async def work() -> int:
        return 1

    task = loop.create_task(work())
    turn(loop)
    assert task.cancel() is False
    assert task.cancelling() == 0
    assert not task.cancelled()
    assert task.result() == 1


def test_cancel_of_a_cancelled_task_does_nothing(loop: Any) -> None:
    task = loop.create_task(forever(loop))
    task.cancel()
    turn(loop)
    assert task.cancel() is False


def test_a_task_may_cancel_itself_and_notices_at_the_next_await(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        trace.note("still runs")
        await asyncio.sleep(0)
        trace.note("never")

    task = loop.create_task(work())
    turn(loop, 2)
    assert trace == ["still runs"]
    assert task.cancelled()


def test_a_task_that_cancels_itself_and_returns_is_cancelled_too(loop: Any) -> None:
    async def work() -> int:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        return 1

    task = loop.create_task(work())
    turn(loop)
    assert task.cancelled()


def test_a_task_that_cancels_itself_and_raises_keeps_its_exception(loop: Any) -> None:
    async def work() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        raise ValueError("of the task")

    task = loop.create_task(work())
    turn(loop)
    assert not task.cancelled()
    assert isinstance(task.exception(), ValueError)


def test_a_caught_cancellation_lets_the_task_go_on(loop: Any) -> None:
    async def work() -> str:
        try:
            await forever(loop)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "went on"

    task = loop.create_task(work())
    turn(loop)
    task.cancel()
    assert loop.run_until_complete(task) == "went on"
    assert not task.cancelled()
    assert task.cancelling() == 1


def test_a_task_can_be_cancelled_again_while_it_cleans_up(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        for number in range(3):
            try:
                await forever(loop)
            except asyncio.CancelledError:
                trace.note(number)
        await forever(loop)

    task = loop.create_task(work())
    for _ in range(4):
        turn(loop)
        task.cancel()
    turn(loop)
    assert trace == [0, 1, 2]
    assert task.cancelled()
    assert task.cancelling() == 4


def test_cancelling_twice_before_it_notices_is_one_cancellation(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        try:
            await forever(loop)
        except asyncio.CancelledError as error:
            trace.note(error.args)
        await asyncio.sleep(0)
        trace.note("went on")

    task = loop.create_task(work())
    turn(loop)
    assert task.cancel("first") is True
    assert task.cancel("second") is True
    assert task.cancelling() == 2
    loop.run_until_complete(task)
    assert trace == [("first",), "went on"]


def test_the_message_of_cancel_reaches_the_coroutine_and_the_awaiter(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        try:
            await forever(loop)
        except asyncio.CancelledError as error:
            trace.note("inside", error.args)
            raise

    task = loop.create_task(work())
    turn(loop)
    task.cancel("why")
    with pytest.raises(asyncio.CancelledError) as caught:
        loop.run_until_complete(task)
    trace.note("outside", caught.value.args)
    assert trace == [("inside", ("why",)), ("outside", ("why",))]


def test_the_message_reaches_the_first_awaiter_only(loop: Any) -> None:
    """asyncio keeps the error with the message until somebody asks, and makes a bare one afterwards."""
    trace = Trace()

    async def wait(task: Any) -> None:
        try:
            await task
        except asyncio.CancelledError as error:
            trace.note(error.args)

    task = loop.create_task(forever(loop))
    waiters = [loop.create_task(wait(task)) for _ in range(3)]
    turn(loop)
    task.cancel("why")
    turn(loop, 2)
    assert all(waiter.done() for waiter in waiters)
    assert trace == [("why",), (), ()]
    assert task._cancel_message is None


def test_the_message_of_a_task_that_never_began(loop: Any) -> None:
    task = loop.create_task(forever(loop))
    task.cancel(msg="too early")
    with pytest.raises(asyncio.CancelledError) as caught:
        loop.run_until_complete(task)
    assert caught.value.args == ("too early",)
    # The one error had it; another gets none.
    assert task._cancel_message is None
    with pytest.raises(asyncio.CancelledError) as caught:
        task.result()
    assert caught.value.args == ()


def test_cancellation_passes_through_a_chain_of_tasks(loop: Any) -> None:
    async def inner() -> None:
        await forever(loop)

    async def outer(task: Any) -> None:
        await task

    first = loop.create_task(inner())
    chain = [first]
    for _ in range(3):
        chain.append(loop.create_task(outer(chain[-1])))
    turn(loop)
    assert chain[-1].cancel() is True
    assert all(task._must_cancel is False for task in chain)
    turn(loop)
    assert [task.done() for task in chain] == [True, False, False, False]
    turn(loop, 3)
    assert all(task.cancelled() for task in chain)


def test_cancelling_a_task_cancels_the_future_it_awaits_only_for_its_waiters(loop: Any) -> None:
    trace = Trace()

    async def wait(future: Any, name: str) -> None:
        try:
            await future
        finally:
            trace.note(name)

    future = loop.create_future()
    tasks = [loop.create_task(wait(future, name)) for name in "abc"]
    turn(loop)
    tasks[1].cancel()
    turn(loop)
    assert future.cancelled()
    assert trace == ["a", "b", "c"]
    assert all(task.cancelled() for task in tasks)


def test_shield_keeps_the_inner_task_alive(loop: Any) -> None:
    async def inner() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "unharmed"

    async def outer(task: Any) -> None:
        await asyncio.shield(task)

    protected = loop.create_task(inner())
    task = loop.create_task(outer(protected))
    turn(loop)
    task.cancel()
    assert loop.run_until_complete(protected) == "unharmed"
    assert task.cancelled()


def test_cancelling_and_uncancel_count(loop: Any) -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert task.uncancel() == 0
        try:
            await forever(loop)
        except asyncio.CancelledError:
            assert task.cancelling() == 2
            assert task.uncancel() == 1
            assert task.uncancel() == 0
            assert task.uncancel() == 0
            assert task.cancelling() == 0

    task = loop.create_task(work())
    turn(loop)
    task.cancel()
    task.cancel()
    loop.run_until_complete(task)


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="uncancel takes back a pending cancellation from 3.13 on"
)
def test_uncancel_takes_back_a_cancellation_that_was_not_delivered(loop: Any) -> None:
    async def work() -> str:
        task: Any = asyncio.current_task()
        task.cancel()
        assert task._must_cancel is True
        task.uncancel()
        assert task._must_cancel is False
        await asyncio.sleep(0)
        return "went on"

    assert loop.run_until_complete(work()) == "went on"


def test_must_cancel_shows_a_cancellation_that_waits(loop: Any) -> None:
    task = loop.create_task(forever(loop))
    assert task._must_cancel is False
    task.cancel()
    assert task._must_cancel is True
    turn(loop)
    assert task._must_cancel is False


def test_a_task_that_raises_cancelled_error_by_itself_is_cancelled(loop: Any) -> None:
    async def work() -> None:
        raise asyncio.CancelledError("own")

    task = loop.create_task(work())
    turn(loop)
    assert task.cancelled()
    with pytest.raises(asyncio.CancelledError) as caught:
        task.result()
    assert caught.value.args == ("own",)


def test_the_original_error_is_raised_once_by_result(loop: Any) -> None:
    """So the traceback leads into the coroutine the first time."""
    error = asyncio.CancelledError("own")

    async def work() -> None:
        raise error

    task = loop.create_task(work())
    turn(loop)
    with pytest.raises(asyncio.CancelledError) as first:
        task.result()
    with pytest.raises(asyncio.CancelledError) as second:
        task.result()
    assert first.value is error
    assert second.value is not error


def test_a_subclass_of_cancelled_error_counts_too(loop: Any) -> None:
    class Mine(asyncio.CancelledError):
        pass

    async def work() -> None:
        raise Mine

    task = loop.create_task(work())
    turn(loop)
    assert task.cancelled()


def test_a_cancelled_future_cancels_who_awaits_it(loop: Any) -> None:
    async def wait(future: Any) -> None:
        await future

    future = loop.create_future()
    task = loop.create_task(wait(future))
    turn(loop)
    future.cancel("by somebody")
    turn(loop)
    assert task.cancelled()
    assert task.cancelling() == 0
    with pytest.raises(asyncio.CancelledError) as caught:
        task.result()
    assert caught.value.args == ("by somebody",)


def test_cancel_between_wake_up_and_step(loop: Any) -> None:
    """The future is set already; the cancellation still wins, as it came before the step."""
    trace = Trace()

    async def wait(future: Any) -> None:
        try:
            trace.note(await future)
        except asyncio.CancelledError:
            trace.note("cancelled")
            raise

    future = loop.create_future()
    task = loop.create_task(wait(future))
    turn(loop)
    future.set_result("result")
    assert task.cancel() is True
    turn(loop)
    assert trace == ["cancelled"]
    assert task.cancelled()
    assert future.result() == "result"


def test_a_bare_yield_can_be_cancelled(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        try:
            while True:
                await asyncio.sleep(0)
        finally:
            trace.note("left")

    task = loop.create_task(work())
    turn(loop, 3)
    task.cancel()
    turn(loop)
    assert task.cancelled()
    assert trace == ["left"]


def test_cancelling_tasks_in_one_turn_runs_them_in_order(loop: Any) -> None:
    trace = Trace()

    async def work(name: str) -> None:
        try:
            await forever(loop)
        finally:
            trace.note(name)

    tasks = [loop.create_task(work(name)) for name in "abc"]
    turn(loop)
    for task in reversed(tasks):
        task.cancel()
    turn(loop)
    assert trace == ["c", "b", "a"]


def test_an_error_in_the_clean_up_replaces_the_cancellation(loop: Any) -> None:
    async def work() -> None:
        try:
            await forever(loop)
        finally:
            raise ValueError("while cleaning up")

    task = loop.create_task(work())
    turn(loop)
    task.cancel()
    turn(loop)
    assert not task.cancelled()
    error = task.exception()
    assert isinstance(error, ValueError)
    assert isinstance(error.__context__, asyncio.CancelledError)


def test_the_arguments_of_cancel(loop: Any) -> None:
    task = loop.create_task(forever(loop))
    with pytest.raises(TypeError):
        task.cancel(1, 2)
    with pytest.raises(TypeError):
        task.cancel(message="wrong name")
    task.cancel()
    turn(loop)
