"""call_later and call_at: the order timers fire in, cancelling them, and what the arguments may be.

No test waits for time to pass but where that is what it is about; overdue timers fire in the next turn.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import threading
import time
import weakref
from fractions import Fraction
from typing import Any

import pytest
from turns import Trace, turn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_a_due_timer_runs_in_the_next_turn(loop: Any) -> None:
    trace = Trace()
    loop.call_later(0, trace.note, "due")
    turn(loop)
    assert trace == ["due"]


def test_due_timers_run_behind_what_was_ready_already(loop: Any) -> None:
    trace = Trace()
    loop.call_later(0, trace.note, "timer")
    loop.call_soon(trace.note, "ready")
    turn(loop)
    assert trace == ["ready", "timer"]


def test_timers_fire_in_the_order_of_their_times(loop: Any) -> None:
    trace = Trace()
    now = loop.time()
    moments = [now - number / 1000 for number in range(200)]
    random.Random(1).shuffle(moments)
    for moment in moments:
        loop.call_at(moment, trace.note, moment)
    turn(loop)
    assert trace == sorted(moments)


def test_a_negative_delay_is_earlier_than_none(loop: Any) -> None:
    trace = Trace()
    loop.call_later(0, trace.note, "zero")
    loop.call_later(-1, trace.note, "negative")
    loop.call_later(-math.inf, trace.note, "minus infinity")
    turn(loop)
    assert trace == ["minus infinity", "negative", "zero"]


def test_two_timers_of_one_moment_keep_their_order(loop: Any) -> None:
    trace = Trace()
    moment = loop.time() - 1
    loop.call_at(moment, trace.note, "first")
    loop.call_at(moment, trace.note, "second")
    turn(loop)
    assert trace == ["first", "second"]


def test_a_timer_of_no_delay_set_by_a_callback_waits_for_the_next_turn(loop: Any) -> None:
    trace = Trace()

    def first() -> None:
        trace.note("first")
        loop.call_later(0, trace.note, "next turn")

    loop.call_later(0, first)
    turn(loop)
    assert trace == ["first"]
    turn(loop)
    assert trace == ["first", "next turn"]


def test_a_timer_that_is_not_due_does_not_run(loop: Any) -> None:
    trace = Trace()
    handle = loop.call_later(3600, trace.note, "never")
    turn(loop, 3)
    assert trace == []
    handle.cancel()


def test_a_timer_never_fires_early(loop: Any) -> None:
    trace = Trace()
    delay = 0.05
    before = time.monotonic()
    loop.call_later(delay, lambda: (trace.note(time.monotonic() - before), loop.stop()))
    loop.run_forever()
    # asyncio lets a timer fire within the resolution of the clock.
    assert trace[0] >= delay - time.get_clock_info("monotonic").resolution


def test_timers_of_the_future_fire_in_order_too(loop: Any) -> None:
    trace = Trace()
    now = loop.time()
    for number in (3, 1, 2):
        loop.call_at(now + number / 200, trace.note, number)
    loop.call_at(now + 4 / 200, loop.stop)
    loop.run_forever()
    assert trace == [1, 2, 3]


def test_timers_that_became_due_together_run_in_one_turn(loop: Any) -> None:
    trace = Trace()
    now = loop.time()
    loop.call_at(now + 0.002, trace.note, "later")
    loop.call_at(now + 0.001, trace.note, "sooner")
    while loop.time() < now + 0.003:
        pass
    turn(loop)
    assert trace == ["sooner", "later"]


def test_a_cancelled_timer_does_not_fire(loop: Any) -> None:
    trace = Trace()
    handle = loop.call_later(0, trace.note, "cancelled")
    loop.call_later(0, trace.note, "kept")
    handle.cancel()
    assert handle.cancelled()
    turn(loop)
    assert trace == ["kept"]


def test_a_timer_may_be_cancelled_by_one_of_the_same_turn(loop: Any) -> None:
    trace = Trace()
    now = loop.time()
    handles: list[Any] = []
    loop.call_at(now - 2, lambda: handles[0].cancel())
    handles.append(loop.call_at(now - 1, trace.note, "cancelled"))
    turn(loop)
    assert trace == []


def test_a_timer_may_be_cancelled_after_it_fired(loop: Any) -> None:
    trace = Trace()
    handle = loop.call_later(0, trace.note, "fired")
    turn(loop)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    turn(loop)
    assert trace == ["fired"]


def test_the_rest_keeps_its_order_when_most_timers_are_cancelled(loop: Any) -> None:
    trace = Trace()
    now = loop.time()
    handles = [loop.call_at(now - 1 + number / 10_000, trace.note, number) for number in range(2000)]
    kept = [number for number in range(2000) if number % 37 == 0]
    for number, handle in enumerate(handles):
        if number % 37:
            handle.cancel()
    turn(loop)
    assert trace == kept


def test_call_later_says_when_it_will_fire(loop: Any) -> None:
    before = loop.time()
    handle = loop.call_later(100, print)
    after = loop.time()
    assert isinstance(handle, asyncio.TimerHandle)
    assert before + 100 <= handle.when() <= after + 100
    handle.cancel()


def test_call_at_gives_back_the_moment_it_was_given(loop: Any) -> None:
    for moment in (0, 0.0, -5, 12.25, loop.time() + 1, math.inf):
        handle = loop.call_at(moment, print)
        assert (handle.when(), type(handle.when())) == (moment, type(moment))
        assert f"when={moment} " in repr(handle)
        handle.cancel()


def test_a_delay_may_be_any_number(loop: Any) -> None:
    trace = Trace()
    for delay in (0, 0.0, False, Fraction(0)):
        loop.call_later(delay, trace.note, delay)
    turn(loop)
    assert trace == [0, 0, 0, 0]


def test_a_timer_of_eternity_does_not_keep_the_loop_from_running(loop: Any) -> None:
    trace = Trace()
    handles = [loop.call_later(delay, trace.note, delay) for delay in (math.inf, 1e300, 1e12)]
    # The second turn has nothing else to do, so the loop computes how long to sleep.
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert trace == []
    for handle in handles:
        handle.cancel()


def test_a_delay_of_none_is_refused(loop: Any) -> None:
    with pytest.raises(TypeError, match=r"^delay must not be None$"):
        loop.call_later(None, print)
    with pytest.raises(TypeError, match=r"^when cannot be None$"):
        loop.call_at(None, print)


@pytest.mark.parametrize("delay", ["1", [], object(), print])
def test_a_delay_that_is_no_number_is_refused(loop: Any, delay: Any) -> None:
    with pytest.raises(TypeError):
        loop.call_later(delay, print)


def test_the_callback_is_needed(loop: Any) -> None:
    with pytest.raises(TypeError):
        loop.call_later(0)
    with pytest.raises(TypeError):
        loop.call_at(0)
    with pytest.raises(TypeError):
        loop.call_later(0, print, end="")


def test_the_context_of_a_timer(loop: Any) -> None:
    trace = Trace()
    given = contextvars.copy_context()
    given.run(variable.set, "given")
    token = variable.set("then")
    loop.call_later(0, lambda: trace.note(variable.get()))
    loop.call_at(loop.time(), lambda: trace.note(variable.get()), context=given)
    variable.reset(token)
    turn(loop)
    assert trace == ["then", "given"]


def test_a_raising_timer_is_reported_with_its_handle(loop: Any, loop_errors: Any) -> None:
    trace = Trace()
    handle = loop.call_later(0, lambda: 1 / 0)
    loop.call_later(0, trace.note, "after")
    turn(loop)
    assert trace == ["after"]
    [context] = loop_errors
    assert context["handle"] is handle
    assert isinstance(context["exception"], ZeroDivisionError)


def test_a_timer_is_dropped_when_it_has_fired(loop: Any) -> None:
    class Callback:
        def __call__(self) -> None:
            pass

    callback = Callback()
    reference = weakref.ref(callback)
    loop.call_later(0, callback)
    del callback
    turn(loop)
    assert reference() is None


def test_the_loop_wakes_for_a_timer_set_while_it_slept(loop: Any) -> None:
    trace = Trace()
    slow = loop.call_later(3600, trace.note, "never")

    def from_a_thread() -> None:
        loop.call_soon_threadsafe(loop.call_later, 0.001, loop.stop)

    thread = threading.Thread(target=from_a_thread)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert trace == []
    slow.cancel()
