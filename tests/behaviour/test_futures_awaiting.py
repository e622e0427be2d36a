"""await on a Future: the iterator behind it, step by step, and what happens when it is driven by hand."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
import sys
from typing import Any

import pytest
from turns import Trace, turn


@pytest.fixture
def future(loop: Any) -> Any:
    return loop.create_future()


def test_awaiting_returns_the_result(loop: Any, run: Any) -> None:
    async def main() -> Any:
        future = loop.create_future()
        loop.call_soon(future.set_result, "result")
        return await future

    assert run(main) == "result"


def test_awaiting_a_done_future_does_not_suspend(loop: Any, future: Any) -> None:
    async def main() -> Any:
        return await future

    future.set_result(7)
    with pytest.raises(StopIteration) as caught:
        main().send(None)
    assert caught.value.value == 7


@pytest.mark.parametrize("result", [(1, 2), (), None, StopIteration(3), ValueError("as a value"), [1]])
def test_any_object_may_be_the_result(loop: Any, run: Any, result: Any) -> None:
    """Tuples and exceptions are where a StopIteration made the short way goes wrong."""

    async def main() -> Any:
        future = loop.create_future()
        loop.call_soon(future.set_result, result)
        return await future

    assert run(main) is result
    future = loop.create_future()
    future.set_result(result)
    with pytest.raises(StopIteration) as caught:
        next(iter(future))
    assert caught.value.value is result


def test_several_tasks_may_await_one_future_and_wake_in_their_order(loop: Any, run: Any) -> None:
    trace = Trace()

    async def wait(future: Any, name: str) -> None:
        trace.note(name, await future)

    async def main() -> None:
        future = loop.create_future()
        tasks = [asyncio.ensure_future(wait(future, name)) for name in "abc"]
        loop.call_soon(future.set_result, 1)
        await asyncio.wait(tasks)

    run(main)
    assert trace == [("a", 1), ("b", 1), ("c", 1)]


def test_a_future_may_be_awaited_again(loop: Any, run: Any) -> None:
    async def main() -> Any:
        future = loop.create_future()
        loop.call_soon(future.set_result, 5)
        return await future, await future, await future

    assert run(main) == (5, 5, 5)


def test_the_iterator_yields_the_future_and_then_returns(future: Any) -> None:
    iterator = future.__await__()
    assert next(iterator) is future
    assert future._asyncio_future_blocking is True
    future.set_result("result")
    with pytest.raises(StopIteration) as caught:
        next(iterator)
    assert caught.value.value == "result"


def test_iter_and_await_give_the_same_kind(future: Any) -> None:
    assert type(iter(future)) is type(future.__await__())
    assert iter(future) is not iter(future)
    iterator = iter(future)
    assert iter(iterator) is iterator
    assert isinstance(iterator, collections.abc.Iterator)


def test_the_iterator_says_when_it_was_resumed_too_early(future: Any) -> None:
    iterator = iter(future)
    next(iterator)
    with pytest.raises(RuntimeError, match=r"^await wasn't used with future$"):
        next(iterator)


def test_send_works_like_next_whatever_is_sent(future: Any) -> None:
    iterator = iter(future)
    assert iterator.send(None) is future
    future.set_result(3)
    with pytest.raises(StopIteration) as caught:
        iterator.send("ignored")
    assert caught.value.value == 3


def test_the_iterator_raises_the_exception(future: Any) -> None:
    iterator = iter(future)
    next(iterator)
    error = ValueError("of the future")
    future.set_exception(error)
    with pytest.raises(ValueError) as caught:
        next(iterator)
    assert caught.value is error


def test_throw_raises_what_it_is_given_and_ends_the_iterator(future: Any) -> None:
    iterator = iter(future)
    next(iterator)
    error = LookupError("thrown")
    with pytest.raises(LookupError) as caught:
        iterator.throw(error)
    assert caught.value is error
    assert not future.done()
    with pytest.raises(StopIteration):
        next(iterator)


def test_throw_takes_a_class(future: Any) -> None:
    with pytest.raises(LookupError):
        iter(future).throw(LookupError)


@pytest.mark.filterwarnings("ignore:the \\(type, exc, tb\\) signature of throw:DeprecationWarning")
def test_throw_takes_the_old_three_arguments(future: Any) -> None:
    with pytest.raises(LookupError) as caught:
        iter(future).throw(LookupError, "text", None)
    assert caught.value.args == ("text",)
    with pytest.raises(LookupError) as caught:
        iter(future).throw(LookupError, LookupError("made"), None)
    assert caught.value.args == ("made",)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="deprecated from 3.12 on")
def test_the_old_arguments_of_throw_are_deprecated(future: Any) -> None:
    with pytest.warns(DeprecationWarning, match="signature of throw"), pytest.raises(LookupError):
        iter(future).throw(LookupError, LookupError("made"))


@pytest.mark.filterwarnings("ignore:the \\(type, exc, tb\\) signature of throw:DeprecationWarning")
def test_throw_refuses_what_is_no_exception(future: Any) -> None:
    for arguments in ((), (42,), (int,), (LookupError, "text", 42), (LookupError("instance"), "and value")):
        with pytest.raises(TypeError):
            iter(future).throw(*arguments)


def test_close_ends_the_iterator(future: Any) -> None:
    iterator = iter(future)
    next(iterator)
    assert iterator.close() is None
    assert not future.done()
    with pytest.raises(StopIteration) as caught:
        next(iterator)
    assert caught.value.value is None


def test_an_iterator_that_has_ended_stays_so(future: Any) -> None:
    future.set_result(1)
    iterator = iter(future)
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(iterator)


def test_yield_from_in_a_plain_generator_works(future: Any) -> None:
    def generator() -> Any:
        return (yield from future)

    running = generator()
    assert next(running) is future
    future.set_result("result")
    with pytest.raises(StopIteration) as caught:
        next(running)
    assert caught.value.value == "result"


def test_the_blocking_flag_can_be_written(future: Any) -> None:
    assert future._asyncio_future_blocking is False
    future._asyncio_future_blocking = True
    assert future._asyncio_future_blocking is True
    future._asyncio_future_blocking = False


def test_a_future_is_awaitable(future: Any) -> None:
    assert inspect.isawaitable(future)
    assert isinstance(future, collections.abc.Awaitable)
    assert isinstance(future, collections.abc.Iterable)
    assert not isinstance(future, collections.abc.Coroutine)
    assert not inspect.iscoroutine(future)


def test_the_waiting_coroutine_shows_what_it_awaits(loop: Any, future: Any) -> None:
    async def wait() -> None:
        await future

    coroutine: Any = wait()
    task = loop.create_task(coroutine)
    turn(loop)
    awaited = coroutine.cr_await
    assert awaited is not None
    assert type(awaited) is type(iter(future))
    task.cancel()
    turn(loop)


def test_an_await_in_a_finally_clause_during_cancellation(loop: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        first, second = loop.create_future(), loop.create_future()
        loop.call_soon(asyncio.current_task(loop).cancel)  # type: ignore[union-attr]
        loop.call_later(0.001, second.set_result, "cleaned up")
        try:
            await first
        finally:
            trace.note(first.cancelled())
            trace.note(await second)

    with pytest.raises(asyncio.CancelledError):
        run(main)
    assert trace == [True, "cleaned up"]
