"""call_soon_threadsafe and its friends: what other threads may do to a running loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import Any

import pytest
from turns import Trace, turn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def in_thread(function: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


def test_it_wakes_a_loop_that_has_nothing_to_do(loop: Any) -> None:
    trace = Trace()

    def wake() -> None:
        loop.call_soon_threadsafe(trace.note, "woken")
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(in_thread, wake)
    loop.run_forever()
    assert trace == ["woken"]


def test_it_wakes_a_loop_that_waits_for_a_timer(loop: Any) -> None:
    handle = loop.call_later(3600, print)
    loop.call_soon(in_thread, loop.call_soon_threadsafe, loop.stop)
    loop.run_forever()
    handle.cancel()


def test_it_works_from_the_thread_of_the_loop_in_order_with_call_soon(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(trace.note, 1)
    loop.call_soon_threadsafe(trace.note, 2)
    loop.call_soon(trace.note, 3)
    loop.call_soon_threadsafe(trace.note, 4)
    turn(loop)
    assert trace == [1, 2, 3, 4]


def test_what_it_schedules_from_a_callback_waits_for_the_next_turn(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(loop.call_soon_threadsafe, trace.note, "next turn")
    loop.call_soon(trace.note, "same turn")
    turn(loop)
    assert trace == ["same turn"]
    turn(loop)
    assert trace == ["same turn", "next turn"]


def test_the_order_of_each_thread_is_kept(loop: Any) -> None:
    trace = Trace()
    each, threads = 500, 8
    start = threading.Barrier(threads)

    def work(name: int) -> None:
        start.wait(20)
        for number in range(each):
            loop.call_soon_threadsafe(note, name, number)

    def note(name: int, number: int) -> None:
        trace.note(name, number)
        if len(trace) == each * threads:
            loop.stop()

    workers = [in_thread(work, name) for name in range(threads)]
    loop.run_forever()
    for worker in workers:
        worker.join()
    for name in range(threads):
        assert [number for who, number in trace if who == name] == list(range(each))


def test_callbacks_run_in_the_thread_of_the_loop(loop: Any) -> None:
    trace = Trace()

    def note() -> None:
        trace.note(threading.current_thread() is threading.main_thread())
        loop.stop()

    loop.call_soon(in_thread, loop.call_soon_threadsafe, note)
    loop.run_forever()
    assert trace == [True]


def test_the_context_is_that_of_the_calling_thread(loop: Any) -> None:
    trace = Trace()
    given = contextvars.copy_context()
    given.run(variable.set, "given")

    def work() -> None:
        variable.set("of the thread")
        loop.call_soon_threadsafe(lambda: trace.note(variable.get()))
        loop.call_soon_threadsafe(lambda: trace.note(variable.get()), context=given)
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(in_thread, work)
    loop.run_forever()
    assert trace == ["of the thread", "given"]


def test_its_handle_can_be_cancelled(loop: Any) -> None:
    trace = Trace()
    handle = loop.call_soon_threadsafe(trace.note, "cancelled")
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    turn(loop)
    assert trace == []
    assert handle.cancelled()


def test_a_loop_closed_under_a_calling_thread_refuses(loop: Any) -> None:
    trace = Trace()
    loop.close()

    def work() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as error:
            trace.note(str(error))

    in_thread(work).join()
    assert trace == ["Event loop is closed"]


def test_a_raising_callback_is_reported(loop: Any, loop_errors: Any) -> None:
    def work() -> None:
        loop.call_soon_threadsafe(lambda: 1 / 0)
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(in_thread, work)
    loop.run_forever()
    [context] = loop_errors
    assert isinstance(context["exception"], ZeroDivisionError)


def test_many_wakeups_lose_nothing(loop: Any) -> None:
    """One at a time, so that the loop goes to sleep between them: the race between waking and sleeping."""
    rounds = 2000
    trace = Trace()
    arrived = threading.Semaphore(0)

    def work() -> None:
        for _ in range(rounds):
            loop.call_soon_threadsafe(arrived.release)
            assert arrived.acquire(timeout=20)
        loop.call_soon_threadsafe(trace.note, "all arrived")
        loop.call_soon_threadsafe(loop.stop)

    thread = in_thread(work)
    loop.run_forever()
    thread.join()
    assert trace == ["all arrived"]


async def answer() -> int:
    return 42


def ask(loop: Any, coroutine: Any, trace: Trace) -> None:
    """From a thread: run the coroutine on the loop, note how it ended, stop the loop."""
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        trace.note(future.result(20))
    except (Exception, concurrent.futures.CancelledError) as error:
        trace.note(type(error), str(error))
    loop.call_soon_threadsafe(loop.stop)


def test_run_coroutine_threadsafe_returns_the_result(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(in_thread, ask, loop, answer(), trace)
    loop.run_forever()
    assert trace == [42]


def test_run_coroutine_threadsafe_returns_the_exception(loop: Any) -> None:
    async def fail() -> None:
        raise ValueError("of the coroutine")

    trace = Trace()
    loop.call_soon(in_thread, ask, loop, fail(), trace)
    loop.run_forever()
    assert trace == [(ValueError, "of the coroutine")]


def test_run_coroutine_threadsafe_returns_the_cancellation(loop: Any) -> None:
    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    trace = Trace()
    loop.call_soon(in_thread, ask, loop, cancelled(), trace)
    loop.run_forever()
    assert [kind for kind, _text in trace] == [concurrent.futures.CancelledError]


def test_cancelling_the_threads_future_cancels_the_task(loop: Any) -> None:
    trace = Trace()
    waits = threading.Event()

    async def sleeps() -> None:
        try:
            waits.set()
            await loop.create_future()
        except asyncio.CancelledError:
            trace.note("cancelled")
            raise
        finally:
            loop.stop()

    def work() -> None:
        future = asyncio.run_coroutine_threadsafe(sleeps(), loop)
        assert waits.wait(20)
        assert future.cancel()

    loop.call_soon(in_thread, work)
    loop.run_forever()
    assert trace == ["cancelled"]


def test_run_coroutine_threadsafe_wants_a_coroutine(loop: Any) -> None:
    with pytest.raises(TypeError, match="A coroutine object is required"):
        asyncio.run_coroutine_threadsafe(42, loop)  # type: ignore[arg-type]


def test_stop_is_safe_from_a_thread_through_call_soon_threadsafe_only(loop: Any) -> None:
    """stop() itself wakes nobody; a loop with something to do sees it at the end of the turn."""
    trace = Trace()

    def spin() -> None:
        trace.note("turn")
        loop.call_soon(spin)

    loop.call_soon(spin)
    thread = threading.Thread(target=loop.stop)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert trace
