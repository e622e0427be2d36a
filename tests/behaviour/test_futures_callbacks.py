"""add_done_callback and remove_done_callback: order, contexts, and callbacks that change other things."""

from __future__ import annotations

import contextvars
import gc
import itertools
import weakref
from typing import Any

import pytest
from turns import Trace, turn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def future(loop: Any) -> Any:
    return loop.create_future()


def test_callbacks_run_in_the_next_turn_in_their_order(loop: Any, future: Any) -> None:
    trace = Trace()
    for number in range(10):
        future.add_done_callback(lambda _future, number=number: trace.note(number))
    future.set_result(None)
    assert trace == []
    turn(loop)
    assert trace == list(range(10))


def test_a_callback_gets_the_future_as_its_only_argument(loop: Any, future: Any) -> None:
    trace = Trace()
    future.add_done_callback(trace.note)
    future.set_result(None)
    turn(loop)
    assert trace[0] is future and len(trace) == 1


def test_it_runs_however_the_future_ends(loop: Any) -> None:
    trace = Trace()
    endings: dict[str, tuple[Any, ...]] = {"set_result": (1,), "set_exception": (ValueError(),), "cancel": ()}
    for end, arguments in endings.items():
        future = loop.create_future()
        future.add_done_callback(lambda _future, end=end: trace.note(end))
        getattr(future, end)(*arguments)
        if end == "set_exception":
            future.exception()
    turn(loop)
    assert trace == ["set_result", "set_exception", "cancel"]


def test_a_callback_added_to_a_done_future_runs_in_the_next_turn(loop: Any, future: Any) -> None:
    trace = Trace()
    future.set_result(None)
    future.add_done_callback(trace.note)
    assert trace == []
    turn(loop)
    assert trace == [future]


def test_callbacks_line_up_with_call_soon(loop: Any, future: Any) -> None:
    trace = Trace()
    future.add_done_callback(lambda _future: trace.note("callback 1"))
    future.add_done_callback(lambda _future: trace.note("callback 2"))
    loop.call_soon(trace.note, "before")
    future.set_result(None)
    loop.call_soon(trace.note, "after")
    turn(loop)
    assert trace == ["before", "callback 1", "callback 2", "after"]


def test_each_callback_is_a_callback_of_its_own_in_the_queue(loop: Any, future: Any) -> None:
    """What one schedules comes behind all of them, and what one raises does not touch the next."""
    trace = Trace()

    def first(_future: Any) -> None:
        trace.note("first")
        loop.call_soon(trace.note, "scheduled by the first")

    future.add_done_callback(first)
    future.add_done_callback(lambda _future: trace.note("second"))
    future.set_result(None)
    turn(loop, 2)
    assert trace == ["first", "second", "scheduled by the first"]


def test_a_raising_callback_is_reported_and_the_next_runs(loop: Any, future: Any, loop_errors: Any) -> None:
    trace = Trace()
    future.add_done_callback(lambda _future: 1 / 0)
    future.add_done_callback(lambda _future: trace.note("next"))
    future.set_result(None)
    turn(loop)
    assert trace == ["next"]
    [context] = loop_errors
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback ")
    assert set(context) == {"message", "exception", "handle"}


def test_the_same_callback_may_be_added_twice(loop: Any, future: Any) -> None:
    trace = Trace()
    note = trace.note
    future.add_done_callback(note)
    future.add_done_callback(note)
    future.set_result(None)
    turn(loop)
    assert trace == [future, future]


def test_remove_takes_away_every_occurrence_and_counts_them(loop: Any, future: Any) -> None:
    trace = Trace()
    removed, kept = trace.note, trace.append
    for callback in (removed, kept, removed, removed):
        future.add_done_callback(callback)
    assert future.remove_done_callback(removed) == 3
    assert future.remove_done_callback(removed) == 0
    assert future.remove_done_callback(print) == 0
    future.set_result(None)
    turn(loop)
    assert trace == [future]


def test_remove_works_on_the_first_alone(future: Any) -> None:
    trace = Trace()
    future.add_done_callback(trace.note)
    assert future.remove_done_callback(trace.note) == 1
    assert future.remove_done_callback(trace.note) == 0
    assert not future._callbacks


def test_remove_compares_by_equality(future: Any) -> None:
    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

        def __call__(self, _future: Any) -> None:
            raise AssertionError("was removed")

    future.add_done_callback(Equal())
    future.add_done_callback(Equal())
    assert future.remove_done_callback(Equal()) == 2


def test_remove_of_an_object_whose_comparison_raises(loop: Any, future: Any) -> None:
    class Bad:
        def __eq__(self, other: object) -> bool:
            raise LookupError("of the comparison")

        def __call__(self, _future: Any) -> None:
            """Called at the end."""

    future.add_done_callback(lambda _future: None)
    future.add_done_callback(Bad())
    with pytest.raises(LookupError, match="of the comparison"):
        future.remove_done_callback(lambda _future: None)
    future.set_result(None)
    turn(loop)


def test_a_comparison_that_changes_the_callbacks_is_survived(loop: Any, future: Any) -> None:
    class Clears:
        cleared = False

        def __eq__(self, other: object) -> bool:
            if not self.cleared:
                self.cleared = True
                future.remove_done_callback(evil)
            return False

        __hash__ = None  # type: ignore[assignment]

        def __call__(self, _future: Any) -> None:
            """May or may not be left."""

    class Evil:
        def __call__(self, _future: Any) -> None:
            """Removed by the other's comparison."""

    evil = Evil()
    for _ in range(3):
        future.add_done_callback(evil)
    future.add_done_callback(Clears())
    future.add_done_callback(evil)
    future.remove_done_callback(object())
    future.cancel()
    turn(loop)


def test_a_callback_cannot_be_removed_once_it_is_scheduled(loop: Any, future: Any) -> None:
    trace = Trace()
    future.add_done_callback(trace.note)
    future.set_result(None)
    assert future.remove_done_callback(trace.note) == 0
    turn(loop)
    assert trace == [future]


def test_a_callback_runs_in_the_context_of_its_adding(loop: Any, future: Any) -> None:
    trace = Trace()
    token = variable.set("when added")
    future.add_done_callback(lambda _future: trace.note(variable.get()))
    variable.reset(token)
    token = variable.set("when set")
    future.set_result(None)
    variable.reset(token)
    turn(loop)
    assert trace == ["when added"]


def test_a_callback_runs_in_the_context_it_was_given(loop: Any, future: Any) -> None:
    trace = Trace()
    given = contextvars.copy_context()
    given.run(variable.set, "given")

    def note(_future: Any) -> None:
        trace.note(variable.get())
        variable.set("changed")

    future.add_done_callback(note, context=given)
    future.add_done_callback(note, context=given)
    future.set_result(None)
    turn(loop)
    future.add_done_callback(note, context=given)
    turn(loop)
    assert trace == ["given", "changed", "changed"]
    assert variable.get() == "unset"


def test_the_arguments_of_add_done_callback(future: Any) -> None:
    with pytest.raises(TypeError):
        future.add_done_callback()
    with pytest.raises(TypeError):
        future.add_done_callback(print, contextvars.copy_context())
    with pytest.raises(TypeError):
        future.remove_done_callback()
    assert not future._callbacks


def test_what_cannot_be_called_fails_when_its_turn_comes(loop: Any, future: Any, loop_errors: Any) -> None:
    future.add_done_callback(42)
    future.set_result(None)
    turn(loop)
    [context] = loop_errors
    assert isinstance(context["exception"], TypeError)


def test_the_private_list_holds_callback_and_context(future: Any) -> None:
    assert not future._callbacks
    context = contextvars.copy_context()
    future.add_done_callback(repr, context=context)
    future.add_done_callback(id)
    first, second = future._callbacks
    assert first == (repr, context)
    assert second[0] is id and isinstance(second[1], contextvars.Context)
    future.cancel()
    assert not future._callbacks


def test_callbacks_are_dropped_when_they_have_run(loop: Any, future: Any) -> None:
    class Callback:
        def __call__(self, _future: Any) -> None:
            """Nothing; only its life counts."""

    references = []
    for _ in range(2):
        callback = Callback()
        references.append(weakref.ref(callback))
        future.add_done_callback(callback)
    del callback
    future.set_result(None)
    turn(loop)
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_a_callback_may_add_another_which_runs_in_the_turn_after(loop: Any, future: Any) -> None:
    trace = Trace()

    def first(future: Any) -> None:
        trace.note("first")
        future.add_done_callback(lambda _future: trace.note("added by the first"))

    future.add_done_callback(first)
    future.add_done_callback(lambda _future: trace.note("second"))
    future.set_result(None)
    turn(loop)
    assert trace == ["first", "second"]
    turn(loop)
    assert trace == ["first", "second", "added by the first"]


def test_futures_set_by_callbacks_take_one_turn_each(loop: Any) -> None:
    trace = Trace()
    futures = [loop.create_future() for _ in range(4)]
    for number, (one, next_one) in enumerate(itertools.pairwise(futures)):
        one.add_done_callback(lambda _future, number=number, following=next_one: following.set_result(number))
    futures[0].set_result(None)
    for _ in range(4):
        trace.note([future.done() for future in futures].count(True))
        turn(loop)
    assert trace == [1, 2, 3, 4]
