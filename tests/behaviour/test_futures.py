"""Future: its states, results, exceptions and cancellation."""

from __future__ import annotations

import asyncio
import sys
import traceback
from typing import Any

import pytest
from turns import Trace, current_loop, turn


@pytest.fixture
def future(loop: Any) -> Any:
    return loop.create_future()


def test_a_new_future_is_pending(loop: Any, future: Any) -> None:
    assert future.done() is False
    assert future.cancelled() is False
    assert future.get_loop() is loop
    assert asyncio.isfuture(future)
    assert isinstance(future, asyncio.Future)


def test_the_type_of_create_future_is_the_modules_future(future: Any, implementation: Any) -> None:
    assert type(future) is implementation.future_type


def test_a_result_is_kept(future: Any) -> None:
    result = object()
    assert future.set_result(result) is None
    assert future.done() is True
    assert future.cancelled() is False
    assert future.result() is result
    assert future.result() is result
    assert future.exception() is None


def test_an_exception_is_kept(future: Any) -> None:
    error = ValueError("kept")
    assert future.set_exception(error) is None
    assert future.done() is True
    assert future.cancelled() is False
    assert future.exception() is error
    for _ in range(2):
        with pytest.raises(ValueError) as caught:
            future.result()
        assert caught.value is error


def test_an_exception_class_is_made_an_instance(future: Any) -> None:
    future.set_exception(LookupError)
    assert type(future.exception()) is LookupError
    assert future.exception().args == ()


@pytest.mark.parametrize("thing", [None, 42, "text", object(), int])
def test_what_is_no_exception_is_refused(future: Any, thing: Any) -> None:
    with pytest.raises(TypeError):
        future.set_exception(thing)
    assert not future.done()


@pytest.mark.skipif(sys.version_info < (3, 12, 6), reason="before 3.12.6 StopIteration was refused")
def test_stop_iteration_is_wrapped(future: Any) -> None:
    error = StopIteration(1)
    future.set_exception(error)
    kept = future.exception()
    assert type(kept) is RuntimeError
    assert str(kept) == "StopIteration interacts badly with generators and cannot be raised into a Future"
    assert kept.__cause__ is error and kept.__context__ is error


@pytest.mark.skipif(sys.version_info >= (3, 12, 6), reason="since 3.12.6 StopIteration is wrapped")
def test_stop_iteration_is_refused(future: Any) -> None:
    with pytest.raises(TypeError, match="StopIteration interacts badly with generators"):
        future.set_exception(StopIteration())
    with pytest.raises(TypeError, match="StopIteration interacts badly with generators"):
        future.set_exception(StopIteration)
    assert not future.done()


def test_of_a_class_derived_from_stop_iteration(future: Any) -> None:
    class Derived(StopIteration):
        pass

    error = Derived()
    future.set_exception(error)
    kept = future.exception()
    assert kept is error if sys.version_info < (3, 12, 6) else kept.__cause__ is error


def test_the_traceback_does_not_grow_with_every_look(future: Any) -> None:
    def look() -> int:
        try:
            future.result()
        except ValueError as error:
            return len(traceback.extract_tb(error.__traceback__))
        raise AssertionError("no exception")

    try:
        raise ValueError("with a traceback")
    except ValueError as error:
        future.set_exception(error)
    assert max(look() for _ in range(10)) <= 2


def test_a_pending_future_has_nothing_to_give(future: Any) -> None:
    with pytest.raises(asyncio.InvalidStateError, match=r"Result is not (set|ready)"):
        future.result()
    with pytest.raises(asyncio.InvalidStateError, match="Exception is not set"):
        future.exception()


SETTERS = {
    "set_result": lambda future: future.set_result(1),
    "set_exception": lambda future: future.set_exception(ValueError("set")),
    "cancel": lambda future: future.cancel(),
}


@pytest.mark.parametrize("second", ["set_result", "set_exception"])
@pytest.mark.parametrize("first", SETTERS)
def test_a_done_future_cannot_be_set_again(future: Any, first: str, second: str) -> None:
    SETTERS[first](future)
    before = repr(future)
    with pytest.raises(asyncio.InvalidStateError) as caught:
        SETTERS[second](future)
    assert str(caught.value) in ("invalid state", before, f"{future._state}: {future!r}")
    assert repr(future) == before
    if first == "set_exception":
        future.exception()


def test_the_arguments_of_the_setters(future: Any) -> None:
    with pytest.raises(TypeError):
        future.set_result()
    with pytest.raises(TypeError):
        future.set_exception()
    with pytest.raises(TypeError):
        future.set_result(1, 2)
    assert not future.done()


def test_cancel_says_whether_it_did(future: Any) -> None:
    assert future.cancel() is True
    assert future.cancelled() is True
    assert future.done() is True
    assert future.cancel() is False


def test_a_done_future_cannot_be_cancelled(future: Any) -> None:
    future.set_result(1)
    assert future.cancel() is False
    assert future.cancelled() is False
    assert future.result() == 1


def test_a_cancelled_future_raises(future: Any) -> None:
    future.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        future.result()
    assert caught.value.args == ()
    with pytest.raises(asyncio.CancelledError):
        future.exception()


@pytest.mark.parametrize("message", ["why", 42, None, ("a", "b")])
def test_cancel_takes_a_message(future: Any, message: Any) -> None:
    future.cancel(message)
    with pytest.raises(asyncio.CancelledError) as caught:
        future.result()
    assert caught.value.args == (() if message is None else (message,))
    assert future._cancel_message == message


def test_the_message_is_called_msg(future: Any) -> None:
    future.cancel(msg="by keyword")
    with pytest.raises(asyncio.CancelledError, match="by keyword"):
        future.exception()


def test_each_look_at_a_cancelled_future_raises_a_fresh_error(future: Any) -> None:
    future.cancel("why")
    errors = []
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError) as caught:
            future.result()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_a_future_may_be_made_by_its_class(loop: Any, implementation: Any) -> None:
    future = implementation.future_type(loop=loop)
    assert future.get_loop() is loop
    assert not future.done()


def test_the_class_takes_nothing_but_the_loop_as_a_keyword(loop: Any, implementation: Any) -> None:
    with pytest.raises(TypeError):
        implementation.future_type(loop)
    with pytest.raises(TypeError):
        implementation.future_type(loop=loop, name="no")


def test_without_a_loop_the_running_one_is_taken(loop: Any, run: Any, implementation: Any) -> None:
    async def main() -> None:
        assert implementation.future_type().get_loop() is loop
        assert implementation.future_type(loop=None).get_loop() is loop

    run(main)


def test_outside_of_a_running_loop_the_current_one_is_taken(loop: Any, implementation: Any) -> None:
    with current_loop(loop):
        assert implementation.future_type().get_loop() is loop


def test_without_any_loop_it_cannot_be_made(loop: Any, implementation: Any) -> None:
    # Having set None is what makes 3.11 raise rather than create one.
    with current_loop(loop):
        pass
    with pytest.raises(RuntimeError, match="There is no current event loop"):
        implementation.future_type()


def test_futures_are_no_coroutines_and_have_no_length(future: Any) -> None:
    assert not asyncio.iscoroutine(future)
    with pytest.raises(TypeError):
        len(future)
    assert bool(future) is True


def test_a_future_in_debug_mode_may_be_made_and_set(loop: Any) -> None:
    loop.set_debug(True)
    future = loop.create_future()
    future.set_result(1)
    assert loop.run_until_complete(future) == 1


def test_never_retrieved_is_reported_when_the_future_goes(loop: Any, loop_errors: Any) -> None:
    future = loop.create_future()
    error = ValueError("lost")
    future.set_exception(error)
    assert loop_errors == []
    shown = repr(future)
    del future
    [context] = loop_errors
    assert context["message"] == "Future exception was never retrieved"
    assert context["exception"] is error
    # It is the dying object itself, brought back for the handler.
    assert repr(context["future"]) == shown
    assert set(context) == {"message", "exception", "future"}


def test_never_retrieved_is_reported_of_a_subclass_too(
    loop: Any, loop_errors: Any, implementation: Any
) -> None:
    class Mine(implementation.future_type):  # type: ignore[misc]
        pass

    future = Mine(loop=loop)
    future.set_exception(ValueError("lost"))
    del future
    [context] = loop_errors
    assert context["message"] == "Mine exception was never retrieved"
    assert type(context["future"]) is Mine


@pytest.mark.parametrize("look", ["result", "exception"])
def test_a_retrieved_exception_is_not_reported(loop: Any, loop_errors: Any, look: str) -> None:
    future = loop.create_future()
    future.set_exception(ValueError("seen"))
    if look == "exception":
        assert future.exception() is not None
    else:
        with pytest.raises(ValueError):
            future.result()
    del future
    assert loop_errors == []


def test_an_awaited_exception_is_not_reported(loop: Any, loop_errors: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        loop.call_soon(future.set_exception, ValueError("awaited"))
        with pytest.raises(ValueError):
            await future

    loop.run_until_complete(main())
    assert loop_errors == []


def test_a_result_that_nobody_fetches_is_not_reported(loop: Any, loop_errors: Any) -> None:
    loop.create_future().set_result(1)
    loop.create_future().cancel()
    loop.create_future()
    assert loop_errors == []


def test_a_future_kept_by_the_report_stays_whole(loop: Any, loop_errors: Any) -> None:
    future = loop.create_future()
    future.set_exception(ValueError("lost"))
    del future
    kept = loop_errors[0]["future"]
    assert kept.done()
    assert str(kept.exception()) == "lost"
    assert kept.get_loop() is loop


def test_the_report_comes_from_the_handler_of_the_futures_own_loop(loop: Any, implementation: Any) -> None:
    trace = Trace()
    other = implementation.new_event_loop()
    other.set_exception_handler(lambda which, _context: trace.note(which))
    future = other.create_future()
    future.set_exception(ValueError("lost"))
    loop.call_soon(lambda: None)
    turn(loop)
    del future
    assert trace == [other]
    other.close()


def test_a_future_of_a_closed_loop_still_reports(loop: Any, asyncio_log: Any) -> None:
    future = loop.create_future()
    future.set_exception(ValueError("lost"))
    loop.close()
    del future
    [error] = asyncio_log.errors()
    assert error.startswith(
        "Future exception was never retrieved\nfuture: <Future finished exception=ValueError('lost')>"
    )
