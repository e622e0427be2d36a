"""gather: results, exceptions, duplicates, cancellation from either side."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Generator
from typing import Any

import pytest
from turns import Trace, current_loop


async def value(result: Any) -> Any:
    return result


async def failing(error: BaseException) -> Any:
    raise error


def test_results_stand_in_the_order_of_the_arguments(run: Any, aio: Any) -> None:
    async def late(delay: float) -> float:
        await aio.sleep(delay)
        return delay

    async def main() -> Any:
        return await aio.gather(late(0.02), late(0), late(0.01), value("d"))

    assert run(main) == [0.02, 0, 0.01, "d"]


def test_nothing_gathered_is_an_empty_list(run: Any, loop: Any, aio: Any) -> None:
    async def main() -> Any:
        outer = aio.gather()
        assert outer.done() and outer.get_loop() is loop
        return await outer

    assert run(main) == []


def test_it_is_done_one_turn_after_the_last_child(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        futures = [loop.create_future() for _ in range(2)]
        outer = aio.gather(*futures)
        futures[1].set_result("b")
        futures[0].set_result("a")
        assert not outer.done()
        await aio.sleep(0)
        assert outer.done()
        assert outer.result() == ["a", "b"]

    run(main)


def test_children_that_are_done_already(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> Any:
        first, second = loop.create_future(), loop.create_future()
        first.set_result(1)
        second.set_exception(KeyError("x"))
        return await aio.gather(first, second, return_exceptions=True)

    first, second = run(main)
    assert first == 1 and isinstance(second, KeyError)


def test_the_first_exception_ends_it_and_the_others_go_on(loop: Any, run: Any, aio: Any) -> None:
    trace = Trace()

    async def slow() -> None:
        await aio.sleep(0.01)
        trace.note("slow is done")

    async def main() -> None:
        task = loop.create_task(slow())
        with pytest.raises(ZeroDivisionError):
            await aio.gather(task, failing(ZeroDivisionError()), value(1))
        assert not task.done()
        await task

    run(main)
    assert trace == ["slow is done"]


def test_later_exceptions_count_as_retrieved(loop: Any, run: Any, aio: Any, loop_errors: Any) -> None:
    async def main() -> None:
        first, second = loop.create_future(), loop.create_future()
        outer = aio.gather(first, second)
        first.set_exception(KeyError())
        with pytest.raises(KeyError):
            await outer
        second.set_exception(ValueError())
        await aio.sleep(0)

    run(main)
    gc.collect()
    assert loop_errors == []


def test_an_exception_that_nobody_retrieves_is_reported(
    loop: Any, run: Any, aio: Any, loop_errors: Any
) -> None:
    async def main() -> None:
        aio.gather(failing(KeyError("lost")))
        await aio.sleep(0)
        await aio.sleep(0)

    run(main)
    gc.collect()
    [context] = loop_errors
    assert context["message"] == "_GatheringFuture exception was never retrieved"
    assert repr(context["exception"]) == "KeyError('lost')"


def test_exceptions_as_results(run: Any, aio: Any) -> None:
    async def main() -> Any:
        task = asyncio.current_task().get_loop().create_task(aio.sleep(10))  # type: ignore[union-attr]
        task.cancel("not shown")
        return await aio.gather(value(1), failing(KeyError("k")), task, return_exceptions=True)

    one, error, cancelled = run(main)
    assert one == 1
    assert repr(error) == "KeyError('k')"
    assert repr(cancelled) == "CancelledError('')"
    assert cancelled.__context__ is None


def test_a_cancelled_future_as_a_result_keeps_its_message(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> Any:
        first, second = loop.create_future(), loop.create_future()
        first.cancel("why")
        second.cancel()
        return await aio.gather(first, second, return_exceptions=True)

    assert repr(run(main)) == "[CancelledError('why'), CancelledError('')]"


def test_a_cancelled_child_does_not_cancel_the_others(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        first, second = loop.create_task(aio.sleep(10)), loop.create_task(aio.sleep(0.01, "done"))
        outer = aio.gather(first, second)
        await aio.sleep(0)
        first.cancel("only you")
        with pytest.raises(asyncio.CancelledError) as caught:
            await outer
        assert caught.value.args == ("only you",)
        assert not outer.cancelled()
        assert await second == "done"

    run(main)


def test_one_given_twice_runs_once(loop: Any, run: Any, aio: Any) -> None:
    trace = Trace()

    class Awaitable:
        def __await__(self) -> Generator[Any, None, str]:
            trace.note("ran")
            yield
            return "x"

    async def main() -> Any:
        coroutine, awaitable, future = value(object()), Awaitable(), loop.create_future()
        future.set_result(7)
        return await aio.gather(coroutine, awaitable, future, awaitable, coroutine, future)

    results = run(main)
    assert trace == ["ran"]
    assert results == [results[0], "x", 7, "x", results[0], 7]


def test_equal_awaitables_are_one(run: Any, aio: Any) -> None:
    class Equal:
        def __init__(self, number: int) -> None:
            self.number = number

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        def __hash__(self) -> int:
            return 1

        def __await__(self) -> Generator[Any, None, int]:
            yield
            return self.number

    async def main() -> Any:
        return await aio.gather(Equal(1), Equal(2))

    assert run(main) == [1, 1]


def test_an_awaitable_without_a_hash_is_a_type_error(run: Any, aio: Any) -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __await__(self) -> Generator[Any, None, None]:
            yield

    async def main() -> None:
        with pytest.raises(TypeError, match="unhashable"):
            aio.gather(Unhashable())

    run(main)


def test_what_cannot_be_awaited_is_a_type_error(loop: Any, run: Any, aio: Any, loop_errors: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        with pytest.raises(TypeError, match=r"An asyncio.Future, a coroutine or an awaitable is required"):
            aio.gather(future, 5)
        # Nobody got hold of the future that would have carried this.
        future.set_exception(KeyError())
        await aio.sleep(0)

    run(main)
    gc.collect()
    assert loop_errors == []


def test_cancelling_it_cancels_every_child(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        tasks = [loop.create_task(aio.sleep(10)) for _ in range(3)]
        future = loop.create_future()
        future.set_result(1)
        outer = aio.gather(*tasks, future)
        await aio.sleep(0)
        assert outer.cancel("stop") is True
        assert not outer.done()
        with pytest.raises(asyncio.CancelledError) as caught:
            await outer
        assert caught.value.args == ("stop",)
        assert all(task.cancelled() for task in tasks)
        assert outer.cancel() is False

    run(main)


def test_cancelled_with_exceptions_as_results_it_raises_all_the_same(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        outer = aio.gather(aio.sleep(10), value(1), return_exceptions=True)
        await aio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer

    run(main)


def test_a_child_that_survives_the_cancellation(loop: Any, run: Any, aio: Any) -> None:
    async def stubborn() -> str:
        try:
            await aio.sleep(10)
        except asyncio.CancelledError:
            return "still here"
        return "slept"

    async def main() -> None:
        outer = aio.gather(stubborn())
        await aio.sleep(0)
        assert outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not outer.cancelled()

    run(main)


def test_cancelling_the_task_that_waits_cancels_the_children(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        child = loop.create_task(aio.sleep(10))

        async def wait() -> None:
            await aio.gather(child)

        task = loop.create_task(wait())
        await aio.sleep(0)
        await aio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert child.cancelled()

    run(main)


def test_cancelled_when_every_child_is_done_but_it_is_not(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        outer = aio.gather(future)
        future.set_result("in time")
        assert outer.cancel() is False
        assert await outer == ["in time"]

    run(main)


def test_the_loop_is_that_of_the_first_future(loop: Any, aio: Any) -> None:
    futures = [loop.create_future(), loop.create_future()]
    outer = aio.gather(*futures)
    assert outer.get_loop() is loop
    for future in futures:
        future.set_result(1)
    assert loop.run_until_complete(outer) == [1, 1]


def test_futures_of_different_loops_are_refused(loop: Any, implementation: Any, aio: Any) -> None:
    other = implementation.new_event_loop()
    try:
        with pytest.raises(ValueError, match="belongs to a different loop"):
            aio.gather(loop.create_future(), other.create_future())
    finally:
        other.close()


def test_coroutines_outside_of_a_loop_take_the_current_one(loop: Any, aio: Any) -> None:
    with current_loop(loop):
        outer = aio.gather(value(1), value(2))
    assert loop.run_until_complete(outer) == [1, 2]


def test_futures_of_another_kind(run: Any, loop: Any, aio: Any) -> None:
    class Own(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> Any:
        plain: Any = asyncio.Future(loop=loop)
        own: Any = Own(loop=loop)
        outer = aio.gather(plain, own, return_exceptions=True)
        plain.set_result("plain")
        own.set_exception(KeyError("own"))
        return await outer

    first, second = run(main)
    assert first == "plain" and isinstance(second, KeyError)


def test_children_it_made_are_destroyed_without_a_word(loop: Any, aio: Any) -> None:
    async def main() -> Any:
        return aio.gather(aio.sleep(10))

    outer = loop.run_until_complete(main())
    assert outer._children[0]._log_destroy_pending is False
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(outer)


def test_how_it_is_shown(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        outer = aio.gather(aio.sleep(0))
        assert repr(outer) == "<_GatheringFuture pending>"
        await outer
        assert repr(outer) == "<_GatheringFuture finished result=[None]>"
        assert isinstance(outer, asyncio.Future)

    run(main)


def test_what_a_base_exception_does(loop: Any, aio: Any) -> None:
    async def main() -> None:
        await aio.gather(failing(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_children_that_end_eagerly_end_it_at_once(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        loop.set_task_factory(aio.eager_task_factory)
        outer = aio.gather(value(1), value(2))
        assert outer.done() and outer.result() == [1, 2]
        outer = aio.gather(value(1), failing(KeyError()))
        assert outer.done() and isinstance(outer.exception(), KeyError)

    run(main)


def test_children_that_were_done(loop: Any, run: Any, aio: Any) -> None:
    """Since 3.12 they count at once, in 3.11 a turn later."""

    async def main() -> None:
        child = loop.create_future()
        child.set_result(1)
        outer = aio.gather(child)
        assert outer.done() is (sys.version_info >= (3, 12))
        await aio.sleep(0)
        assert outer.result() == [1]

    run(main)


def test_a_child_that_had_failed_before_what_cannot_be_awaited(
    loop: Any, run: Any, aio: Any, loop_errors: Any
) -> None:
    """In 3.11 gather() looks at its exception nevertheless."""

    async def main() -> None:
        child = loop.create_future()
        child.set_exception(KeyError())
        with pytest.raises(TypeError, match="is required"):
            aio.gather(child, 5)
        await aio.sleep(0)

    run(main)
    gc.collect()
    assert len(loop_errors) == (sys.version_info >= (3, 12))
