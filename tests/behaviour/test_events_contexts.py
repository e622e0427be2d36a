"""The contexts of callbacks: each runs in a copy of its own of what was current when it was scheduled."""

from __future__ import annotations

import contextvars
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from turns import turn

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE", default="default")

Schedule = Callable[..., Any]


@pytest.fixture(params=["call_soon", "call_soon_threadsafe", "call_later"])
def schedule(request: pytest.FixtureRequest, loop: Any) -> Schedule:
    if request.param == "call_later":
        return lambda callback, *arguments: loop.call_later(0, callback, *arguments)
    function: Schedule = getattr(loop, request.param)
    return function


class Value:
    pass


def test_what_a_callback_sets_no_other_one_sees(loop: Any, schedule: Schedule) -> None:
    seen = []

    def look_and_set(number: int) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set(number)

    for number in range(5):
        schedule(look_and_set, number)
    turn(loop)
    assert seen == ["default"] * 5
    assert VARIABLE.get() == "default"


def test_a_callback_that_sets_and_resets_leaves_nothing(loop: Any, schedule: Schedule) -> None:
    seen = []

    def set_twice() -> None:
        seen.append(VARIABLE.get())
        token = VARIABLE.set("first")
        VARIABLE.set("second")
        VARIABLE.reset(token)
        seen.append(VARIABLE.get())
        VARIABLE.set("third")

    for _ in range(3):
        schedule(set_twice)
    turn(loop)
    assert seen == ["default"] * 6


def test_each_sees_what_was_current_when_it_was_scheduled(loop: Any, schedule: Schedule) -> None:
    seen = []

    def schedule_some() -> None:
        for number in range(3):
            VARIABLE.set(number)
            schedule(lambda: seen.append(VARIABLE.get()))
            schedule(lambda: seen.append(VARIABLE.get()))

    contextvars.copy_context().run(schedule_some)
    turn(loop)
    assert seen == [0, 0, 1, 1, 2, 2]


def test_the_handles_that_are_kept_show_a_context_each(loop: Any, schedule: Schedule) -> None:
    handles = [schedule(VARIABLE.set, number) for number in range(3)]
    contexts = [handle._context for handle in handles]
    turn(loop)
    assert [context[VARIABLE] for context in contexts] == [0, 1, 2]
    assert [handle._context for handle in handles] == contexts


def test_a_handle_that_is_looked_at_after_the_run_shows_the_context_of_the_run(
    loop: Any, schedule: Schedule
) -> None:
    handles = [schedule(VARIABLE.set, number) for number in range(3)]
    turn(loop)
    assert [handle._context[VARIABLE] for handle in handles] == [0, 1, 2]


def test_a_handle_that_is_looked_at_during_the_run_shows_the_context_of_the_run(
    loop: Any, schedule: Schedule
) -> None:
    references: list[weakref.ref[Any]] = []
    seen = []

    def callback() -> None:
        VARIABLE.set("set by the callback")
        handle = references[0]()
        assert handle is not None
        seen.append(handle._context[VARIABLE])

    references.append(weakref.ref(schedule(callback)))
    turn(loop)
    assert seen == ["set by the callback"]


def test_what_is_done_in_the_context_of_a_handle_does_not_meet_the_others(
    loop: Any, schedule: Schedule
) -> None:
    seen: list[Any] = []
    handle = schedule(lambda: seen.append(VARIABLE.get()))
    schedule(lambda: seen.append(VARIABLE.get()))
    handle._context.run(VARIABLE.set, "from outside")
    turn(loop)
    assert seen == ["from outside", "default"]


def test_the_report_of_a_raising_callback_has_the_context_of_the_run(
    loop: Any, schedule: Schedule, loop_errors: Any
) -> None:
    seen: list[Any] = []

    def fail() -> None:
        VARIABLE.set("set before it failed")
        raise ValueError("on purpose")

    schedule(fail)
    schedule(lambda: seen.append(VARIABLE.get()))
    turn(loop)
    (report,) = loop_errors
    assert report["handle"]._context[VARIABLE] == "set before it failed"
    assert report["handle"]._callback is fail
    assert seen == ["default"]


def test_what_a_context_holds_is_let_go_of_before_the_loop_sleeps(loop: Any, run: Any) -> None:
    async def main() -> None:
        reference: Any = None

        def schedule_some() -> None:
            nonlocal reference
            value = Value()
            reference = weakref.ref(value)
            VARIABLE.set(value)
            for _ in range(3):
                loop.call_soon(int)

        contextvars.copy_context().run(schedule_some)
        looked = loop.create_future()
        # The loop sleeps in between.
        loop.call_later(0.01, lambda: looked.set_result(reference()))
        assert await looked is None

    run(main)


def test_a_value_that_schedules_when_it_dies_does_no_harm(loop: Any) -> None:
    seen: list[Any] = []

    class Scheduling:
        def __del__(self) -> None:
            loop.call_soon(seen.append, "from the dying value")

    def set_value() -> None:
        VARIABLE.set(Scheduling())
        loop.call_soon(int)
        loop.call_soon(int)

    contextvars.copy_context().run(set_value)
    for _ in range(3):
        turn(loop)
    gc.collect()
    turn(loop)
    assert seen == ["from the dying value"]
