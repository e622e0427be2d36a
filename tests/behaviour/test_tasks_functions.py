"""create_task, ensure_future, current_task, all_tasks, eager task factories: functions around tasks."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import types
from collections.abc import Generator
from typing import Any

import pytest
from turns import current_loop

eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")


class Awaitable:
    def __await__(self) -> Generator[Any, None, str]:
        yield
        return "awaited"


def test_create_task_names_and_contexts(run: Any, aio: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def work() -> int:
        return variable.get()

    async def main() -> None:
        context = contextvars.copy_context()
        context.run(variable.set, 5)
        task = aio.create_task(work(), name="named", context=context)
        assert task.get_name() == "named"
        assert isinstance(task, asyncio.Task)
        assert await task == 5
        assert aio.create_task(work(), name=None, context=None).get_name().startswith("Task-")

    run(main)


def test_create_task_needs_a_loop_and_a_coroutine(run: Any, aio: Any) -> None:
    coroutine = aio.sleep(0)
    with pytest.raises(RuntimeError, match=r"^no running event loop$"):
        aio.create_task(coroutine)

    async def main() -> None:
        for wrong in (5, asyncio.get_running_loop().create_future()):
            with pytest.raises(TypeError, match="a coroutine was expected"):
                aio.create_task(wrong)
        with pytest.raises(TypeError):
            aio.create_task(coroutine, surprise=1)
        with pytest.raises(TypeError):
            aio.create_task(coroutine, "name")
        with pytest.raises(TypeError):
            aio.create_task()

    run(main)
    coroutine.close()


def test_ensure_future_of_each_kind(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        assert aio.ensure_future(future) is future
        assert aio.ensure_future(future, loop=loop) is future
        task = aio.ensure_future(aio.sleep(0, "slept"))
        assert isinstance(task, asyncio.Task) and await task == "slept"
        assert aio.ensure_future(task) is task
        wrapped = aio.ensure_future(Awaitable())
        assert isinstance(wrapped, asyncio.Task)
        assert isinstance(wrapped.get_coro(), types.CoroutineType) or sys.version_info < (3, 12)
        assert await wrapped == "awaited"
        for wrong in (5, None, "text"):
            with pytest.raises(
                TypeError, match=r"^An asyncio.Future, a coroutine or an awaitable is required$"
            ):
                aio.ensure_future(wrong)

    run(main)


def test_ensure_future_of_a_generator_based_coroutine(run: Any, aio: Any) -> None:
    @types.coroutine
    def old() -> Generator[None, None, str]:
        yield
        return "old"

    async def main() -> None:
        assert await aio.ensure_future(old()) == "old"

    run(main)


def test_ensure_future_refuses_another_loop(loop: Any, implementation: Any, aio: Any) -> None:
    other = implementation.new_event_loop()
    try:
        future = loop.create_future()
        with pytest.raises(
            ValueError, match=r"^The future belongs to a different loop than the one specified"
        ):
            aio.ensure_future(future, loop=other)
    finally:
        other.close()


def test_ensure_future_on_a_closed_loop_closes_the_coroutine(loop: Any, aio: Any) -> None:
    loop.close()
    coroutine = aio.sleep(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        aio.ensure_future(coroutine, loop=loop)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


def test_ensure_future_outside_of_a_loop_takes_the_current_one(loop: Any, aio: Any) -> None:
    with current_loop(loop):
        task = aio.ensure_future(aio.sleep(0, 1))
    assert task.get_loop() is loop
    assert loop.run_until_complete(task) == 1


def test_current_and_all_tasks(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        own = aio.current_task()
        assert own is asyncio.current_task(loop)
        other = aio.create_task(aio.sleep(0))
        assert aio.all_tasks() == {own, other}
        await other
        assert aio.all_tasks(loop) == {own}

    run(main)
    assert aio.all_tasks(loop) == set()
    with pytest.raises(RuntimeError):
        aio.current_task()


@eager
def test_eager_tasks_run_at_once(loop: Any, run: Any, aio: Any) -> None:
    async def work(delay: float | None) -> Any:
        if delay is not None:
            await aio.sleep(delay)
        return aio.current_task()

    async def main() -> None:
        own = aio.current_task()
        loop.set_task_factory(aio.eager_task_factory)
        done, waiting = aio.create_task(work(None), name="done"), aio.create_task(work(0))
        assert done.done() and done.result() is done and done.get_name() == "done"
        assert not waiting.done() and waiting in aio.all_tasks()
        assert aio.current_task() is own
        assert await waiting is waiting
        loop.set_task_factory(None)
        assert not aio.create_task(work(None)).done()

    run(main)


@eager
def test_an_eager_task_that_fails(loop: Any, run: Any, aio: Any) -> None:
    async def failing() -> None:
        raise KeyError("k")

    async def main() -> None:
        loop.set_task_factory(aio.eager_task_factory)
        task = aio.create_task(failing())
        assert task.done()
        with pytest.raises(KeyError):
            await task

    run(main)


@eager
def test_eager_factories_of_other_tasks(loop: Any, run: Any, aio: Any) -> None:
    calls: list[Any] = []

    class Own(aio.Task):  # type: ignore[misc]
        pass

    def construct(coroutine: Any, **options: Any) -> Any:
        calls.append(sorted(name for name in options if options[name] is not None))
        return Own(coroutine, **options)

    async def work() -> int:
        return 1

    async def main() -> None:
        factory = aio.create_eager_task_factory(construct)
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        task = aio.create_task(work(), name="n")
        assert type(task) is Own and task.done() and task.get_name() == "n"

    run(main)
    assert calls[0][:1] == ["eager_start"] and "loop" in calls[0]


@eager
def test_eager_outside_of_a_running_loop_waits(loop: Any, aio: Any) -> None:
    async def work() -> int:
        return 1

    task = aio.eager_task_factory(loop, work())
    assert not task.done()
    assert loop.run_until_complete(task) == 1


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("gather", "(*coros_or_futures, return_exceptions=False)"),
        ("wait", "(fs, *, timeout=None, return_when='ALL_COMPLETED')"),
        ("wait_for", "(fut, timeout)"),
        ("as_completed", "(fs, *, timeout=None)"),
        ("shield", "(arg)"),
        ("ensure_future", "(coro_or_future, *, loop=None)"),
        ("run_coroutine_threadsafe", "(coro, loop)"),
        ("wrap_future", "(future, *, loop=None)"),
        ("to_thread", "(func, /, *args, **kwargs)"),
    ],
)
def test_signatures(aio: Any, name: str, signature: str) -> None:
    function = getattr(aio, name)
    assert str(inspect.signature(function)) == signature
    assert function.__name__ == name and inspect.getdoc(function)


def test_the_stack_of_a_task(run: Any, aio: Any, capsys: Any) -> None:
    async def deep() -> None:
        await aio.sleep(10)

    async def main() -> None:
        task = aio.create_task(deep(), name="deep one")
        await aio.sleep(0)
        [frame] = task.get_stack()
        assert frame.f_code.co_name == "deep"
        task.print_stack()
        assert "in deep\n" in capsys.readouterr().err
        task.cancel()

    run(main)


@pytest.mark.rasyncio_only(reason="asyncio's functions are Python code, whose frames tell more")
def test_the_frame_of_a_native_coroutine_tells_its_name_alone(aio: Any) -> None:
    coroutine = aio.sleep(0)
    frame = coroutine.cr_frame
    assert (frame.f_code.co_filename, frame.f_lineno, frame.f_locals) == ("<rasyncio>", 1, {})
    assert frame.f_code is coroutine.cr_code
    assert coroutine.__class__ is types.CoroutineType
    assert type(coroutine) is not types.CoroutineType
    coroutine.close()


def test_the_stack_of_a_task_that_runs_one_of_these_functions(aio: Any, run: Any, capsys: Any) -> None:
    async def main() -> None:
        task = aio.create_task(aio.sleep(10))
        await aio.sleep(0)
        [frame] = task.get_stack()
        assert frame.f_code.co_name == "sleep"
        assert " coro=<sleep() running at " in repr(task)
        task.print_stack()
        assert "in sleep\n" in capsys.readouterr().err
        task.cancel()

    run(main)
