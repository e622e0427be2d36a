"""Task as a Python object: repr, stacks, private attributes, subclasses, weak references, collection."""

from __future__ import annotations

import asyncio
import gc
import io
import re
import weakref
from typing import Any

import pytest
from turns import Trace, turn

FILE = r".*test_tasks_objects\.py"


async def waits(future: Any) -> Any:
    return await future


async def outer(future: Any) -> Any:
    return await waits(future)


async def quick() -> int:
    return 42


def named(_task: Any) -> None:
    """A callback whose name shows in the representation."""


@pytest.fixture
def future(loop: Any) -> Any:
    return loop.create_future()


def test_the_representation_while_pending_and_running(loop: Any, future: Any) -> None:
    task = loop.create_task(waits(future), name="named")
    assert re.fullmatch(rf"<Task pending name='named' coro=<waits\(\) running at {FILE}:\d+>>", repr(task))
    turn(loop)
    waiting = r" wait_for=<Future pending cb=\[.+\]>"
    assert re.fullmatch(
        rf"<Task pending name='named' coro=<waits\(\) running at {FILE}:\d+>{waiting}>", repr(task)
    )
    assert repr(future) == f"<Future pending cb=[{callback_name(future)}]>"
    future.set_result(1)
    turn(loop)


def callback_name(future: Any) -> str:
    """How a waiting task appears among the callbacks: `Task.task_wakeup()` in asyncio."""
    match = re.fullmatch(r"<Future pending cb=\[(Task\.task_wakeup\(\))\]>", repr(future))
    assert match is not None, repr(future)
    return match.group(1)


def test_the_representation_when_done(loop: Any) -> None:
    async def fails() -> None:
        raise ValueError("text")

    finished, failed = loop.create_task(quick(), name="a"), loop.create_task(fails(), name="b")
    cancelled = loop.create_task(quick(), name="c")
    cancelled.cancel()
    turn(loop)
    assert re.fullmatch(
        rf"<Task finished name='a' coro=<quick\(\) done, defined at {FILE}:\d+> result=42>", repr(finished)
    )
    place = rf"coro=<test_the_representation_when_done\.<locals>\.fails\(\) done, defined at {FILE}:\d+>"
    assert re.fullmatch(rf"<Task finished name='b' {place} exception=ValueError\('text'\)>", repr(failed))
    assert re.fullmatch(
        rf"<Task cancelled name='c' coro=<quick\(\) done, defined at {FILE}:\d+>>", repr(cancelled)
    )
    failed.exception()


def test_the_representation_while_being_cancelled(loop: Any, future: Any) -> None:
    task = loop.create_task(waits(future), name="named")
    task.cancel()
    assert repr(task).startswith("<Task cancelling name='named' coro=<waits() running at ")
    turn(loop)


def test_the_representation_shows_the_callbacks(loop: Any) -> None:
    task = loop.create_task(quick(), name="named")
    task.add_done_callback(named)
    assert re.search(rf" cb=\[named\(\) at {FILE}:\d+\]>$", repr(task))
    turn(loop)


def test_a_task_that_awaits_a_task_shows_it(loop: Any, future: Any) -> None:
    inner = loop.create_task(waits(future), name="inner")
    task = loop.create_task(waits(inner), name="outer")
    turn(loop)
    assert "wait_for=<Task pending name='inner' coro=<waits() running at" in repr(task)
    future.set_result(1)
    loop.run_until_complete(task)


def test_the_place_of_the_coroutine_moves_on(loop: Any) -> None:
    async def two_steps() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def line() -> int:
        return int(re.search(r"running at .*:(\d+)>", repr(task)).group(1))  # type: ignore[union-attr]

    task = loop.create_task(two_steps())
    lines = [line()]
    for _ in range(2):
        turn(loop)
        lines.append(line())
    assert [number - lines[0] for number in lines] == [0, 1, 2]
    turn(loop)


def test_the_stack_of_a_waiting_task(loop: Any, future: Any) -> None:
    task = loop.create_task(outer(future))
    [frame] = task.get_stack()
    assert frame.f_code is outer.__code__
    turn(loop)
    [frame] = task.get_stack()
    assert frame.f_code is outer.__code__
    assert task.get_stack(limit=1) == [frame]
    future.set_result(1)
    turn(loop)
    assert task.get_stack() == []


def test_the_stack_of_a_failed_task_is_its_traceback(loop: Any) -> None:
    async def deepest() -> None:
        raise ValueError

    async def middle() -> None:
        await deepest()

    task = loop.create_task(middle())
    turn(loop)
    assert [frame.f_code for frame in task.get_stack()] == [middle.__code__, deepest.__code__]
    assert [frame.f_code for frame in task.get_stack(limit=1)] == [middle.__code__]
    task.exception()


def test_print_stack(loop: Any, future: Any) -> None:
    task = loop.create_task(waits(future), name="printed")
    turn(loop)
    written = io.StringIO()
    assert task.print_stack(file=written) is None
    lines = written.getvalue().splitlines()
    assert lines[0].startswith("Stack for <Task pending name='printed'") and lines[0].endswith(
        "(most recent call last):"
    )
    assert re.fullmatch(rf'  File "{FILE}", line \d+, in waits', lines[1])
    assert lines[2] == "    return await future"
    future.set_result(1)
    turn(loop)
    written = io.StringIO()
    task.print_stack(file=written)
    assert written.getvalue().startswith("No stack for <Task finished name='printed'")


def test_print_stack_of_a_failed_task_ends_with_the_exception(loop: Any) -> None:
    async def fails() -> None:
        raise ValueError("text")

    task = loop.create_task(fails())
    turn(loop)
    written = io.StringIO()
    task.print_stack(limit=5, file=written)
    lines = written.getvalue().splitlines()
    assert lines[0].startswith("Traceback for <Task finished")
    assert lines[-1] == "ValueError: text"
    task.exception()


def test_the_private_attributes(loop: Any, future: Any) -> None:
    coroutine = waits(future)
    task = loop.create_task(coroutine)
    assert (task._coro, task._fut_waiter, task._must_cancel, task._state) == (
        coroutine,
        None,
        False,
        "PENDING",
    )
    assert task._loop is loop
    assert task._asyncio_future_blocking is False
    assert task._log_traceback is False
    assert task._log_destroy_pending is True
    assert task._num_cancels_requested == 0 if hasattr(task, "_num_cancels_requested") else True
    assert task._callbacks is None or task._callbacks == []
    turn(loop)
    assert task._fut_waiter is future
    future.set_result(1)
    turn(loop)
    assert (task._state, task._result, task._exception, task._fut_waiter) == ("FINISHED", 1, None, None)


def test_a_pending_task_that_is_dropped_after_its_loop_is_reported(loop: Any, loop_errors: Any) -> None:
    task = loop.create_task(waits(loop.create_future()), name="dropped")
    turn(loop)
    loop.close()
    del task
    gc.collect()
    [context] = loop_errors
    assert context["message"] == "Task was destroyed but it is pending!"
    assert repr(context["task"]).startswith("<Task pending name='dropped' coro=<waits() ")
    assert set(context) == {"task", "message"}


def test_debug_mode_says_where_a_dropped_task_was_made(loop: Any, loop_errors: Any) -> None:
    loop.set_debug(True)
    task = loop.create_task(waits(loop.create_future()))
    turn(loop)
    loop.close()
    del task
    gc.collect()
    [context] = loop_errors
    names = [frame.name for frame in context["source_traceback"]]
    assert "test_debug_mode_says_where_a_dropped_task_was_made" in names[-2:]


def test_the_report_of_a_dropped_task_can_be_switched_off(loop: Any, loop_errors: Any) -> None:
    task = loop.create_task(waits(loop.create_future()))
    turn(loop)
    task._log_destroy_pending = False
    loop.close()
    del task
    gc.collect()
    assert loop_errors == []


def test_a_task_dropped_after_its_loop_closes_its_coroutine(loop: Any, loop_errors: Any) -> None:
    trace = Trace()

    async def work() -> None:
        try:
            await loop.create_future()
        finally:
            trace.note("closed")

    task = loop.create_task(work())
    turn(loop)
    loop.close()
    del task
    gc.collect()
    # The report brought the task back; it goes for good with the report.
    loop_errors.clear()
    gc.collect()
    assert trace == ["closed"]


@pytest.mark.rasyncio_only(
    reason="asyncio holds tasks weakly, so it loses a waiting task that nobody else refers to"
)
def test_a_waiting_task_that_nobody_refers_to_is_not_lost(loop: Any) -> None:
    async def work() -> None:
        await loop.create_future()

    reference = weakref.ref(loop.create_task(work()))
    turn(loop)
    gc.collect()
    assert reference() in asyncio.all_tasks(loop)


def test_the_loop_keeps_a_task_that_is_about_to_step(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        for number in range(3):
            trace.note(number)
            await asyncio.sleep(0)

    loop.create_task(work())
    gc.collect()
    turn(loop, 2)
    gc.collect()
    turn(loop, 2)
    assert trace == [0, 1, 2]


def test_a_future_keeps_the_task_that_waits_for_it(loop: Any, future: Any) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note(await future)

    reference = weakref.ref(loop.create_task(work()))
    turn(loop)
    gc.collect()
    assert reference() is not None
    future.set_result("result")
    turn(loop)
    gc.collect()
    assert trace == ["result"]
    assert reference() is None


def test_never_retrieved_is_reported_when_the_task_goes(loop: Any, loop_errors: Any) -> None:
    error = ValueError("lost")

    async def fails() -> None:
        raise error

    task = loop.create_task(fails(), name="failed")
    turn(loop)
    assert loop_errors == []
    del task
    gc.collect()
    [context] = loop_errors
    assert context["message"] == "Task exception was never retrieved"
    assert context["exception"] is error
    assert context["future"].get_name() == "failed"


def test_a_subclass_that_could_not_start_is_destroyed_and_says_so(
    loop: Any, loop_errors: Any, implementation: Any
) -> None:
    class Mine(implementation.task_type):  # type: ignore[misc]
        pass

    loop.close()
    work = quick()
    with pytest.raises(RuntimeError, match="closed"):
        Mine(work, loop=loop)
    work.close()
    gc.collect()
    assert [context["message"] for context in loop_errors] == ["Task was destroyed but it is pending!"]
    loop_errors.clear()
    assert asyncio.all_tasks(loop) == set()


def test_a_done_task_is_dropped_when_nobody_holds_it(loop: Any) -> None:
    task = loop.create_task(quick())
    reference = weakref.ref(task)
    turn(loop)
    del task
    assert reference() is None


def test_a_task_in_a_cycle_with_its_coroutine_is_collected(loop: Any) -> None:
    async def work() -> None:
        holder.append(asyncio.current_task())
        await asyncio.sleep(0)

    holder: list[Any] = []
    task = loop.create_task(work())
    turn(loop, 2)
    task.add_done_callback(holder.append)
    turn(loop)
    reference = weakref.ref(task)
    del task
    holder.clear()
    gc.collect()
    assert reference() is None


def test_a_task_whose_result_is_itself_is_collected(loop: Any) -> None:
    async def work() -> Any:
        return asyncio.current_task()

    task = loop.create_task(work())
    turn(loop)
    reference = weakref.ref(task)
    del task
    gc.collect()
    assert reference() is None


def test_a_subclass_has_attributes_of_its_own(loop: Any, implementation: Any) -> None:
    class Mine(implementation.task_type):  # type: ignore[misc]
        def __init__(self, *arguments: Any, label: str, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.label = label

    task = Mine(quick(), loop=loop, label="mine")
    assert task.label == "mine"
    assert repr(task).startswith("<Mine pending name='Task-")
    assert isinstance(task, asyncio.Task)
    assert loop.run_until_complete(task) == 42


def test_the_overridden_methods_of_a_subclass_are_used(loop: Any, implementation: Any) -> None:
    trace = Trace()

    class Mine(implementation.task_type):  # type: ignore[misc]
        def cancel(self, msg: Any = None) -> bool:
            trace.note("cancel", self.get_name())
            return bool(super().cancel(msg))

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            trace.note("add_done_callback", self.get_name())
            super().add_done_callback(callback, context=context)

    inner = Mine(waits(loop.create_future()), loop=loop, name="inner")
    task = Mine(waits(inner), loop=loop, name="outer")
    turn(loop)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert trace[:3] == [("add_done_callback", "inner"), ("cancel", "outer"), ("cancel", "inner")]


def test_a_plain_task_takes_attributes_too(loop: Any) -> None:
    task = loop.create_task(quick())
    task.of_a_library = 1
    assert task.of_a_library == 1
    turn(loop)


def test_the_class_is_generic_in_annotations(implementation: Any) -> None:
    assert implementation.task_type[int].__args__ == (int,)


def test_hash_equality_and_sets(loop: Any) -> None:
    tasks = [loop.create_task(quick()) for _ in range(3)]
    assert len(set(tasks)) == 3
    assert tasks[0] != tasks[1]
    assert {tasks[0]: 1}[tasks[0]] == 1
    turn(loop)
