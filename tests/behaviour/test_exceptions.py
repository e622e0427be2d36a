"""Exception handlers: asyncio's default one, the user's own, and what happens when a handler raises."""

from __future__ import annotations

import contextvars
import gc
import logging
import sys
import traceback
from typing import Any

import pytest
from turns import Trace, turn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def fail() -> None:
    raise ValueError("of the callback")


def test_the_default_handler_logs_an_error_with_its_traceback(loop: Any, asyncio_log: Any) -> None:
    loop.call_soon(fail)
    turn(loop)
    [record] = [record for record in asyncio_log.records if record.levelno >= logging.ERROR]
    assert record.levelname == "ERROR"
    first, second = record.getMessage().split("\n")
    assert first.startswith("Exception in callback fail() at ")
    assert second.startswith("handle: <Handle fail() at ")
    assert record.exc_info[0] is ValueError
    assert record.exc_info[2].tb_next is not None or record.exc_info[2].tb_frame is not None


def test_call_exception_handler_logs_every_key_in_order(loop: Any, asyncio_log: Any) -> None:
    loop.call_exception_handler({"message": "something", "zeta": 1, "alpha": "two"})
    [error] = asyncio_log.errors()
    assert error == "something\nalpha: 'two'\nzeta: 1"


def test_a_context_without_a_message_has_a_default_one(loop: Any, asyncio_log: Any) -> None:
    loop.call_exception_handler({})
    assert asyncio_log.errors() == ["Unhandled exception in event loop"]


def test_source_tracebacks_are_formatted(loop: Any, asyncio_log: Any) -> None:
    stack = traceback.extract_stack()
    loop.call_exception_handler(
        {"message": "something", "source_traceback": stack, "handle_traceback": stack}
    )
    [error] = asyncio_log.errors()
    assert "source_traceback: Object created at (most recent call last):\n" in error
    assert "handle_traceback: Handle created at (most recent call last):\n" in error


def test_the_default_handler_can_be_called_directly(loop: Any, asyncio_log: Any) -> None:
    error = ValueError("given")
    loop.set_exception_handler(lambda _loop, _context: None)
    loop.default_exception_handler({"message": "direct", "exception": error})
    [record] = [record for record in asyncio_log.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "direct"
    assert record.exc_info[1] is error


def test_ones_own_handler_gets_the_loop_and_the_context(loop: Any) -> None:
    trace = Trace()
    loop.set_exception_handler(trace.note)
    context = {"message": "something", "own": 1}
    loop.call_exception_handler(context)
    assert trace == [(loop, context)]
    assert trace[0][1] is context


def test_the_handler_can_be_asked_for_and_removed(loop: Any, asyncio_log: Any) -> None:
    trace = Trace()
    assert loop.get_exception_handler() is None
    handler = trace.note
    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    loop.call_exception_handler({"message": "by default again"})
    assert asyncio_log.errors() == ["by default again"]
    assert trace == []


def test_a_handler_must_be_callable(loop: Any) -> None:
    with pytest.raises(TypeError, match=r"^A callable object or None is expected, got 42$"):
        loop.set_exception_handler(42)
    assert loop.get_exception_handler() is None


def test_a_raising_handler_is_logged_with_what_it_was_given(loop: Any, asyncio_log: Any) -> None:
    trace = Trace()

    def handler(_loop: Any, _context: Any) -> None:
        raise LookupError("of the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(trace.note, "after")
    turn(loop)
    assert trace == ["after"]
    [record] = [record for record in asyncio_log.records if record.levelno >= logging.ERROR]
    assert record.getMessage().startswith(
        "Unhandled error in exception handler\ncontext: {'message': 'Exception in "
    )
    assert record.exc_info[0] is LookupError
    assert loop.get_exception_handler() is handler


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_handler_may_leave_the_loop(loop: Any, kind: Any) -> None:
    trace = Trace()

    def handler(_loop: Any, _context: Any) -> None:
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(trace.note, "after")
    with pytest.raises(kind):
        loop.run_forever()
    assert trace == []
    loop.set_exception_handler(None)
    turn(loop)
    assert trace == ["after"]


def test_a_handler_may_stop_the_loop(loop: Any) -> None:
    trace = Trace()
    loop.set_exception_handler(lambda loop, _context: loop.stop())
    loop.call_soon(fail)
    loop.call_soon(trace.note, "same turn")
    loop.run_forever()
    assert trace == ["same turn"]


def test_a_handler_may_be_replaced_while_it_runs(loop: Any) -> None:
    trace = Trace()

    def first(loop: Any, _context: Any) -> None:
        trace.note("first")
        loop.set_exception_handler(lambda _loop, _context: trace.note("second"))

    loop.set_exception_handler(first)
    loop.call_soon(fail)
    loop.call_soon(fail)
    turn(loop)
    assert trace == ["first", "second"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 the handler ran in no context of its own")
def test_the_handler_runs_in_the_context_of_what_failed(loop: Any) -> None:
    trace = Trace()
    context = contextvars.copy_context()
    context.run(variable.set, "of the callback")
    loop.set_exception_handler(lambda _loop, _context: trace.note(variable.get()))
    loop.call_soon(fail, context=context)
    turn(loop)

    async def lost() -> None:
        variable.set("of the task")
        raise ValueError

    task = loop.create_task(lost())
    turn(loop, 2)
    assert task.done()
    del task
    gc.collect()
    loop.call_exception_handler({"message": "of nothing"})
    assert trace == ["of the callback", "of the task", "unset"]


def test_a_subclass_may_bring_its_own_default_handler(
    implementation: Any, loop: Any, asyncio_log: Any
) -> None:
    trace = Trace()

    class Mine(type(loop)):  # type: ignore[misc]
        def default_exception_handler(self, context: Any) -> None:
            trace.note(context["message"])
            raise LookupError("of the default handler")

    mine = Mine()
    mine.call_exception_handler({"message": "something"})
    mine.close()
    assert trace == ["something"]
    [record] = [record for record in asyncio_log.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "Exception in default exception handler"
    assert record.exc_info[0] is LookupError


def test_a_subclass_may_override_call_exception_handler(loop: Any) -> None:
    trace = Trace()

    class Mine(type(loop)):  # type: ignore[misc]
        def call_exception_handler(self, context: Any) -> None:
            trace.note(type(context["exception"]))

    mine = Mine()
    mine.call_soon(fail)
    turn(mine)
    mine.close()
    assert trace == [ValueError]
