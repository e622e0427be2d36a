"""Task: making one, its name and context, how it steps, what it returns and raises."""

from __future__ import annotations

import asyncio
import contextvars
import re
import sys
from collections.abc import Generator
from typing import Any

import pytest
from turns import Trace, turn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def answer() -> int:
    return 42


async def fail(error: BaseException) -> None:
    raise error


def test_create_task_makes_a_task_of_the_module(loop: Any, implementation: Any) -> None:
    task = loop.create_task(answer())
    assert type(task) is implementation.task_type
    assert isinstance(task, asyncio.Task) and isinstance(task, asyncio.Future)
    assert isinstance(task, implementation.future_type)
    assert asyncio.isfuture(task)
    assert task.get_loop() is loop
    assert loop.run_until_complete(task) == 42


def test_a_task_does_not_begin_before_the_next_turn(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note("begun")

    task = loop.create_task(work())
    assert trace == [] and not task.done()
    turn(loop)
    assert trace == ["begun"] and task.done()


def test_tasks_begin_in_the_order_of_their_making_among_callbacks(loop: Any) -> None:
    trace = Trace()

    async def work(name: str) -> None:
        trace.note(name)

    loop.call_soon(trace.note, "callback 1")
    tasks = [loop.create_task(work("task 1"))]
    loop.call_soon(trace.note, "callback 2")
    tasks.append(loop.create_task(work("task 2")))
    turn(loop)
    assert trace == ["callback 1", "task 1", "callback 2", "task 2"]
    assert all(task.done() for task in tasks)


def test_result_and_exception(loop: Any) -> None:
    task = loop.create_task(answer())
    with pytest.raises(asyncio.InvalidStateError, match=r"Result is not (set|ready)"):
        task.result()
    with pytest.raises(asyncio.InvalidStateError, match="Exception is not set"):
        task.exception()
    turn(loop)
    assert (task.result(), task.exception(), task.cancelled()) == (42, None, False)
    error = ValueError("of the task")
    task = loop.create_task(fail(error))
    turn(loop)
    assert task.exception() is error
    with pytest.raises(ValueError) as caught:
        task.result()
    assert caught.value is error


def test_a_task_cannot_be_set_from_outside(loop: Any) -> None:
    task = loop.create_task(answer())
    with pytest.raises(RuntimeError, match=r"^Task does not support set_result operation$"):
        task.set_result(1)
    with pytest.raises(RuntimeError, match=r"^Task does not support set_exception operation$"):
        task.set_exception(ValueError())
    turn(loop)
    assert task.result() == 42


@pytest.mark.parametrize("thing", [None, 42, answer, "text", object()])
def test_only_coroutines_make_tasks(loop: Any, thing: Any) -> None:
    with pytest.raises(TypeError, match=r"^a coroutine was expected, got "):
        loop.create_task(thing)


def test_a_future_makes_no_task(loop: Any) -> None:
    with pytest.raises(TypeError, match=r"^a coroutine was expected, got <Future pending>$"):
        loop.create_task(loop.create_future())


def test_a_task_by_its_class(loop: Any, run: Any, implementation: Any) -> None:
    task = implementation.task_type(answer(), loop=loop, name="by its class")
    assert task.get_name() == "by its class"
    assert loop.run_until_complete(task) == 42

    async def inside() -> Any:
        return await implementation.task_type(answer())

    assert run(inside) == 42


def test_the_class_takes_keywords_only(loop: Any, implementation: Any) -> None:
    coroutine = answer()
    with pytest.raises(TypeError):
        implementation.task_type(coroutine, loop)
    with pytest.raises(TypeError):
        implementation.task_type(coroutine, loop=loop, wrong=1)
    coroutine.close()
    with pytest.raises(TypeError):
        implementation.task_type(loop=loop)


def test_names(loop: Any) -> None:
    given = loop.create_task(answer(), name="given")
    automatic = [loop.create_task(answer()) for _ in range(2)]
    assert given.get_name() == "given"
    numbers = [int(re.fullmatch(r"Task-(\d+)", task.get_name()).group(1)) for task in automatic]  # type: ignore[union-attr]
    assert numbers[1] == numbers[0] + 1
    assert given.set_name("renamed") is None
    assert given.get_name() == "renamed"
    given.set_name(123)
    assert given.get_name() == "123"
    assert loop.create_task(answer(), name=456).get_name() == "456"
    turn(loop)


def test_tasks_without_a_name_are_numbered_by_their_kind(loop: Any) -> None:
    """asyncio's own class, used beside ours, counts for itself."""
    tasks = [loop.create_task(answer()), asyncio.Task(answer(), loop=loop), loop.create_task(answer())]
    first, _, last = (int(task.get_name().removeprefix("Task-")) for task in tasks)
    assert last - first == (2 if type(tasks[0]) is type(tasks[1]) else 1)
    turn(loop)


def test_a_task_runs_in_a_copy_of_the_context_of_its_making(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note(variable.get())
        variable.set("inside")
        await asyncio.sleep(0)
        trace.note(variable.get())

    token = variable.set("when made")
    task = loop.create_task(work())
    variable.reset(token)
    loop.run_until_complete(task)
    assert trace == ["when made", "inside"]
    assert variable.get() == "unset"


def test_a_task_runs_in_the_context_it_was_given(loop: Any) -> None:
    async def work() -> str:
        before = variable.get()
        variable.set("changed")
        await asyncio.sleep(0)
        return before

    context = contextvars.copy_context()
    context.run(variable.set, "given")
    task = loop.create_task(work(), context=context)
    assert loop.run_until_complete(task) == "given"
    assert context[variable] == "changed"
    assert variable.get() == "unset"


def test_context_none_means_a_copy(loop: Any) -> None:
    async def work() -> None:
        variable.set("inside")

    loop.run_until_complete(loop.create_task(work(), context=None))
    assert variable.get() == "unset"


@pytest.mark.skipif(sys.version_info < (3, 15), reason="until then it fails the first step")
def test_what_is_no_context_is_refused(loop: Any, implementation: Any) -> None:
    for make in (
        loop.create_task,
        lambda work, context: implementation.task_type(work, loop=loop, context=context),
    ):
        work = answer()
        with pytest.raises(TypeError, match=r"a contextvars\.Context was expected, got int"):
            make(work, context=5)
        work.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Task.get_context came with 3.12")
def test_get_context(loop: Any) -> None:
    context = contextvars.copy_context()
    task = loop.create_task(answer(), context=context)
    assert task.get_context() is context
    other = loop.create_task(answer())
    assert isinstance(other.get_context(), contextvars.Context)
    turn(loop)


def test_get_coro(loop: Any) -> None:
    coroutine = answer()
    task = loop.create_task(coroutine)
    assert task.get_coro() is coroutine
    assert task._coro is coroutine
    turn(loop)
    assert task.get_coro() is coroutine


def test_the_coroutine_is_done_when_the_task_is(loop: Any) -> None:
    task = loop.create_task(answer())
    turn(loop)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        task.get_coro().send(None)


def test_current_task(loop: Any, run: Any) -> None:
    async def look() -> tuple[Any, Any]:
        return asyncio.current_task(), asyncio.current_task(loop)

    async def main() -> None:
        task = asyncio.ensure_future(look())
        assert await task == (task, task)
        assert asyncio.current_task() is not task

    run(main)
    assert asyncio.current_task(loop) is None


def test_all_tasks(loop: Any, run: Any) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        assert asyncio.all_tasks() == {me}
        others = {asyncio.ensure_future(answer()) for _ in range(3)}
        assert asyncio.all_tasks() == {me} | others
        assert asyncio.all_tasks(loop) == {me} | others
        await asyncio.wait(others)
        assert asyncio.all_tasks() == {me}

    run(main)
    assert asyncio.all_tasks(loop) == set()


def test_all_tasks_of_another_loop_are_not_mixed_in(loop: Any, implementation: Any) -> None:
    other = implementation.new_event_loop()
    task = other.create_task(answer())
    assert asyncio.all_tasks(loop) == set()
    assert asyncio.all_tasks(other) == {task}
    other.run_until_complete(task)
    other.close()


def test_a_bare_yield_gives_the_others_a_turn(loop: Any) -> None:
    trace = Trace()

    async def work(name: str) -> None:
        for number in range(3):
            trace.note(name, number)
            await asyncio.sleep(0)

    tasks = [loop.create_task(work(name)) for name in "ab"]
    turn(loop, 4)
    assert all(task.done() for task in tasks)
    assert trace == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


class Yields:
    """An awaitable that yields whatever it was given, and notes what was thrown in."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield self.value)


def test_yielding_something_odd_is_an_error_in_the_coroutine(loop: Any, run: Any) -> None:
    async def main(value: Any) -> Any:
        try:
            await Yields(value)
        except RuntimeError as error:
            return str(error)

    assert run(main(42)) == "Task got bad yield: 42"
    assert run(main(object)) == f"Task got bad yield: {object!r}"
    generator = (character for character in "")
    text = run(main(generator))
    assert text.startswith("yield was used instead of yield from for generator in task <Task pending")
    assert text.endswith(f"with {generator!r}")


def test_yielding_a_future_without_await_is_an_error(loop: Any, run: Any) -> None:
    async def main() -> Any:
        future = loop.create_future()
        with pytest.raises(
            RuntimeError, match=r"^yield was used instead of yield from in task <Task pending"
        ):
            await Yields(future)
        future.cancel()

    run(main)


def test_yielding_none_is_a_turn(loop: Any, run: Any) -> None:
    async def main() -> Any:
        return await Yields(None)

    assert run(main) is None


def test_a_task_cannot_await_itself(loop: Any, run: Any) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        with pytest.raises(RuntimeError, match=r"^Task cannot await on itself: <Task pending name='me'"):
            await task  # type: ignore[misc]

    loop.run_until_complete(loop.create_task(main(), name="me"))


def test_a_future_of_another_loop_cannot_be_awaited(loop: Any, run: Any, implementation: Any) -> None:
    other = implementation.new_event_loop()
    theirs = other.create_future()

    async def main() -> None:
        with pytest.raises(
            RuntimeError, match=r"^Task <Task pending .* got Future <Future pending> attached to a diff"
        ):
            await theirs

    run(main)
    other.close()


def test_a_coroutine_cannot_be_in_two_tasks(loop: Any) -> None:
    async def waits() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    coroutine = waits()
    first, second = loop.create_task(coroutine), loop.create_task(coroutine)
    loop.run_until_complete(first)
    turn(loop)
    assert first.exception() is None or second.exception() is None
    assert isinstance(second.exception() or first.exception(), RuntimeError)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_ends_the_task_and_the_run(loop: Any, kind: Any) -> None:
    error = kind()
    task = loop.create_task(fail(error))
    with pytest.raises(kind):
        loop.run_until_complete(task)
    assert task.exception() is error


def test_another_base_exception_ends_the_task_only(loop: Any) -> None:
    class Odd(BaseException):
        pass

    error = Odd()
    task = loop.create_task(fail(error))
    turn(loop)
    assert task.exception() is error


def test_stop_iteration_in_a_coroutine_is_a_runtime_error(loop: Any) -> None:
    task = loop.create_task(fail(StopIteration(3)))
    turn(loop)
    error = task.exception()
    assert isinstance(error, RuntimeError)
    assert str(error) == "coroutine raised StopIteration"


def test_awaiting_a_task_twice_gives_the_result_twice(loop: Any, run: Any) -> None:
    async def main() -> Any:
        task = asyncio.ensure_future(answer())
        return await task, await task

    assert run(main) == (42, 42)


def test_the_waiter_is_shown_while_it_waits(loop: Any) -> None:
    async def wait(future: Any) -> None:
        await future

    future = loop.create_future()
    task = loop.create_task(wait(future))
    assert [task._fut_waiter] == [None]
    turn(loop)
    assert [task._fut_waiter] == [future]
    future.set_result(None)
    turn(loop)
    assert [task._fut_waiter] == [None]
    assert task.done()


def test_how_many_turns_it_takes_to_wake(loop: Any) -> None:
    """One for the callback of the future, within which the task steps."""
    trace = Trace()

    async def wait(future: Any) -> None:
        await future
        trace.note("woken")

    future = loop.create_future()
    task = loop.create_task(wait(future))
    turn(loop)
    future.set_result(None)
    assert trace == []
    turn(loop)
    assert trace == ["woken"]
    assert task.done()


def test_a_task_waiting_for_a_task_wakes_the_turn_after(loop: Any) -> None:
    trace = Trace()

    async def inner() -> None:
        trace.note("inner")

    async def outer() -> None:
        await asyncio.ensure_future(inner())
        trace.note("outer")

    task = loop.create_task(outer())
    seen = []
    for _ in range(4):
        turn(loop)
        seen.append(list(trace))
    assert seen == [[], ["inner"], ["inner", "outer"], ["inner", "outer"]]
    assert task.done()
