"""Handle and TimerHandle: cancelling, comparing, and what they look like."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import re
import sys
import weakref
from typing import Any

import pytest
from turns import Trace, turn


def plain() -> None:
    """A callback with a name."""


class WithMethod:
    def method(self) -> None:
        """A callback that is a bound method."""

    def __repr__(self) -> str:
        return "<WithMethod>"


def test_cancel_is_remembered(loop: Any) -> None:
    handle = loop.call_soon(plain)
    assert handle.cancelled() is False
    assert handle.cancel() is None
    assert handle.cancelled() is True
    handle.cancel()
    assert handle.cancelled() is True


def test_cancel_after_the_run_is_harmless(loop: Any) -> None:
    handle = loop.call_soon(plain)
    turn(loop)
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()


def test_cancel_lets_go_of_the_callback_and_its_arguments(loop: Any) -> None:
    class Argument:
        pass

    callback, argument = Argument(), Argument()
    references = [weakref.ref(callback), weakref.ref(argument)]
    for schedule in (loop.call_soon, functools.partial(loop.call_later, 1000)):
        handle = schedule(callback, argument)
        handle.cancel()
    del callback, argument
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_the_representation_names_the_callback(loop: Any) -> None:
    handle = loop.call_soon(plain)
    assert re.fullmatch(r"<Handle plain\(\) at .*test_handles\.py:\d+>", repr(handle))
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"


def test_the_representation_of_a_timer_says_when(loop: Any) -> None:
    handle = loop.call_at(loop.time() + 1000, plain)
    assert re.fullmatch(
        rf"<TimerHandle when={handle.when()} plain\(\) at .*test_handles\.py:\d+>", repr(handle)
    )
    handle.cancel()
    assert repr(handle) == f"<TimerHandle cancelled when={handle.when()}>"


def test_the_representation_of_a_method_and_of_a_partial(loop: Any) -> None:
    method = loop.call_soon(WithMethod().method)
    assert repr(method) == "<Handle WithMethod.method()>"
    partial = loop.call_soon(functools.partial(plain))
    assert re.fullmatch(r"<Handle plain\(\)\(\) at .*test_handles\.py:\d+>", repr(partial))
    turn(loop)


def test_the_representation_of_a_builtin_has_no_place(loop: Any) -> None:
    handle = loop.call_soon(sorted)
    assert repr(handle) == "<Handle sorted()>"
    handle.cancel()


def test_arguments_are_shown_in_debug_mode_at_least(loop: Any) -> None:
    loop.set_debug(True)
    handle = loop.call_soon(sorted, [3], "text")
    assert repr(handle).startswith("<Handle sorted([3], 'text') created at ")
    handle.cancel()


def test_debug_mode_says_where_it_was_created_and_keeps_that_when_cancelled(loop: Any) -> None:
    loop.set_debug(True)
    handle = loop.call_soon(plain)
    shown = r"plain\(\) at .*test_handles\.py:\d+ created at .*test_handles\.py:\d+"
    assert re.fullmatch(f"<Handle {shown}>", repr(handle))
    handle.cancel()
    assert re.fullmatch(f"<Handle cancelled {shown}>", repr(handle))
    timer = loop.call_later(1000, plain)
    assert re.fullmatch(f"<TimerHandle when=.* {shown}>", repr(timer))
    timer.cancel()
    assert re.fullmatch(f"<TimerHandle cancelled when=.* {shown}>", repr(timer))


def test_timers_compare_by_their_time(loop: Any) -> None:
    moment = loop.time() + 1000
    early, late = loop.call_at(moment, plain), loop.call_at(moment + 1, plain)
    assert early < late and early <= late and late > early and late >= early
    assert not early > late and not early >= late and not late < early and not late <= early
    assert early != late
    assert sorted([late, early]) == [early, late]
    early.cancel()
    late.cancel()


def test_timers_of_the_same_time_and_callback_are_equal(loop: Any) -> None:
    moment = loop.time() + 1000
    first, second = loop.call_at(moment, plain), loop.call_at(moment, plain)
    other = loop.call_at(moment, print)
    assert first == second and first <= second and first >= second
    assert first != other
    assert hash(first) == hash(second) == hash(moment)
    second.cancel()
    assert first != second
    first.cancel()
    other.cancel()


def test_timers_do_not_compare_with_other_things(loop: Any) -> None:
    timer, handle = loop.call_later(1000, plain), loop.call_soon(plain)
    assert timer != 1000 and timer != handle
    assert (timer == None) is False  # noqa: E711  the comparison itself is what is tested
    for other in (1000.0, handle, None):
        with pytest.raises(TypeError):
            timer < other  # noqa: B015
    timer.cancel()
    turn(loop)


def test_handles_are_distinct_hashable_and_weakly_referenced(loop: Any) -> None:
    first, second = loop.call_soon(plain), loop.call_soon(plain)
    assert first != second
    assert len({first, second}) == 2
    assert weakref.ref(first)() is first
    timer = loop.call_later(1000, plain)
    reference = weakref.ref(timer)
    assert [reference()] == [timer]
    timer.cancel()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context came with 3.12")
@pytest.mark.parametrize("timed", [False, True])
def test_nothing_of_a_dead_handle_is_left_in_the_next_one(loop: Any, timed: bool) -> None:
    def make(text: str) -> Any:
        return loop.call_later(60, print, text) if timed else loop.call_soon(print, text)

    first = make("first")
    first.cancel()
    reference = weakref.ref(first)
    turn(loop)
    del first
    assert reference() is None
    second = make("second")
    assert (second.cancelled(), second._callback, second._args) == (False, print, ("second",))
    assert reference() is None
    second.cancel()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="get_context() came with 3.12")
def test_a_handle_tells_its_context(loop: Any) -> None:
    context = contextvars.copy_context()
    assert loop.call_soon(plain, context=context).get_context() is context
    assert isinstance(loop.call_soon(plain).get_context(), contextvars.Context)
    timer = loop.call_later(1000, plain, context=context)
    assert timer.get_context() is context
    timer.cancel()


def test_the_private_attributes_libraries_read(loop: Any) -> None:
    handle = loop.call_soon(sorted, [1])
    assert handle._callback is sorted
    assert handle._args == ([1],) and type(handle._args) is tuple
    assert handle._loop is loop
    assert handle._cancelled is False
    assert handle._source_traceback is None
    handle.cancel()
    assert [handle._callback, handle._args, handle._cancelled] == [None, None, True]


def test_a_timer_knows_whether_it_is_still_scheduled(loop: Any) -> None:
    timer = loop.call_later(0, plain)
    assert timer._scheduled is True
    assert timer._when == timer.when()
    turn(loop)
    assert timer._scheduled is False


def test_handles_can_be_made_by_hand(loop: Any, implementation: Any) -> None:
    trace = Trace()
    handle = implementation.module.Handle(trace.note, ("ran",), loop)
    assert isinstance(handle, asyncio.Handle)
    handle._run()
    assert trace == ["ran"]
    timer = implementation.module.TimerHandle(5.5, trace.note, ("timer",), loop)
    assert isinstance(timer, asyncio.TimerHandle) and isinstance(timer, asyncio.Handle)
    assert timer.when() == 5.5
    timer.cancel()
    assert timer.cancelled()


def test_a_handle_made_by_hand_reports_what_its_callback_raises(
    loop: Any, loop_errors: Any, implementation: Any
) -> None:
    handle = implementation.module.Handle(lambda: 1 / 0, (), loop)
    handle._run()
    [context] = loop_errors
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle


def test_handles_are_subclassable(loop: Any, implementation: Any) -> None:
    class Named(implementation.module.Handle):  # type: ignore[misc]
        name = "of a library"

    handle = Named(plain, (), loop)
    handle.extra = 1
    assert (handle.name, handle.extra) == ("of a library", 1)
    assert isinstance(handle, asyncio.Handle)


def test_a_handle_that_is_part_of_a_cycle_is_collected(loop: Any) -> None:
    class Callback:
        handle: Any = None

        def __call__(self) -> None:
            pass

    references = []
    for schedule in (loop.call_soon, functools.partial(loop.call_later, 0)):
        callback = Callback()
        callback.handle = schedule(callback)
        references.append(weakref.ref(callback))
        del callback
    turn(loop)
    gc.collect()
    assert [reference() for reference in references] == [None, None]
