"""call_soon: order, turns, contexts, arguments, and what happens to a callback that raises."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import weakref
from typing import Any

import pytest
from turns import Trace, turn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_callbacks_run_in_the_order_of_call_soon(loop: Any) -> None:
    trace = Trace()
    for number in range(100):
        loop.call_soon(trace.note, number)
    turn(loop)
    assert trace == list(range(100))


def test_nothing_runs_before_the_loop_does(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(trace.note, 1)
    assert trace == []
    turn(loop)
    assert trace == [1]


def test_a_callback_scheduled_by_a_callback_waits_for_the_next_turn(loop: Any) -> None:
    trace = Trace()

    def first() -> None:
        trace.note("first")
        loop.call_soon(trace.note, "next turn")

    loop.call_soon(first)
    loop.call_soon(trace.note, "same turn")
    turn(loop)
    assert trace == ["first", "same turn"]
    turn(loop)
    assert trace == ["first", "same turn", "next turn"]


def test_arguments_are_passed_by_position(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(trace.note)
    loop.call_soon(trace.note, 1)
    loop.call_soon(trace.note, 1, 2, None)
    loop.call_soon(functools.partial(sorted, [2, 1], key=trace.note))
    loop.set_exception_handler(lambda _loop, _context: trace.append("error"))
    turn(loop)
    assert trace[:3] == [(), 1, (1, 2, None)]


def test_what_a_callback_is_scheduled_with_may_be_named(loop: Any) -> None:
    trace = Trace()
    note = functools.partial(trace.note, "ran")
    loop.call_soon(callback=note)
    loop.call_later(delay=-1, callback=note)
    loop.call_at(when=0, callback=note)
    turn(loop)
    assert trace == ["ran"] * 3
    for named in ({"callback": print}, {"when": 0}):
        with pytest.raises(TypeError):
            loop.call_soon(print, **named)


def test_keyword_arguments_are_refused(loop: Any) -> None:
    with pytest.raises(TypeError):
        loop.call_soon(print, end="")
    with pytest.raises(TypeError):
        loop.call_soon()


def test_a_handle_of_asyncio_comes_back(loop: Any, implementation: Any) -> None:
    handle = loop.call_soon(print)
    assert isinstance(handle, asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)
    handle.cancel()


def test_a_cancelled_callback_does_not_run(loop: Any) -> None:
    trace = Trace()
    handle = loop.call_soon(trace.note, "cancelled")
    loop.call_soon(trace.note, "kept")
    handle.cancel()
    turn(loop)
    assert trace == ["kept"]


def test_a_callback_can_cancel_one_of_the_same_turn(loop: Any) -> None:
    trace = Trace()
    handles: list[Any] = []
    loop.call_soon(lambda: handles[0].cancel())
    handles.append(loop.call_soon(trace.note, "cancelled"))
    loop.call_soon(trace.note, "kept")
    turn(loop)
    assert trace == ["kept"]


def test_a_callback_runs_in_the_context_current_when_it_was_scheduled(loop: Any) -> None:
    trace = Trace()
    token = variable.set("then")
    loop.call_soon(lambda: trace.note(variable.get()))
    variable.reset(token)
    turn(loop)
    assert trace == ["then"]


def test_a_callback_runs_in_the_context_it_was_given(loop: Any) -> None:
    trace = Trace()
    context = contextvars.copy_context()
    context.run(variable.set, "given")

    def change() -> None:
        trace.note(variable.get())
        variable.set("changed")

    loop.call_soon(change, context=context)
    loop.call_soon(lambda: trace.note(variable.get()), context=context)
    turn(loop)
    assert trace == ["given", "changed"]
    assert context[variable] == "changed"
    assert variable.get() == "unset"


def test_what_a_callback_sets_stays_in_its_own_copy_of_the_context(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(variable.set, "inside")
    loop.call_soon(lambda: trace.note(variable.get()))
    turn(loop)
    assert trace == ["unset"]
    assert variable.get() == "unset"


def test_context_none_means_a_copy_of_the_current_one(loop: Any) -> None:
    trace = Trace()
    token = variable.set("now")
    loop.call_soon(lambda: trace.note(variable.get()), context=None)
    variable.reset(token)
    turn(loop)
    assert trace == ["now"]


def test_a_context_that_is_already_entered_is_reported_and_not_fatal(loop: Any, asyncio_log: Any) -> None:
    trace = Trace()
    context = contextvars.copy_context()
    loop.call_soon(trace.note, "inside", context=context)
    loop.call_soon(trace.note, "after")
    context.run(turn, loop)
    assert trace == ["after"]
    [error] = asyncio_log.errors()
    assert "RuntimeError: cannot enter context" in error


def test_something_else_than_a_callable_is_reported_when_its_turn_comes(loop: Any, loop_errors: Any) -> None:
    trace = Trace()
    loop.call_soon(42)
    loop.call_soon(trace.note, "after")
    turn(loop)
    assert trace == ["after"]
    [context] = loop_errors
    assert isinstance(context["exception"], TypeError)
    assert str(context["exception"]) == "'int' object is not callable"


def test_a_raising_callback_is_reported_and_the_turn_goes_on(loop: Any, loop_errors: Any) -> None:
    trace = Trace()
    error = ValueError("of the callback")

    def fail() -> None:
        raise error

    handle = loop.call_soon(fail)
    loop.call_soon(trace.note, "after")
    turn(loop)
    assert trace == ["after"]
    [context] = loop_errors
    assert context["exception"] is error
    assert context["handle"] is handle
    assert context["message"].startswith("Exception in callback ")
    assert "fail" in context["message"]
    assert set(context) == {"message", "exception", "handle"}


class Odd(BaseException):
    """A BaseException that is neither SystemExit nor KeyboardInterrupt."""


def test_a_base_exception_of_ones_own_is_reported_like_any_other(loop: Any, loop_errors: Any) -> None:
    def fail() -> None:
        raise Odd

    loop.call_soon(fail)
    turn(loop)
    assert [type(context["exception"]) for context in loop_errors] == [Odd]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_leaves_run_forever_and_the_rest_runs_later(loop: Any, kind: Any) -> None:
    trace = Trace()

    def leave() -> None:
        raise kind("now")

    loop.call_soon(trace.note, "before")
    loop.call_soon(leave)
    loop.call_soon(trace.note, "after")
    with pytest.raises(kind, match="now"):
        loop.run_forever()
    assert trace == ["before"]
    assert not loop.is_running()
    turn(loop)
    assert trace == ["before", "after"]


def test_a_callback_sees_its_loop_as_the_running_one(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(lambda: trace.note(asyncio.get_running_loop() is loop))
    loop.call_soon(lambda: trace.note(asyncio.get_event_loop() is loop))
    loop.call_soon(lambda: trace.note(loop.is_running()))
    loop.call_soon(lambda: trace.note(asyncio.current_task()))
    turn(loop)
    assert trace == [True, True, True, None]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_many_callbacks_scheduled_by_callbacks_all_run(loop: Any) -> None:
    left = 5000
    trace = Trace()

    def again(number: int) -> None:
        if number:
            loop.call_soon(again, number - 1)
        else:
            trace.note("done")
            loop.stop()

    loop.call_soon(again, left)
    loop.run_forever()
    assert trace == ["done"]


def test_a_callback_is_dropped_when_it_has_run(loop: Any) -> None:
    class Callback:
        def __call__(self) -> None:
            pass

    callback = Callback()
    reference = weakref.ref(callback)
    loop.call_soon(callback)
    del callback
    assert reference() is not None
    turn(loop)
    assert reference() is None
