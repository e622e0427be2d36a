"""Task factories, eager tasks, and the options newer versions of asyncio know."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest
from turns import Trace, turn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

newer: Any = asyncio
"""asyncio again, for the names that the oldest version this is checked against has not got."""

needs_eager_factory = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="eager_task_factory came with 3.12"
)
needs_eager_start = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="create_task(eager_start=) came with 3.14"
)


async def answer() -> int:
    return 42


def test_a_factory_makes_the_tasks(loop: Any, implementation: Any) -> None:
    trace = Trace()

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        trace.note(loop, coroutine)
        return implementation.task_type(coroutine, loop=loop, **options)

    assert loop.get_task_factory() is None
    assert loop.set_task_factory(factory) is None
    assert loop.get_task_factory() is factory
    coroutine = answer()
    task = loop.create_task(coroutine)
    assert trace == [(loop, coroutine)]
    assert loop.run_until_complete(task) == 42
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    loop.run_until_complete(answer())
    assert len(trace) == 1


def test_run_until_complete_and_ensure_future_use_the_factory(
    loop: Any, run: Any, implementation: Any
) -> None:
    trace = Trace()

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        trace.note(coroutine.__name__)
        return implementation.task_type(coroutine, loop=loop, **options)

    async def main() -> None:
        await asyncio.gather(asyncio.ensure_future(answer()), asyncio.create_task(answer()), answer())

    loop.set_task_factory(factory)
    run(main)
    assert trace == ["main", "answer", "answer", "answer"]


def test_a_factory_may_return_a_task_of_another_kind(loop: Any) -> None:
    class Mine(asyncio.Task):  # type: ignore[type-arg]
        pass

    loop.set_task_factory(lambda loop, coroutine, **options: Mine(coroutine, loop=loop, **options))
    task = loop.create_task(answer())
    assert type(task) is Mine
    assert loop.run_until_complete(task) == 42


def test_a_factory_gets_the_context(loop: Any) -> None:
    trace = Trace()

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        trace.note(options.get("context"))
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    context = contextvars.copy_context()
    loop.run_until_complete(loop.create_task(answer(), context=context))
    assert trace == [context]


def test_the_name_reaches_the_task_a_factory_makes(loop: Any, implementation: Any) -> None:
    loop.set_task_factory(
        lambda loop, coroutine, **options: implementation.task_type(coroutine, loop=loop, **options)
    )
    task = loop.create_task(answer(), name="given")
    assert task.get_name() == "given"
    turn(loop)


@pytest.mark.parametrize("thing", [42, "text", object()])
def test_a_factory_must_be_callable(loop: Any, thing: Any) -> None:
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(thing)


def test_a_factory_that_raises_raises_from_create_task(loop: Any) -> None:
    def factory(_loop: Any, _coroutine: Any, **_options: Any) -> Any:
        raise LookupError("of the factory")

    loop.set_task_factory(factory)
    coroutine = answer()
    with pytest.raises(LookupError, match="of the factory"):
        loop.create_task(coroutine)
    coroutine.close()


def test_create_task_refuses_unknown_options(loop: Any) -> None:
    coroutine = answer()
    with pytest.raises(TypeError):
        loop.create_task(coroutine, wrong=1)
    with pytest.raises(TypeError):
        loop.create_task(coroutine, "positional name")
    with pytest.raises(TypeError):
        loop.create_task()
    coroutine.close()


@needs_eager_factory
def test_an_eager_task_that_does_not_wait_is_done_at_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        task = asyncio.create_task(answer())
        assert task.done()
        assert task.result() == 42
        assert await task == 42

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@needs_eager_factory
def test_an_eager_task_goes_on_where_it_waited(loop: Any, run: Any) -> None:
    trace = Trace()

    async def work() -> str:
        trace.note("begun")
        await asyncio.sleep(0)
        trace.note("went on")
        return "done"

    async def main() -> None:
        task = asyncio.create_task(work())
        trace.note("made")
        assert not task.done()
        trace.note(await task)

    loop.set_task_factory(newer.eager_task_factory)
    run(main)
    assert trace == ["begun", "made", "went on", "done"]


@needs_eager_factory
def test_an_eager_task_is_the_current_one_while_it_begins(loop: Any, run: Any) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note(asyncio.current_task())

    async def main() -> None:
        me = asyncio.current_task()
        task = asyncio.create_task(work(), name="eager")
        assert asyncio.current_task() is me
        assert trace == [task] and task.get_name() == "eager"

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@needs_eager_factory
def test_an_eager_task_that_fails_keeps_its_exception(loop: Any, run: Any) -> None:
    async def fails() -> None:
        raise ValueError("eagerly")

    async def main() -> None:
        task = asyncio.create_task(fails())
        assert task.done()
        with pytest.raises(ValueError, match="eagerly"):
            await task

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@needs_eager_factory
def test_an_eager_task_has_a_context_of_its_own(loop: Any, run: Any) -> None:
    async def work() -> str:
        before = variable.get()
        variable.set("inside")
        return before

    async def main() -> None:
        variable.set("outside")
        assert await asyncio.create_task(work()) == "outside"
        assert variable.get() == "outside"

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@needs_eager_factory
def test_an_eager_task_may_make_eager_tasks(loop: Any, run: Any) -> None:
    trace = Trace()

    async def nest(depth: int) -> None:
        trace.note("in", depth)
        if depth:
            await asyncio.create_task(nest(depth - 1))
        trace.note("out", depth)

    loop.set_task_factory(newer.eager_task_factory)
    run(nest(2))
    assert trace == [("in", 2), ("in", 1), ("in", 0), ("out", 0), ("out", 1), ("out", 2)]


@needs_eager_factory
def test_an_eager_task_is_among_all_tasks_once_it_waits(loop: Any, run: Any) -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    async def main() -> None:
        task = asyncio.create_task(work())
        assert task in asyncio.all_tasks()
        finished = asyncio.create_task(answer())
        assert finished not in asyncio.all_tasks()
        assert await task == 2

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@needs_eager_factory
def test_an_eager_task_is_among_all_tasks_while_it_begins(loop: Any, run: Any) -> None:
    async def work() -> set[Any]:
        return asyncio.all_tasks()

    async def main() -> None:
        task = asyncio.create_task(work())
        assert task.done() and task in task.result()
        assert task not in asyncio.all_tasks()

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@needs_eager_factory
def test_an_eager_task_can_be_cancelled_once_it_waits(loop: Any, run: Any) -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(3600))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@needs_eager_factory
def test_outside_of_the_running_loop_nothing_begins_eagerly(loop: Any) -> None:
    trace = Trace()

    async def work() -> None:
        trace.note("begun")

    loop.set_task_factory(newer.eager_task_factory)
    task = loop.create_task(work())
    assert trace == [] and not task.done()
    loop.run_until_complete(task)
    assert trace == ["begun"]


@needs_eager_factory
def test_the_class_can_start_eagerly(loop: Any, run: Any, implementation: Any) -> None:
    async def main() -> None:
        task = implementation.task_type(answer(), loop=loop, eager_start=True)
        assert task.done()
        task = implementation.task_type(answer(), loop=loop, eager_start=False)
        assert not task.done()
        await task
        # Loops hand on what they were called with, uvloop None.
        task = implementation.task_type(answer(), loop=loop, eager_start=None)
        assert not task.done()
        await task
        assert implementation.task_type(answer(), loop=loop, eager_start="yes").done()

    run(main)


@needs_eager_factory
def test_a_factory_of_ones_own_class_that_starts_eagerly(loop: Any, run: Any, implementation: Any) -> None:
    class Mine(implementation.task_type):  # type: ignore[misc]
        pass

    async def main() -> None:
        task = asyncio.create_task(answer())
        assert type(task) is Mine
        assert task.done()

    loop.set_task_factory(newer.create_eager_task_factory(Mine))
    run(main)


@needs_eager_start
def test_create_task_can_start_eagerly(loop: Any, run: Any) -> None:
    async def main() -> None:
        assert loop.create_task(answer(), eager_start=True).done()
        assert newer.create_task(answer(), eager_start=True).done()
        task = loop.create_task(answer(), eager_start=False)
        assert not task.done()
        assert await task == 42

    run(main)


@needs_eager_start
def test_an_eager_factory_can_be_overruled(loop: Any, run: Any) -> None:
    async def main() -> None:
        lazy = loop.create_task(answer(), eager_start=False)
        assert not lazy.done()
        assert await lazy == 42

    loop.set_task_factory(newer.eager_task_factory)
    run(main)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="eager_start is an option from 3.14 on")
@pytest.mark.skipif(
    (3, 13, 3) <= sys.version_info < (3, 14), reason="3.13.3 and later hand options to the task class"
)
def test_create_task_has_no_such_option_yet(loop: Any) -> None:
    coroutine = answer()
    with pytest.raises(TypeError):
        loop.create_task(coroutine, eager_start=True)
    coroutine.close()


@needs_eager_factory
def test_an_eager_factory_shows_what_makes_its_tasks(implementation: Any) -> None:
    """anyio tells an eager factory by its code, and calls what stands in its closure itself."""
    aio: Any = implementation.module

    def construct(coro: Any, **options: Any) -> Any:
        raise NotImplementedError

    made = aio.create_eager_task_factory(construct)
    assert made.__code__ is aio.eager_task_factory.__code__
    assert made.__closure__[0].cell_contents is construct
    assert aio.eager_task_factory.__closure__[0].cell_contents is aio.Task
