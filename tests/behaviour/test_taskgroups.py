"""TaskGroup: waiting for all, errors of tasks and of the block, cancellation from every side."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import weakref
from typing import Any

import pytest
from turns import Trace


def current() -> Any:
    return asyncio.current_task()


async def failing(error: BaseException) -> None:
    raise error


def test_the_block_ends_when_the_tasks_have(run: Any, aio: Any) -> None:
    trace = Trace()

    async def work(delay: float) -> float:
        await aio.sleep(delay)
        trace.note(delay)
        return delay

    async def main() -> None:
        async with aio.TaskGroup() as group:
            tasks = [group.create_task(work(delay)) for delay in (0.01, 0)]
            trace.note("block")
        trace.note("end")
        assert [task.result() for task in tasks] == [0.01, 0]

    run(main)
    assert trace == ["block", 0, 0.01, "end"]


def test_no_tasks_at_all(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            assert repr(group) == "<TaskGroup entered>"

    run(main)


def test_a_task_may_start_others(run: Any, aio: Any) -> None:
    trace = Trace()

    async def main() -> None:
        async with aio.TaskGroup() as group:

            async def work(depth: int) -> None:
                await aio.sleep(0)
                trace.note(depth)
                if depth:
                    group.create_task(work(depth - 1))

            group.create_task(work(3))

    run(main)
    assert trace == [3, 2, 1, 0]


def test_name_and_context_of_a_task(run: Any, aio: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def work() -> int:
        return variable.get()

    async def main() -> None:
        context = contextvars.copy_context()
        context.run(variable.set, 5)
        async with aio.TaskGroup() as group:
            task = group.create_task(work(), name="named", context=context)
            other = group.create_task(work())
        assert task.get_name() == "named" and task.result() == 5
        assert other.result() == 0

    run(main)


def test_an_error_cancels_the_others_and_the_block(run: Any, aio: Any) -> None:
    trace = Trace()

    async def work() -> None:
        try:
            await aio.sleep(10)
        finally:
            trace.note("cancelled")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                group.create_task(work())
                group.create_task(failing(KeyError("k")))
                await aio.sleep(10)
        assert caught.value.message == "unhandled errors in a TaskGroup"
        assert [repr(error) for error in caught.value.exceptions] == ["KeyError('k')"]
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
        assert current().cancelling() == 0

    run(main)
    assert trace == ["cancelled"]


def test_all_errors_are_in_the_group(run: Any, aio: Any) -> None:
    async def in_the_end(error: Exception) -> None:
        try:
            await aio.sleep(10)
        finally:
            raise error

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                group.create_task(in_the_end(ValueError()))
                group.create_task(failing(KeyError()))
                await aio.sleep(0)
                raise TypeError
        assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError, TypeError}

    run(main)


def test_an_error_of_the_block_cancels_the_tasks(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                task = group.create_task(aio.sleep(10))
                await aio.sleep(0)
                raise KeyError
        assert task.cancelled()
        assert [type(error) for error in caught.value.exceptions] == [KeyError]

    run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_base_error_of_a_task_comes_out_as_it_is(loop: Any, aio: Any, kind: type[BaseException]) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            group.create_task(failing(KeyError()))
            group.create_task(failing(kind()))

    task = loop.create_task(main())
    # Once out of the step that raised it, and once out of the group.
    for _ in range(2):
        with pytest.raises(kind):
            loop.run_until_complete(task)
    assert task.done()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_base_error_of_the_block_comes_out_as_it_is(loop: Any, aio: Any, kind: type[BaseException]) -> None:
    children: list[Any] = []

    async def main() -> None:
        async with aio.TaskGroup() as group:
            children.append(group.create_task(aio.sleep(10)))
            raise kind

    with pytest.raises(kind):
        loop.run_until_complete(main())
    assert children[0].cancelled()


def test_cancelled_from_outside_while_it_waits_for_tasks(loop: Any, run: Any, aio: Any) -> None:
    async def work() -> None:
        async with aio.TaskGroup() as group:
            group.create_task(aio.sleep(10))

    async def main() -> None:
        task = loop.create_task(work())
        await aio.sleep(0)
        await aio.sleep(0)
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("stop",)
        assert task.cancelling() == 1

    run(main)


def test_cancelled_from_outside_in_the_block(loop: Any, run: Any, aio: Any) -> None:
    children: list[Any] = []

    async def work() -> None:
        async with aio.TaskGroup() as group:
            children.append(group.create_task(aio.sleep(10)))
            await aio.sleep(10)

    async def main() -> None:
        task = loop.create_task(work())
        await aio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children[0].cancelled()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="it is delivered again from 3.13 on (gh-116720)")
def test_cancelled_from_outside_with_errors(loop: Any, run: Any, aio: Any) -> None:
    async def stubborn() -> None:
        try:
            await aio.sleep(10)
        finally:
            raise KeyError

    async def work() -> None:
        try:
            async with aio.TaskGroup() as group:
                group.create_task(stubborn())
                await aio.sleep(10)
        finally:
            assert current().cancelling() == 1
            await aio.sleep(0)

    async def main() -> None:
        task = loop.create_task(work())
        await aio.sleep(0)
        await aio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_cancelled_again_and_again(loop: Any, run: Any, aio: Any) -> None:
    trace = Trace()

    async def slow_to_end() -> None:
        try:
            await aio.sleep(10)
        finally:
            await aio.sleep(0.01)
            trace.note("ended")

    async def work() -> None:
        async with aio.TaskGroup() as group:
            group.create_task(slow_to_end())

    async def main() -> None:
        task = loop.create_task(work())
        for _ in range(3):
            await aio.sleep(0)
            await aio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert trace == ["ended"]


def test_a_cancelled_task_is_no_error(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            task = group.create_task(aio.sleep(10))
            await aio.sleep(0)
            task.cancel()
        assert task.cancelled()

    run(main)


def test_a_swallowed_cancellation_of_the_block(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with aio.TaskGroup() as group:
                group.create_task(failing(KeyError()))
                with contextlib.suppress(asyncio.CancelledError):
                    await aio.sleep(10)
                coroutine = aio.sleep(0)
                with pytest.raises(RuntimeError, match=r"is shutting down$"):
                    group.create_task(coroutine)
                coroutine.close()
        assert current().cancelling() == 0

    run(main)


def test_nested_groups(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as outer:
                other = outer.create_task(aio.sleep(10))
                async with aio.TaskGroup() as inner:
                    inner.create_task(failing(KeyError()))
                    await aio.sleep(10)
        assert other.cancelled()
        [group] = caught.value.exceptions
        assert isinstance(group, ExceptionGroup)
        assert [type(error) for error in group.exceptions] == [KeyError]
        assert current().cancelling() == 0

    run(main)


def test_inner_and_outer_fail_together(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as outer:
                outer.create_task(failing(ValueError()))
                async with aio.TaskGroup() as inner:
                    inner.create_task(failing(KeyError()))
                    await aio.sleep(10)
        kinds = {type(error) for error in caught.value.exceptions}
        assert ValueError in kinds
        assert current().cancelling() == 0

    run(main)


def test_out_of_turn(run: Any, aio: Any) -> None:
    closed: list[Any] = []

    def coroutine() -> Any:
        closed.append(aio.sleep(0))
        return closed[-1]

    async def main() -> None:
        group = aio.TaskGroup()
        with pytest.raises(RuntimeError, match=r"^TaskGroup <TaskGroup> has not been entered$"):
            group.create_task(coroutine())
        async with group:
            pass
        with pytest.raises(RuntimeError, match=r"^TaskGroup <TaskGroup entered> is finished$"):
            group.create_task(coroutine())
        with pytest.raises(RuntimeError, match=r"^TaskGroup <TaskGroup entered> has already been entered$"):
            async with group:
                pass

    run(main)
    for each in closed:
        if sys.version_info < (3, 13):
            # The group closes it from 3.13 on.
            each.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            each.send(None)


def test_only_in_a_task(loop: Any, run: Any, aio: Any) -> None:
    caught: list[str] = []

    def step() -> None:
        try:
            aio.TaskGroup().__aenter__().send(None)
        except RuntimeError as error:
            caught.append(str(error))

    loop.call_soon(step)
    run(aio.sleep(0))
    assert caught == ["TaskGroup <TaskGroup> cannot determine the parent task"]


def test_how_it_is_shown(run: Any, aio: Any) -> None:
    async def main() -> None:
        group = aio.TaskGroup()
        with pytest.raises(ExceptionGroup):
            async with group:
                group.create_task(failing(KeyError()))
                group.create_task(aio.sleep(10))
                assert repr(group) == "<TaskGroup tasks=2 entered>"
                try:
                    await aio.sleep(10)
                finally:
                    assert repr(group) == "<TaskGroup tasks=1 errors=1 cancelling>"

    run(main)


def test_what_a_task_factory_gets(loop: Any, run: Any, aio: Any) -> None:
    made: list[Any] = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        made.append(options.get("name"))
        return aio.Task(coroutine, loop=loop, **options)

    async def main() -> None:
        loop.set_task_factory(factory)
        async with aio.TaskGroup() as group:
            task = group.create_task(aio.sleep(0), name="x")
        assert task.get_name() == "x"

    run(main)
    assert len(made) == 1


def test_unknown_options_are_a_type_error(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            coroutine = aio.sleep(0)
            with pytest.raises(TypeError):
                group.create_task(coroutine, surprise=1)
            coroutine.close()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_tasks_that_end_eagerly(loop: Any, run: Any, implementation: Any, aio: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 13, 2):
        pytest.skip("asyncio cancels too early before (gh-128550)")

    async def at_once(result: Any) -> Any:
        return result

    async def main() -> None:
        loop.set_task_factory(aio.eager_task_factory)
        async with aio.TaskGroup() as group:
            task = group.create_task(at_once(5))
            assert task.done()
        with pytest.raises(ExceptionGroup):
            async with aio.TaskGroup() as group:
                group.create_task(failing(KeyError()))
                other = group.create_task(aio.sleep(10))
                assert not other.done()
        assert other.cancelled()

    run(main)


def test_an_error_of_a_task_does_not_keep_the_group_alive(run: Any, implementation: Any, aio: Any) -> None:
    if implementation.is_oracle and sys.version_info[:2] != (3, 14):
        pytest.skip("asyncio makes cycles up to 3.13 (gh-128552), and in 3.15 again")

    async def main() -> Any:
        try:
            async with aio.TaskGroup() as group:
                reference = weakref.ref(group)
                group.create_task(failing(KeyError()))
        except* KeyError:
            pass
        del group
        return reference

    gc.disable()
    try:
        assert run(main)() is None
    finally:
        gc.enable()


def test_closing_an_asynchronous_generator_in_its_block(run: Any, implementation: Any, aio: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 15):
        pytest.skip("asyncio raises a group of GeneratorExit up to 3.14")

    async def generate() -> Any:
        async with aio.TaskGroup():
            yield 1

    async def main() -> None:
        generator = generate()
        assert await anext(generator) == 1
        await generator.aclose()

    run(main)


def test_a_subclass(run: Any, aio: Any) -> None:
    class Own(aio.TaskGroup):  # type: ignore[misc]
        def create_task(self, coroutine: Any, **options: Any) -> Any:
            return super().create_task(coroutine, name="own", **options)

    async def main() -> None:
        async with Own() as group:
            task = group.create_task(aio.sleep(0))
        assert task.get_name() == "own"

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 15), reason="cancel() came with 3.15")
def test_cancelling_the_group(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            task = group.create_task(aio.sleep(10))
            await aio.sleep(0)
            group.cancel()
            await aio.sleep(10)
        assert task.cancelled() and current().cancelling() == 0
        group.cancel()
        late = aio.TaskGroup()
        late.cancel()
        async with late:
            await aio.sleep(10)

    run(main)
