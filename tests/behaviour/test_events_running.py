"""run_until_complete, run_forever, stop: their corner cases, and what a loop says of itself."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from collections.abc import Generator
from typing import Any

import pytest
from turns import Trace, turn


async def answer() -> int:
    return 42


class Awaitable:
    """Something with __await__ that is neither a coroutine nor a future."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "awaited"


def test_run_until_complete_returns_what_the_coroutine_does(loop: Any) -> None:
    assert loop.run_until_complete(answer()) == 42


def test_run_until_complete_takes_a_future_a_task_and_any_awaitable(loop: Any) -> None:
    future = loop.create_future()
    loop.call_soon(future.set_result, "future")
    assert loop.run_until_complete(future) == "future"
    assert loop.run_until_complete(loop.create_task(answer())) == 42
    assert loop.run_until_complete(Awaitable()) == "awaited"


def test_run_until_complete_of_a_done_future_returns_at_once(loop: Any) -> None:
    future = loop.create_future()
    future.set_result("done")
    trace = Trace()
    loop.call_soon(trace.note, "one turn is run")
    assert loop.run_until_complete(future) == "done"
    assert trace == ["one turn is run"]


def test_run_until_complete_raises_what_the_coroutine_does(loop: Any) -> None:
    error = ValueError("of the coroutine")

    async def fail() -> None:
        raise error

    with pytest.raises(ValueError) as caught:
        loop.run_until_complete(fail())
    assert caught.value is error


def test_run_until_complete_of_a_cancelled_task_raises_cancelled_error(loop: Any) -> None:
    async def sleeps() -> None:
        await loop.create_future()

    task = loop.create_task(sleeps())
    loop.call_soon(task.cancel, "enough")
    with pytest.raises(asyncio.CancelledError) as caught:
        loop.run_until_complete(task)
    assert caught.value.args == ("enough",)


@pytest.mark.parametrize("thing", [None, 42, "text", answer, object()])
def test_run_until_complete_refuses_what_is_not_awaitable(loop: Any, thing: Any) -> None:
    with pytest.raises(TypeError, match=r"An asyncio.Future, a coroutine or an awaitable is required"):
        loop.run_until_complete(thing)


def test_run_until_complete_needs_an_argument(loop: Any) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete()


def test_run_until_complete_refuses_a_future_of_another_loop(loop: Any, implementation: Any) -> None:
    other = implementation.new_event_loop()
    future = other.create_future()
    with pytest.raises(ValueError, match="The future belongs to a different loop"):
        loop.run_until_complete(future)
    other.close()


def test_run_until_complete_of_a_stopped_loop_says_so(loop: Any) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(future)
    assert not future.done()
    loop.call_soon(future.set_result, "later")
    assert loop.run_until_complete(future) == "later"


def test_run_until_complete_leaves_no_callback_on_the_future(loop: Any) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError):
        loop.run_until_complete(future)
    assert not future._callbacks


def test_an_exit_in_the_main_task_leaves_run_until_complete(loop: Any) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    task = loop.create_task(leave())
    with pytest.raises(SystemExit) as caught:
        loop.run_until_complete(task)
    assert caught.value.code == 3
    assert task.done()
    assert isinstance(task.exception(), SystemExit)


def test_an_exit_in_another_task_leaves_run_until_complete_too(loop: Any) -> None:
    async def leave() -> None:
        raise KeyboardInterrupt

    async def waits() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "still runs afterwards"

    other = loop.create_task(leave())
    task = loop.create_task(waits())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert not task.done()
    assert loop.run_until_complete(task) == "still runs afterwards"
    assert isinstance(other.exception(), KeyboardInterrupt)


def test_a_loop_can_be_run_again_and_again(loop: Any) -> None:
    for number in range(50):
        assert loop.run_until_complete(asyncio.sleep(0, number)) == number


def test_what_is_left_goes_on_at_the_next_run(loop: Any) -> None:
    trace = Trace()

    async def background() -> None:
        for number in range(4):
            trace.note(number)
            await asyncio.sleep(0)

    task = loop.create_task(background())
    loop.run_until_complete(asyncio.sleep(0))
    assert 0 < len(trace) < 4
    loop.run_until_complete(task)
    assert trace == [0, 1, 2, 3]


def test_run_until_complete_takes_exactly_as_many_turns_as_asyncio(loop: Any) -> None:
    trace = Trace()

    def every_turn(number: int) -> None:
        trace.note(number)
        loop.call_soon(every_turn, number + 1)

    loop.call_soon(every_turn, 0)
    loop.run_until_complete(answer())
    assert trace == [0, 1]
    trace.clear()
    loop.run_until_complete(asyncio.sleep(0))
    assert trace == [2, 3, 4]


ALREADY_RUNNING = "^This event loop is already running$"


def test_run_until_complete_is_refused_while_the_loop_runs(loop: Any) -> None:
    trace = Trace()

    def again() -> None:
        coroutine = answer()
        with pytest.raises(RuntimeError, match=ALREADY_RUNNING):
            loop.run_until_complete(coroutine)
        coroutine.close()
        trace.note("refused")

    loop.call_soon(again)
    turn(loop)
    assert trace == ["refused"]
    assert not loop.is_running()


def test_run_forever_is_refused_while_the_loop_runs(loop: Any, implementation: Any) -> None:
    if implementation.is_oracle and sys.version_info[:3] == (3, 13, 0):
        pytest.skip("asyncio 3.13.0 forgets that it runs when it refuses to run twice")
    trace = Trace()

    def again() -> None:
        with pytest.raises(RuntimeError, match=ALREADY_RUNNING):
            loop.run_forever()
        trace.note("refused", loop.is_running(), asyncio.get_running_loop() is loop)

    loop.call_soon(again)
    turn(loop)
    assert trace == [("refused", True, True)]
    assert not loop.is_running()


def test_no_other_loop_runs_inside_a_running_one(loop: Any, implementation: Any) -> None:
    trace = Trace()
    other = implementation.new_event_loop()

    def inside() -> None:
        with pytest.raises(RuntimeError, match=r"^Cannot run the event loop while another loop is running$"):
            other.run_forever()
        trace.note("refused")

    loop.call_soon(inside)
    turn(loop)
    assert trace == ["refused"]
    assert not other.is_running()
    other.close()


def test_a_loop_of_asyncio_cannot_run_inside_either(loop: Any) -> None:
    trace = Trace()
    other = asyncio.new_event_loop()

    def inside() -> None:
        with pytest.raises(RuntimeError, match="while another loop is running"):
            other.run_until_complete(None)  # type: ignore[arg-type]
        trace.note("refused")

    loop.call_soon(inside)
    turn(loop)
    assert trace == ["refused"]
    other.close()


def test_a_loop_running_in_one_thread_cannot_be_run_in_another(loop: Any) -> None:
    trace = Trace()

    def elsewhere() -> None:
        try:
            loop.run_forever()
        except RuntimeError as error:
            trace.note(str(error))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=elsewhere)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert trace == ["This event loop is already running"]


def test_a_loop_may_run_in_another_thread_than_it_was_made_in(loop: Any) -> None:
    trace = Trace()
    thread = threading.Thread(target=lambda: trace.note(loop.run_until_complete(answer())))
    thread.start()
    thread.join()
    assert trace == [42]
    assert loop.run_until_complete(answer()) == 42


def test_two_loops_run_in_two_threads_at_once(loop: Any, implementation: Any) -> None:
    trace = Trace()
    other = implementation.new_event_loop()
    other_runs = threading.Event()
    other.call_soon(other_runs.set)
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    assert other_runs.wait(20)

    async def ask_the_other() -> None:
        asked = asyncio.run_coroutine_threadsafe(answer(), other)
        trace.note(await asyncio.wrap_future(asked))

    loop.run_until_complete(ask_the_other())
    other.call_soon_threadsafe(other.stop)
    thread.join()
    other.close()
    assert trace == [42]


def test_stop_before_the_run_lets_one_turn_run(loop: Any) -> None:
    trace = Trace()
    loop.stop()
    loop.call_soon(lambda: loop.call_soon(trace.note, "second turn"))
    loop.call_soon(trace.note, "first turn")
    loop.run_forever()
    assert trace == ["first turn"]
    loop.stop()
    loop.run_forever()
    assert trace == ["first turn", "second turn"]


def test_stop_lets_the_turn_end_but_starts_no_other(loop: Any) -> None:
    trace = Trace()

    def stop() -> None:
        loop.stop()
        loop.call_soon(trace.note, "next turn")

    loop.call_soon(stop)
    loop.call_soon(trace.note, "same turn")
    loop.run_forever()
    assert trace == ["same turn"]


def test_stop_counts_once_however_often_it_is_called(loop: Any) -> None:
    loop.stop()
    loop.stop()
    loop.run_forever()
    loop.call_soon(loop.stop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    trace = Trace()
    loop.call_soon(trace.note, 1)
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert trace == [1]


def test_stop_does_not_wait_for_a_timer(loop: Any) -> None:
    trace = Trace()
    handle = loop.call_later(3600, trace.note, "never")
    loop.call_soon(loop.stop)
    started = time.monotonic()
    loop.run_forever()
    assert time.monotonic() - started < 60
    assert trace == []
    handle.cancel()


def test_is_running_is_true_only_while_it_runs(loop: Any) -> None:
    trace = Trace()
    assert loop.is_running() is False
    loop.call_soon(lambda: trace.note(loop.is_running()))
    turn(loop)
    assert trace == [True]
    assert loop.is_running() is False


def test_the_representation_says_running_closed_and_debug(loop: Any) -> None:
    trace = Trace()
    assert "running=False closed=False debug=False" in repr(loop)
    loop.call_soon(lambda: trace.note(repr(loop)))
    turn(loop)
    assert "running=True closed=False debug=False" in trace[0]
    loop.set_debug(True)
    assert "debug=True" in repr(loop)
    loop.close()
    assert "running=False closed=True debug=True" in repr(loop)
    assert repr(loop).startswith("<") and repr(loop).endswith(">")


def test_time_is_the_monotonic_clock(loop: Any) -> None:
    before = time.monotonic()
    now = loop.time()
    after = time.monotonic()
    assert isinstance(now, float)
    # The resolution of the two may differ by a rounding.
    assert before - 1e-6 <= now <= after + 1e-6


def test_time_moves_within_a_callback(loop: Any) -> None:
    trace = Trace()

    def wait_for_the_clock() -> None:
        first = loop.time()
        while loop.time() == first:
            pass
        trace.note("moved")

    loop.call_soon(wait_for_the_clock)
    turn(loop)
    assert trace == ["moved"]


def test_a_loop_is_an_event_loop_of_asyncio(loop: Any) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_the_loop_takes_attributes_and_weak_references(loop: Any) -> None:
    loop.of_a_library = "kept"
    assert loop.of_a_library == "kept"
    assert weakref.ref(loop)() is loop
    assert {loop: 1}[loop] == 1
    assert loop == loop and loop != object()


def test_run_forever_leaves_the_recursion_limit_and_hooks_alone(loop: Any) -> None:
    hooks = sys.get_asyncgen_hooks()
    limit = sys.getrecursionlimit()
    turn(loop)
    assert sys.get_asyncgen_hooks() == hooks
    assert sys.getrecursionlimit() == limit
